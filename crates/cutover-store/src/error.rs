//! [`IoError`]: a system call that failed, with what was done to which path. Every error of this
//! crate that comes from the file system carries one, so that "no space left on device" always
//! says where.

use std::io;
use std::path::{Path, PathBuf};

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct IoError {
    /// A verb: `read`, `create`, `rename`.
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl IoError {
    /// For `map_err`: `open(path).map_err(IoError::at("open", path))`.
    pub fn at<'a, E: Into<io::Error>>(
        action: &'static str,
        path: impl AsRef<Path> + 'a,
    ) -> impl FnOnce(E) -> Self + 'a {
        move |source| Self { action, path: path.as_ref().to_owned(), source: source.into() }
    }
}
