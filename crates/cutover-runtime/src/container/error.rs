//! [`Error`]: what can go wrong with a container, in the user's words.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{ParseIdError, Status};

/// A name that no container has, and the one that was probably meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    pub name: String,
    pub near: Option<String>,
}

impl Missing {
    /// `names` are those that exist. An instance of a service is often called without its app: `web-1-1` for `shop-web-1-1`.
    pub(super) fn among(name: &str, names: &[String]) -> Self {
        let whole = |known: &&str| known.strip_suffix(name).is_some_and(|app| app.ends_with('-'));
        let known = || names.iter().map(String::as_str);
        let near = known().find(whole).or_else(|| cutover_core::suggest::nearest(name, known()));
        Self { name: name.to_owned(), near: near.map(str::to_owned) }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: ", self.name)?;
        match &self.near {
            Some(near) => write!(f, "did you mean `{near}`?"),
            None => f.write_str("see `cutover ps -a`"),
        }
    }
}

impl From<&str> for Missing {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), near: None }
    }
}

/// Names the container, the cause and, where there is one, the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no container is named {0}")]
    NotFound(Missing),
    #[error("`{prefix}` is the beginning of {count} container ids: give more digits")]
    Ambiguous { prefix: String, count: usize },
    #[error(
        "the name `{name}` is taken by container {holder}: remove it with `cutover rm {name}`, or choose another name"
    )]
    NameTaken { name: String, holder: String },
    #[error("container `{name}` is {}, so it cannot {operation}{}", status.as_str(), next_step(*status, operation))]
    Status { name: String, status: Status, operation: &'static str },
    /// The process could not be executed; docker's exit code says why: 126 or 127 (or 125 when it
    /// was our fault).
    #[error("container `{name}` did not start: {reason}")]
    Start { name: String, code: i32, reason: String },
    #[error("failed to execute in container `{name}`: {reason}")]
    Exec { name: String, code: i32, reason: String },
    #[error("container `{name}` cannot {operation}: {reason}")]
    Refused { name: String, operation: &'static str, reason: String },
    #[error("container `{name}`: its shim did not answer: {reason}")]
    Shim { name: String, reason: String },
    #[error(
        "`{path}` was written by a newer cutover (version {found}, known is {known}): update cutover"
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("`{path}` is damaged")]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("no volume is named `{0}`: see `cutover volume ls`")]
    VolumeNotFound(String),
    #[error("volume `{name}` is in use by container {holder}: remove the container first")]
    VolumeInUse { name: String, holder: String },
    #[error("bind mount source `{0}` does not exist")]
    BindSource(PathBuf),
    #[error(transparent)]
    Name(#[from] ParseIdError),
    /// `fs_err` names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The exit code that docker's CLI would end with.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Start { code, .. } | Self::Exec { code, .. } => *code,
            _ => 125,
        }
    }
}

fn next_step(status: Status, operation: &str) -> &'static str {
    match (status, operation) {
        (Status::Running | Status::Restarting, "be removed") => {
            ": stop it first, or remove it with `-f`"
        }
        (Status::Paused, "be removed") => ": unpause and stop it first, or remove it with `-f`",
        (Status::Paused, _) => ": unpause it first",
        (Status::Created | Status::Exited, _) => ": start it first",
        _ => "",
    }
}
