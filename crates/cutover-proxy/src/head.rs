//! Header rules: what a request must have, what never crosses the proxy, what is added.
//!
//! Pure functions over `http` types. hyper has already refused what cannot be parsed and has
//! resolved framing (a `Content-Length` beside `Transfer-Encoding` is gone, differing lengths are an
//! error); because both framings are written anew towards the target, no request can mean two
//! things. What is left to refuse here: codings we would not pass on, hosts that are none.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, StatusCode, Uri, Version};

use crate::route::normal_host;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request id from a client is passed on up to this length.
const MAX_REQUEST_ID: usize = 128;

/// A request that goes nowhere, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
}

/// The host a request is for, in the form routes are looked up by.
pub(crate) fn host(parts: &Parts) -> Result<Cow<'_, str>, Refused> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let named = hosts.next();
    if hosts.next().is_some() {
        return Err(Refused { status: BAD, reason: "the request has more than one Host" });
    }
    // The target of an absolute-form request wins over `Host` (RFC 9112, 3.2.2).
    if let Some(authority) = parts.uri.authority() {
        let reason = "the request is for something that is not a host";
        return normal_host(authority.as_str()).ok_or(Refused { status: BAD, reason });
    }
    match named {
        None if parts.version < Version::HTTP_11 => Ok(Cow::Borrowed("")),
        None => Err(Refused { status: BAD, reason: "the request has no Host" }),
        Some(value) => {
            let host = value.to_str().ok().and_then(normal_host);
            host.ok_or(Refused { status: BAD, reason: "the request's Host is not a host" })
        }
    }
}

/// Refuses what could not be passed on unchanged in meaning.
pub(crate) fn acceptable(parts: &Parts) -> Result<(), Refused> {
    if parts.method == Method::CONNECT {
        let reason = "this is not a forward proxy";
        return Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, reason });
    }
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next();
    let plain = first.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !plain || codings.next().is_some() {
        let reason = "the only transfer coding understood is `chunked`";
        return Err(Refused { status: StatusCode::NOT_IMPLEMENTED, reason });
    }
    let expect = parts.headers.get(header::EXPECT);
    if expect.is_some_and(|expect| !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let reason = "the only expectation understood is `100-continue`";
        return Err(Refused { status: StatusCode::EXPECTATION_FAILED, reason });
    }
    Ok(())
}

/// What the proxy knows about where a request came from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) peer: &'a HeaderValue,
    pub(crate) trust_forwarded: bool,
}

/// Makes a client's head the target's: returns the protocol to upgrade to, if one is asked for.
pub(crate) fn to_target(
    parts: &mut Parts,
    strip: usize,
    origin: &Origin<'_>,
    next_id: impl FnOnce() -> HeaderValue,
) -> Option<HeaderValue> {
    origin_form(parts, strip);
    let upgrade = upgrade(&parts.headers);
    let trailers = accepts_trailers(&parts.headers);
    strip_hop_by_hop(&mut parts.headers);
    if trailers {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = &upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, protocol.clone());
    }
    forwarded(&mut parts.headers, origin);
    let id = parts.headers.get(&X_REQUEST_ID);
    if !id.is_some_and(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID) {
        parts.headers.insert(X_REQUEST_ID.clone(), next_id());
    }
    parts.version = Version::HTTP_11;
    upgrade
}

/// Makes a target's head the client's. `upgraded`: the response ends HTTP on this connection.
pub(crate) fn to_client(headers: &mut HeaderMap, upgraded: bool, close: bool) {
    let protocol = if upgraded { headers.get(header::UPGRADE).cloned() } else { None };
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // The chunks say where the body ends (RFC 9112, 6.3); whoever believed the length would not.
        headers.remove(header::CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
    if upgraded {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(header::UPGRADE, protocol);
        }
    } else if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// `http://host/path` becomes `Host: host` and `/path`; a prefix is cut off.
fn origin_form(parts: &mut Parts, strip: usize) {
    if let Some(authority) = parts.uri.authority() {
        // `http` keeps user info in the authority; it is no part of a host.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        if let Ok(host) = HeaderValue::from_str(host) {
            parts.headers.insert(header::HOST, host);
        }
    } else if strip == 0 {
        return;
    }
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = path.get(strip..).unwrap_or("/");
    let rest = match rest.as_bytes().first() {
        Some(b'/') => rest.to_owned(),
        _ => format!("/{rest}"),
    };
    // A tail of a valid path is a valid path.
    if let Ok(uri) = Uri::try_from(rest) {
        parts.uri = uri;
    }
}

