//! The rules of a registry: which tags may not move, how much a repository may hold. Pure.

use std::str::FromStr;

use hyper::StatusCode;

use super::refusal::{Code, Refusal};

#[cfg(test)]
mod tests;

/// Which tags keep what they were first given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Immutable {
    /// Those that look like a version: see [`is_version`].
    Versions,
    All,
    None,
    /// `*` stands for any text, `?` for one character.
    Pattern(String),
}

impl FromStr for Immutable {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "versions" => Self::Versions,
            "all" => Self::All,
            "none" => Self::None,
            pattern => Self::Pattern(pattern.to_owned()),
        })
    }
}

/// Whether a tag names one version for ever: `1.2.3` with anything after it, a date, a commit.
///
/// `1` and `1.2` do not: they are commonly moved to the newest `1.2.3`. Neither do `latest` and the
/// names of branches.
pub(crate) fn is_version(tag: &str) -> bool {
    let bare = tag.strip_prefix('v').unwrap_or(tag);
    let mut parts = bare.splitn(3, '.');
    let number = |part: Option<&str>| {
        part.is_some_and(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()))
    };
    if number(parts.next()) && number(parts.next()) {
        return parts.next().is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    }
    let commit = tag.strip_prefix("sha-").or(tag.strip_prefix("git-")).unwrap_or(tag);
    is_date(bare) || is_commit(commit)
}

/// `20260131…`, `2026-01-31…`, `2026.01.31` (which is a version, too).
fn is_date(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').take(8).collect();
    let year = digits.get(..2).is_some_and(|century| matches!(century, "19" | "20"));
    digits.len() == 8 && year && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Seven or more hex digits, both letters and digits among them.
fn is_commit(text: &str) -> bool {
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    (7..=64).contains(&text.len())
        && text.bytes().all(hex)
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// Whether a pattern with `*` and `?` is all of a text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // where to go on when what follows the last `*` does not fit
    let mut again: Option<(usize, usize)> = None;
    while from < text.len() {
        match (pattern.get(at), again) {
            (Some(b'*'), _) => {
                again = Some((at, from));
                at += 1;
            }
            (Some(&c), _) if c == b'?' || c == text[from] => (at, from) = (at + 1, from + 1),
            (_, Some((star, taken))) => {
                again = Some((star, taken + 1));
                (at, from) = (star + 1, taken + 1);
            }
            _ => return false,
        }
    }
    pattern[at..].iter().all(|c| *c == b'*')
}

/// The rules.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A tag is immutable when one of them says so.
    pub immutable: Vec<Immutable>,
    /// Bytes that a repository may hold; the first pattern that matches its name counts.
    pub quotas: Vec<(String, u64)>,
    /// Nothing may be written.
    pub read_only: bool,
    /// Refuse a manifest that names blobs or manifests which the repository does not have.
    pub complete: bool,
}

impl Default for Policy {
    fn default() -> Self {
        let immutable = vec![Immutable::Versions];
        Self { immutable, quotas: Vec::new(), read_only: false, complete: false }
    }
}

impl Policy {
    pub fn is_immutable(&self, tag: &str) -> bool {
        self.immutable.iter().any(|rule| match rule {
            Immutable::Versions => is_version(tag),
            Immutable::All => true,
            Immutable::None => false,
            Immutable::Pattern(pattern) => matches(pattern, tag),
        })
    }

    pub fn quota(&self, repository: &str) -> Option<u64> {
        let mut quotas = self.quotas.iter();
        quotas.find(|(pattern, _)| matches(pattern, repository)).map(|(_, bytes)| *bytes)
    }

    /// Refuses what would make a repository larger than it may be.
    pub(super) fn check_room(&self, repository: &str, used: u64, more: u64) -> Result<(), Refusal> {
        match self.quota(repository) {
            Some(quota) if used.saturating_add(more) > quota => Err(Refusal::denied(format!(
                "repository `{repository}` may hold {quota} bytes: it has {used}, and this is {more}"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses to move a tag that stays. `before` is what it last meant, deleted or not.
    pub(super) fn check_tag(
        &self,
        repository: &str,
        tag: &str,
        before: &Before,
        new: &str,
    ) -> Result<(), Refusal> {
        let (old, gone) = match before {
            Before::Never => return Ok(()),
            Before::Is(old) => (old, ""),
            Before::Deleted(old) => (old, " (deleted since)"),
        };
        if old == new || !self.is_immutable(tag) {
            return Ok(());
        }
        let message = format!(
            "tag `{tag}` of repository `{repository}` is immutable: it is {old}{gone} and cannot become {new}; \
             push another tag"
        );
        Err(Refusal::new(StatusCode::CONFLICT, Code::Denied, message))
    }
}

/// What a tag's history says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Never,
    Is(String),
    Deleted(String),
}
