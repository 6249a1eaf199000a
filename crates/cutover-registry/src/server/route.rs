//! [`Route`]: what a request's path and query mean. Pure.
//!
//! Names contain `/`, so the path is read from its end. Segments are taken as they are written:
//! nothing in the grammar of names, tags and digests needs an escape, so a path with `%` is
//! refused rather than decoded, but for the `:` of a digest, which some clients escape.

use std::borrow::Cow;
use std::fmt::Write as _;

use cutover_core::digest::Digest;
use hyper::Method;

use super::name::{NAME_MAX, is_repository, is_tag};
use super::refusal::{Code, Refusal};

#[cfg(test)]
mod tests;

/// A tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Tag(&'a str),
    Digest(Digest),
}

/// What a path under `/v2/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Ping,
    Catalog,
    Tags {
        name: &'a str,
    },
    Manifest {
        name: &'a str,
        target: Target<'a>,
    },
    Blob {
        name: &'a str,
        digest: Digest,
    },
    Uploads {
        name: &'a str,
    },
    Upload {
        name: &'a str,
        id: &'a str,
    },
    Referrers {
        name: &'a str,
        digest: Digest,
    },
    /// `_cutover/tags/history`: our own extension.
    History {
        name: &'a str,
    },
}

impl<'a> Route<'a> {
    /// Reads a path. `None` when it is not of the API at all.
    pub(crate) fn parse(path: &'a str) -> Option<Result<Self, Refusal>> {
        let rest = path.strip_prefix("/v2")?;
        match rest {
            "" | "/" => return Some(Ok(Self::Ping)),
            "/_catalog" => return Some(Ok(Self::Catalog)),
            _ => {}
        }
        let rest = rest.strip_prefix('/')?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Some(repository(name).map(|name| Self::Tags { name }));
        }
        if let Some(name) = rest.strip_suffix("/_cutover/tags/history") {
            return Some(repository(name).map(|name| Self::History { name }));
        }
        let uploads = rest.strip_suffix("/blobs/uploads/").or(rest.strip_suffix("/blobs/uploads"));
        if let Some(name) = uploads {
            return Some(repository(name).map(|name| Self::Uploads { name }));
        }
        let (head, last) = rest.rsplit_once('/')?;
        if let Some(name) = head.strip_suffix("/blobs/uploads") {
            return Some(repository(name).and_then(|name| upload(name, last)));
        }
        let (name, kind) = head.rsplit_once('/')?;
        let of = |make: fn(&'a str, &'a str) -> Result<Self, Refusal>| {
            Some(repository(name).and_then(|name| make(name, last)))
        };
        match kind {
            "manifests" => of(manifest),
            "blobs" => of(|name, last| Ok(Self::Blob { name, digest: digest(last)? })),
            "referrers" => of(|name, last| Ok(Self::Referrers { name, digest: digest(last)? })),
            _ => None,
        }
    }

    /// The methods that make sense here.
    pub(crate) fn methods(&self) -> &'static [Method] {
        const READ: &[Method] = &[Method::GET, Method::HEAD];
        const STORED: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE];
        const PUT: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE];
        const UPLOAD: &[Method] = &[Method::GET, Method::PATCH, Method::PUT, Method::DELETE];
        match self {
            Self::Ping | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => READ,
            Self::History { .. } => READ,
            Self::Blob { .. } => STORED,
            Self::Manifest { .. } => PUT,
            Self::Uploads { .. } => &[Method::POST],
            Self::Upload { .. } => UPLOAD,
        }
    }
}

fn repository(name: &str) -> Result<&str, Refusal> {
    if is_repository(name) {
        return Ok(name);
    }
    let shown: String = name.chars().take(64).collect();
    let why = match name.len() > NAME_MAX {
        true => format!("it is longer than {NAME_MAX} characters"),
        false => "use lowercase letters, digits, single separators and `/`".to_owned(),
    };
    Err(Refusal::bad(Code::NameInvalid, format!("`{shown}` is not a repository name: {why}")))
}

fn manifest<'a>(name: &'a str, last: &'a str) -> Result<Route<'a>, Refusal> {
    let target = match is_tag(last) {
        true => Target::Tag(last),
        false => Target::Digest(digest(last)?),
    };
    Ok(Route::Manifest { name, target })
}

fn upload<'a>(name: &'a str, id: &'a str) -> Result<Route<'a>, Refusal> {
    let known = id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !known {
        return Err(Refusal::not_found(Code::BlobUploadUnknown, "no such upload"));
    }
    Ok(Route::Upload { name, id })
}

/// A digest as it is written in a path or query.
pub(crate) fn digest(text: &str) -> Result<Digest, Refusal> {
    let text = match text.contains('%') {
        true => Cow::Owned(text.replace("%3A", ":").replace("%3a", ":")),
        false => Cow::Borrowed(text),
    };
    text.parse::<Digest>().map_err(|error| Refusal::bad(Code::DigestInvalid, error.to_string()))
}

/// Reads a query's values of one key, with escapes resolved; in their order.
pub(crate) fn query<'a>(
    query: Option<&'a str>,
    key: &'a str,
) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = query.unwrap_or_default().split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(name, _)| *name == key).map(|(_, value)| unescape(value))
}

/// `application/x-www-form-urlencoded`, but that what is not UTF-8 becomes a replacement character.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (value, used) = match (byte, escaped) {
            (b'%', Some(value)) => (value, 3),
            (b'+', _) => (b' ', 1),
            _ => (byte, 1),
        };
        out.push(value);
        rest = &rest[used..];
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// A value as it may stand in a query.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
