//! Why something that the front was asked for was not done.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupError;
use crate::mounts::MountError;

/// Of this module and those below it.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something was not done. Nothing is left behind by what failed to be created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle or the command says something that cannot be.
    #[error("invalid `{field}`: {reason}")]
    Invalid {
        /// Where.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bundle asks for something that this runtime does not do.
    #[error("unsupported `{field}`: {reason}")]
    Unsupported {
        /// Where.
        field: String,
        /// What was asked for.
        reason: String,
    },
    /// A step failed.
    #[error("{what} `{subject}`")]
    Step {
        /// The operation.
        what: String,
        /// A path, name or number.
        subject: String,
        /// Why.
        source: io::Error,
    },
    /// The control group failed.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A mount could not be prepared.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// No such program. The words are those that docker and podman look for.
    #[error("exec: \"{program}\": executable file not found in $PATH")]
    NotFound {
        /// As given.
        program: String,
    },
    /// It is there but cannot be run.
    #[error("exec: \"{program}\"")]
    NotExecutable {
        /// As given.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A hook failed.
    #[error("{kind} hook `{path}` {reason}")]
    Hook {
        /// `createRuntime`…
        kind: &'static str,
        /// Its program.
        path: String,
        /// With its exit code and last words.
        reason: String,
    },
    /// There is none of this name.
    #[error("container `{0}` does not exist")]
    NoContainer(String),
    /// There is one of this name.
    #[error("container with id `{0}` exists already")]
    Exists(String),
    /// Not in this state.
    #[error("cannot {what} container `{id}`: it is {status}")]
    State {
        /// The operation.
        what: &'static str,
        /// Which.
        id: String,
        /// What it is instead.
        status: String,
    },
    /// The first process vanished without a word.
    #[error("the container's first process died while being set up")]
    Died,
    /// The caller's executable could be overwritten from inside a container.
    #[error("this program does not run from a read-only mount of its executable")]
    Unprotected,
    /// A child told what it failed at.
    #[error("{0}")]
    Told(Told),
}

/// An error that crossed from the child to its maker: the whole chain as text, and what kind it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The chain.
    pub text: String,
    /// The exit code that stands for it.
    pub code: u8,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error {
    /// Something that cannot be.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// Something that is not done.
    pub fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), reason: reason.into() }
    }

    /// The same error about a field that lies deeper.
    pub fn below(self, prefix: &str) -> Self {
        match self {
            Self::Invalid { field, reason } => {
                Self::Invalid { field: format!("{prefix}.{field}"), reason }
            }
            Self::Unsupported { field, reason } => {
                Self::Unsupported { field: format!("{prefix}.{field}"), reason }
            }
            other => other,
        }
    }

    /// For `map_err`: names the operation and its subject.
    pub fn step<E: Into<io::Error>>(
        what: &'static str,
        subject: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let subject = subject.into();
        move |error| Self::Step { what: what.to_owned(), subject, source: error.into() }
    }

    /// For `map_err` on files, whose errors name their path already.
    pub fn from_io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::step(what, path.display().to_string())
    }

    /// The exit code for scripts: 127 not found, 126 not executable, 1 everything else, as runc.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Told(told) => told.code,
            _ => 1,
        }
    }

    /// What to tell across the socket.
    pub fn tell(&self) -> Told {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.ends_with(&said) {
                text = format!("{text}: {said}");
            }
            cause = error.source();
        }
        Told { text, code: self.exit_code() }
    }
}
