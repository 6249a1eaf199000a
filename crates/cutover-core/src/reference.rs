//! [`Reference`]: the name of an image, `[registry/]repository[:tag][@digest]`, normalised as
//! docker does: `debian` means `docker.io/library/debian:latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, ParseDigestError};

/// Docker's default registry: a name whose first part has no `.`, no `:` and is not `localhost`
/// belongs to it.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The namespace of docker.io's one-part names.
pub const DEFAULT_NAMESPACE: &str = "library";
pub const DEFAULT_TAG: &str = "latest";

/// A parsed image name. `Display` prints docker's short ("familiar") form, which parses back to
/// the same value; [`Reference::canonical`] prints every part.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    #[error("image name is empty")]
    Empty,
    #[error("image name `{0}` has an uppercase letter: repository names are lowercase")]
    Uppercase(String),
    #[error("image name `{name}` is not valid: `{part}` is not a {what}")]
    Part { name: String, part: String, what: &'static str },
    #[error("image name is longer than 255 characters")]
    TooLong,
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
}

impl Reference {
    /// Host and optional port, e.g. `docker.io` or `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path within the registry, e.g. `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only when the reference is by digest alone.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `registry/repository`, without tag and digest: the key under which tags are grouped.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The short form of [`Reference::name`], e.g. `debian` for `docker.io/library/debian`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        // what would be taken for a registry is spelled out
        if self.repository.split_once('/').is_some_and(|(first, _)| is_registry(first)) {
            return self.name();
        }
        let namespaced = self.repository.strip_prefix("library/");
        namespaced.filter(|rest| !rest.contains('/')).unwrap_or(&self.repository).to_owned()
    }

    /// Every part spelled out, e.g. `docker.io/library/debian:latest`.
    pub fn canonical(&self) -> String {
        self.with_suffix(self.name())
    }

    /// The same repository at `digest`, without a tag.
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest.as_str());
        }
        name
    }
}

/// Whether the part before the first `/` names a registry rather than a docker.io namespace.
fn is_registry(part: &str) -> bool {
    part.contains('.') || part.contains(':') || part == "localhost"
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let host_ok = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    host_ok && port_ok
}

/// distribution-spec: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_part(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-'))
}

/// distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseReferenceError::Empty);
        }
        let shown = || text.chars().take(300).collect::<String>();
        let bad = |part: &str, what| ParseReferenceError::Part {
            name: shown(),
            part: part.chars().take(300).collect(),
            what,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let (registry, path) = match rest.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, rest.to_owned()),
            None => (DEFAULT_REGISTRY, rest.to_owned()),
        };
        // docker's two names for its own registry
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let path = match registry == DEFAULT_REGISTRY && !path.contains('/') {
            true => format!("{DEFAULT_NAMESPACE}/{path}"),
            false => path,
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ParseReferenceError::Uppercase(shown()));
        }
        if registry.len() + path.len() > 255 {
            return Err(ParseReferenceError::TooLong);
        }
        if !is_host(registry) {
            return Err(bad(registry, "registry host"));
        }
        if let Some(part) = path.split('/').find(|part| !is_path_part(part)) {
            return Err(bad(part, "repository name"));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(bad(tag, "tag"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), repository: path, tag, digest })
    }
}

impl TryFrom<String> for Reference {
    type Error = ParseReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.canonical()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.familiar_name()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, canonical: &str, familiar: &str) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.canonical(), canonical, "canonical form of {text}");
        assert_eq!(reference.to_string(), familiar, "familiar form of {text}");
        assert_eq!(reference.to_string().parse(), Ok(reference), "{text} must round-trip");
    }

    #[test]
    fn normalises_as_docker_does() {
        check("debian", "docker.io/library/debian:latest", "debian:latest");
        check(
            "debian:bookworm-slim",
            "docker.io/library/debian:bookworm-slim",
            "debian:bookworm-slim",
        );
        check("team/app:1.0", "docker.io/team/app:1.0", "team/app:1.0");
        check("docker.io/debian", "docker.io/library/debian:latest", "debian:latest");
        check("index.docker.io/x", "docker.io/library/x:latest", "x:latest");
        // the short form would name another registry
        check("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest");
        check("index.docker.io/library/x", "docker.io/library/x:latest", "x:latest");
        check("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c");
        check("ghcr.io/a__b/c-d.e", "ghcr.io/a__b/c-d.e:latest", "ghcr.io/a__b/c-d.e:latest");
        check("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "127.0.0.1:5000/x:latest");
    }

    #[test]
    fn a_digest_alone_has_no_tag() {
        let digest = Digest::sha256(b"x");
        let reference: Reference = format!("debian@{digest}").parse().unwrap();
        assert_eq!(reference.tag(), None);
        assert_eq!(reference.digest(), Some(&digest));
        check(
            &format!("debian:1@{digest}"),
            &format!("docker.io/library/debian:1@{digest}"),
            &format!("debian:1@{digest}"),
        );
    }

    #[test]
    fn refuses_bad_names() {
        let long = "a".repeat(300);
        for text in [
            "",
            "Debian",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a:b:c",
            "a:",
            "a___b",
            "a.-b",
            "a@sha256:1",
            "a:.b",
            "reg.io:99999/x",
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "`{text}` must be refused");
        }
    }
}
