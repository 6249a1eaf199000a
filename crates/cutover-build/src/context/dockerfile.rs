//! Finding and reading the Dockerfile.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::{BuildError, DockerfileSource};

/// A Dockerfile's bytes and what to call it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Where it is, if it is a file.
    pub(crate) path: Option<PathBuf>,
}

/// Most bytes of a Dockerfile.
pub(super) const MAX_DOCKERFILE: u64 = 16 << 20;

pub(crate) fn find(context: &Path, source: &DockerfileSource) -> Result<Found, BuildError> {
    if !context.is_dir() {
        return Err(BuildError::NoContext { path: context.to_owned() });
    }
    let path = match source {
        DockerfileSource::Inline(bytes) => {
            let bytes = bytes.clone();
            return Ok(Found { name: "Dockerfile".to_owned(), bytes, path: None });
        }
        // Its text is made of all that was asked for; there is nothing in it to check.
        DockerfileSource::Provision(_) => {
            let (name, bytes) = ("--provision".to_owned(), b"FROM scratch\n".to_vec());
            return Ok(Found { name, bytes, path: None });
        }
        DockerfileSource::Path(path) => path.clone(),
        DockerfileSource::Default => {
            let names = ["Dockerfile", "dockerfile"].into_iter();
            let found = names.map(|name| context.join(name)).find(|path| path.exists());
            found.ok_or_else(|| BuildError::NoDockerfile { context: context.to_owned() })?
        }
    };
    let bytes = read_bounded(&path, MAX_DOCKERFILE)
        .map_err(|source| BuildError::ReadDockerfile { path: path.clone(), source })?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Found { name, bytes, path: Some(path) })
}

/// Reads a file of at most `max` bytes.
pub(crate) fn read_bounded(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let problem = format!("`{}` is longer than {max} bytes", path.display());
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}