/// The protocol of a well-formed upgrade request. Never HTTP/2: a target that took it up would
/// speak a protocol through the tunnel in which our routes mean nothing.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(header::UPGRADE)?;
    let asked = connection_tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let text = protocol.to_str().ok()?;
    let http2 = text
        .split(',')
        .any(|token| token.trim().get(..2).is_some_and(|start| start.eq_ignore_ascii_case("h2")));
    (asked && !http2).then(|| protocol.clone())
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    tokens
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("trailers"))
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// Removes what is meant for one connection only (RFC 9110, 7.6.1). One walk finds out which of
/// them there are: usually none or `Connection` alone.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let mut found = [const { None::<HeaderName> }; 10];
    let mut count = 0;
    let mut connection = false;
    for name in headers.keys() {
        let hop = *name == header::CONNECTION
            || *name == header::TRANSFER_ENCODING
            || *name == header::TE
            || *name == header::UPGRADE
            || *name == header::EXPECT
            || *name == header::PROXY_AUTHORIZATION
            || *name == header::PROXY_AUTHENTICATE
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
            || *name == HTTP2_SETTINGS;
        if hop {
            connection |= *name == header::CONNECTION;
            if let Some(slot) = found.get_mut(count) {
                *slot = Some(name.clone());
                count += 1;
            }
        }
    }
    if connection {
        strip_named(headers);
    }
    for name in found.into_iter().flatten() {
        headers.remove(name);
    }
}

/// Removes what `Connection` names, but never what a message cannot do without.
fn strip_named(headers: &mut HeaderMap) {
    let plain = |token: &str| {
        token.is_empty()
            || token.eq_ignore_ascii_case("close")
            || token.eq_ignore_ascii_case("keep-alive")
            || token.eq_ignore_ascii_case("upgrade")
            || token.eq_ignore_ascii_case("te")
    };
    let named: Vec<HeaderName> = connection_tokens(headers)
        .filter(|token| !plain(token))
        .filter_map(|token| token.parse().ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn forwarded(headers: &mut HeaderMap, origin: &Origin<'_>) {
    if !origin.trust_forwarded {
        headers.remove(header::FORWARDED);
        headers.remove(&X_REAL_IP);
    }
    remove_lookalikes(headers);
    let before = headers.get(&X_FORWARDED_FOR).filter(|_| origin.trust_forwarded);
    let peers = match before {
        None => origin.peer.clone(),
        Some(before) => {
            let mut all = BytesMut::from(before.as_bytes());
            all.extend_from_slice(b", ");
            all.extend_from_slice(origin.peer.as_bytes());
            HeaderValue::from_maybe_shared(all.freeze()).unwrap_or_else(|_| origin.peer.clone())
        }
    };
    headers.insert(X_FORWARDED_FOR.clone(), peers);
    if !(origin.trust_forwarded && headers.contains_key(&X_FORWARDED_PROTO)) {
        headers.insert(X_FORWARDED_PROTO.clone(), HeaderValue::from_static("http"));
    }
    if !(origin.trust_forwarded && headers.contains_key(&X_FORWARDED_HOST)) {
        headers.remove(&X_FORWARDED_HOST);
        if let Some(host) = headers.get(header::HOST).cloned() {
            headers.insert(X_FORWARDED_HOST.clone(), host);
        }
    }
}

/// Removes `X_Forwarded_For` and its like: CGI and its heirs (PHP, WSGI, Rack) hand both spellings to
/// the application under one name, and ours would not be the one that counts.
fn remove_lookalikes(headers: &mut HeaderMap) {
    let lookalike = |name: &&HeaderName| {
        let name = name.as_str();
        let like = |start: &str| {
            let bytes = name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
            bytes.take(start.len()).eq(start.bytes())
        };
        name.contains('_') && (like("x-forwarded-") || like("x-real-ip") || like("x-request-id"))
    };
    let found: Vec<HeaderName> = headers.keys().filter(lookalike).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Makes request ids: a seed that differs per process and thread, and a counter.
#[derive(Debug)]
pub(crate) struct RequestIds {
    seed: u64,
    next: u64,
    /// Ids are cut from one allocation as long as it lasts.
    block: BytesMut,
}

impl RequestIds {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, next: 0, block: BytesMut::new() }
    }

    pub(crate) fn next(&mut self) -> HeaderValue {
        const LENGTH: usize = 32;
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        if self.block.capacity() < LENGTH {
            self.block = BytesMut::with_capacity(LENGTH * 128);
        }
        self.next += 1;
        let id = (u128::from(self.seed) << 64) | u128::from(self.next);
        for digit in id.to_be_bytes() {
            let pair = [DIGITS[usize::from(digit >> 4)], DIGITS[usize::from(digit & 15)]];
            self.block.extend_from_slice(&pair);
        }
        let id: Bytes = self.block.split().freeze();
        HeaderValue::from_maybe_shared(id).expect("hexadecimal digits are a header value")
    }
}
