//! The file of tokens for machines: `cutover registry token create|ls|rm` writes it, the server
//! reads it. It has hashes only; a token is shown once, when it is made.
//!
//! Tokens are 256 random bits, so a plain SHA-256 of one cannot be searched for.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use cutover_core::Digest;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::rights::{Right, Rights};

/// Before each token, so that scanners for leaked secrets can know them.
const PREFIX: &str = "cutreg_";
const VERSION: u32 = 1;

/// All tokens of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Robots {
    version: u32,
    pub tokens: Vec<Robot>,
}

/// One token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Robot {
    pub name: String,
    /// SHA-256 of the token.
    hash: Digest,
    pub rights: Vec<Right>,
    /// Seconds since 1970.
    pub created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum RobotsError {
    #[error("there is a token `{0}` already")]
    Taken(String),
    #[error("there is no token `{0}`")]
    Unknown(String),
    #[error("`{0}` cannot be a token's name: use letters, digits, `.`, `-` and `_`")]
    Name(String),
    #[error("cannot read tokens from `{}`: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl Default for Robots {
    fn default() -> Self {
        Self { version: VERSION, tokens: Vec::new() }
    }
}

impl Robots {
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let robots: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match robots.version {
            VERSION => Ok(robots),
            newer => Err(format!("it has version {newer}, this program knows {VERSION}")),
        }
    }

    /// What the file says; one that is not there has no tokens.
    pub fn read(path: &Path) -> Result<Self, RobotsError> {
        let fail = |reason| RobotsError::Read { path: path.to_owned(), reason };
        match fs_err::read(path) {
            Ok(bytes) => Self::parse(&bytes).map_err(fail),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    /// Replaces the file as a whole; only its owner can read it.
    pub fn write(&self, path: &Path) -> Result<(), RobotsError> {
        let fail = |source| RobotsError::Write { path: path.to_owned(), source };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new("."));
        let mut text = serde_json::to_string_pretty(self).map_err(|it| fail(it.into()))?;
        text.push('\n');
        // 0600 from the start
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(fail)?;
        file.write_all(text.as_bytes()).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(path).map_err(|error| fail(error.error))?;
        let dir = fs_err::File::open(dir).map_err(fail)?;
        dir.sync_all().map_err(fail)
    }

    /// Adds a token made of `random`; returns it as its holder needs it.
    pub fn create(&mut self, new: NewRobot<'_>, random: &[u8; 32]) -> Result<String, RobotsError> {
        let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if new.name.is_empty() || new.name.len() > 100 || !new.name.chars().all(word) {
            return Err(RobotsError::Name(new.name.to_owned()));
        }
        if self.tokens.iter().any(|it| it.name == new.name) {
            return Err(RobotsError::Taken(new.name.to_owned()));
        }
        let token = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(random));
        self.tokens.push(Robot {
            name: new.name.to_owned(),
            hash: Digest::sha256(token.as_bytes()),
            rights: new.rights,
            created: new.created,
            expires: new.expires,
        });
        Ok(token)
    }

    pub fn remove(&mut self, name: &str) -> Result<(), RobotsError> {
        let before = self.tokens.len();
        self.tokens.retain(|it| it.name != name);
        match self.tokens.len() < before {
            true => Ok(()),
            false => Err(RobotsError::Unknown(name.to_owned())),
        }
    }

    /// The holder of a token. What is compared is a hash, which whoever guesses cannot steer: time
    /// tells nothing about the token.
    pub fn holder(&self, token: &str, now: u64) -> Option<&Robot> {
        if !token.starts_with(PREFIX) {
            return None;
        }
        let hash = Digest::sha256(token.as_bytes());
        self.tokens.iter().find(|it| it.hash == hash).filter(|it| it.is_good(now))
    }

    pub fn named(&self, name: &str, now: u64) -> Option<&Robot> {
        self.tokens.iter().find(|it| it.name == name).filter(|it| it.is_good(now))
    }
}

/// Whether a text can be a token at all.
pub fn is_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// What a token is made with.
#[derive(Clone, Debug)]
pub struct NewRobot<'a> {
    pub name: &'a str,
    pub rights: Vec<Right>,
    /// Seconds since 1970.
    pub created: u64,
    pub expires: Option<u64>,
}

impl Robot {
    pub fn is_good(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    pub fn rights(&self) -> Rights {
        Rights::Some(self.rights.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_kept_found_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        let mut robots = Robots::read(&path).unwrap();
        let rights = || vec!["pull:team/*".parse().unwrap()];
        let new = |name, expires| NewRobot { name, rights: rights(), created: 10, expires };
        let token = robots.create(new("ci", None), &[1; 32]).unwrap();
        let brief = robots.create(new("brief", Some(20)), &[2; 32]).unwrap();
        assert!(matches!(robots.create(new("ci", None), &[3; 32]), Err(RobotsError::Taken(_))));
        assert!(matches!(robots.create(new("a b", None), &[3; 32]), Err(RobotsError::Name(_))));
        robots.write(&path).unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(!text.contains(&token), "{text}");
        let mode = std::os::unix::fs::MetadataExt::mode(&fs_err::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);

        let mut robots = Robots::read(&path).unwrap();
        assert_eq!(robots.holder(&token, 11).unwrap().name, "ci");
        assert!(robots.holder(&token[..token.len() - 1], 11).is_none());
        assert!(robots.holder("", 11).is_none());
        assert!(robots.holder(&brief, 19).is_some());
        assert!(robots.holder(&brief, 20).is_none());
        robots.remove("ci").unwrap();
        assert!(robots.holder(&token, 11).is_none());
        assert!(matches!(robots.remove("ci"), Err(RobotsError::Unknown(_))));
        assert!(Robots::parse(br#"{"version":2,"tokens":[]}"#).is_err());
    }
}
