//! [`Id`] and container names: what identifies a container, and which texts may.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A container's identity: 64 lowercase hex digits, drawn at random by the caller.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

/// Why a text is not a container's id or name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    #[error("`{0}` is not a container id: expected 64 hex digits")]
    Id(String),
    #[error(
        "`{0}` is not a name: letters, digits, `_`, `.` and `-` are allowed, beginning with a letter or digit, 2 to 128 in all"
    )]
    Name(String),
}

impl Id {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits: what docker prints, and the default host name.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

/// Refuses a text that docker would refuse as a container's or volume's name.
pub fn check_name(name: &str) -> Result<(), ParseIdError> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    match first && rest && (2..=128).contains(&name.len()) {
        true => Ok(()),
        false => Err(ParseIdError::Name(name.chars().take(160).collect())),
    }
}

/// A readable name for a container that was given none, derived from its id: `brisk-heron-3f`.
pub fn name_for(id: &Id) -> String {
    const FIRST: [&str; 16] = [
        "amber", "brisk", "calm", "clear", "deft", "eager", "fair", "glad", "keen", "lively",
        "mellow", "neat", "quick", "sunny", "swift", "warm",
    ];
    const SECOND: [&str; 16] = [
        "badger", "crane", "dove", "falcon", "finch", "gull", "hare", "heron", "ibis", "lark",
        "otter", "robin", "seal", "swan", "tern", "wren",
    ];
    let digit = |at: usize| usize::from(hex_value(id.0.as_bytes()[at]));
    format!("{}-{}-{}", FIRST[digit(0)], SECOND[digit(1)], &id.0[2..6])
}

fn hex_value(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte - b'a' + 10,
    }
}

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match text.len() == 64 && is_hex {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseIdError::Id(text.chars().take(160).collect())),
        }
    }
}

impl TryFrom<String> for Id {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["web", "web-1", "a_b.c", "9a", &"x".repeat(128)] {
            assert_eq!(check_name(good), Ok(()), "`{good}`");
        }
        for bad in ["", "a", "-web", ".web", "a/b", "../a", "a b", "é1", &"x".repeat(129)] {
            assert!(check_name(bad).is_err(), "`{bad}` must be refused");
        }
    }

    #[test]
    fn ids_are_64_hex_digits() {
        let id: Id = "0123456789abcdef".repeat(4).parse().unwrap();
        assert_eq!(id.short(), "0123456789ab");
        assert_eq!(name_for(&id), "amber-crane-2345");
        assert_eq!(check_name(&name_for(&id)), Ok(()));
        assert!("0123".parse::<Id>().is_err());
        assert!("0123456789ABCDEF".repeat(4).parse::<Id>().is_err());
    }
}
