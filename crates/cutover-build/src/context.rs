//! The build context: a directory of the user's, without what `.dockerignore` hides.
//!
//! Walked once, when the first COPY or ADD asks for it. Files are read in place: there is no copy
//! of the context and no transfer. Owners do not travel: files from a context belong to root.

mod dockerfile;
mod layout;
mod material;
mod named;
mod prepare;
mod source;
mod visible;

use std::path::{Path, PathBuf};

use crate::BuildError;
use crate::ignore::{self, Ignore};
use crate::tree::{Tree, TreeError};

pub(crate) use dockerfile::{Found, find, read_bounded};
pub(crate) use layout::load as load_layout;
pub(crate) use material::{Material, material};
pub use named::{Contexts, NamedContext};
pub use prepare::{Prepared, prepare};
pub use source::ContextSource;
pub(crate) use visible::Visible;

/// An opened context.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) tree: Tree,
    pub(crate) visible: Visible,
}

impl Context {
    /// Opens `path` and walks it. `beside` is the Dockerfile, whose own `NAME.dockerignore` wins
    /// over the context's.
    pub(crate) fn open(path: &Path, beside: Option<&Path>) -> Result<Self, BuildError> {
        Self::with(path, &read_ignore(path, beside)?)
    }

    /// All of `path`: what was fetched has no ignore rules, as in BuildKit.
    pub(crate) fn all(path: &Path) -> Result<Self, BuildError> {
        Self::with(path, &Ignore::default())
    }

    fn with(path: &Path, ignore: &Ignore) -> Result<Self, BuildError> {
        let io = |error: TreeError| BuildError::Io {
            operation: "read the build context",
            source: Box::new(error),
        };
        let tree = Tree::open(path).map_err(io)?;
        let visible = Visible::walk(&tree, ignore).map_err(io)?;
        Ok(Self { tree, visible })
    }
}

/// Most bytes of a `.dockerignore`.
const MAX_IGNORE: u64 = 4 << 20;

pub(crate) fn read_ignore(context: &Path, beside: Option<&Path>) -> Result<Ignore, BuildError> {
    let Some((path, text)) = ignore_file(context, beside)? else { return Ok(Ignore::default()) };
    Ignore::new(&ignore::lines(&text))
        .map_err(|error| BuildError::Ignore { path, problem: error.to_string() })
}

/// The ignore file that counts, and its text.
pub(crate) fn ignore_file(
    context: &Path,
    beside: Option<&Path>,
) -> Result<Option<(PathBuf, String)>, BuildError> {
    let own = beside.map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let candidates = own.into_iter().chain([context.join(".dockerignore")]);
    for path in candidates {
        let bytes = match read_bounded(&path, MAX_IGNORE) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            result => result.map_err(|source| BuildError::Io {
                operation: "read the ignore file",
                source: Box::new(source),
            })?,
        };
        return Ok(Some((path, String::from_utf8_lossy(&bytes).into_owned())));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
