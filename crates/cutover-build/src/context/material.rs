//! A context that is not a directory of the user's, laid out as one.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ContextSource;
use super::dockerfile::{MAX_DOCKERFILE, read_bounded};
use crate::copy::{CopyError, open_archive, unpack};
use crate::remote::{Checkout, RemoteError, Remotes, url};
use crate::tree::{Tree, TreeError};

/// Files that are there as long as this is.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) path: PathBuf,
    pub(crate) time: Option<i64>,
    /// Owners are an archive's.
    pub(crate) owners: bool,
    /// What came is a Dockerfile and no context.
    pub(crate) dockerfile: Option<Vec<u8>>,
    _dir: Holder,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for its end")]
enum Holder {
    Nothing,
    Dir(TempDir),
    Checkout(Checkout),
}

/// Why a context cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MaterialError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Unpack(#[from] CopyError),
    #[error("{0}")]
    Url(String),
    #[error("cannot lay out the context")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Gets `source`. With `keep_git_dir` a repository brings its history's end with it.
pub(crate) fn material(
    remotes: &Remotes<'_>,
    source: &ContextSource,
    keep_git_dir: bool,
) -> Result<Material, MaterialError> {
    match source {
        ContextSource::Directory(path) => Ok(Material {
            path: path.clone(),
            time: None,
            owners: false,
            dockerfile: None,
            _dir: Holder::Nothing,
        }),
        ContextSource::File(path) => of_file(remotes, path, &path.display().to_string(), None),
        ContextSource::Remote(text) => match url::git(text).map_err(MaterialError::Url)? {
            Some(git) => {
                let commit = remotes.commit(&git)?;
                let keep = git.keep_git_dir.unwrap_or(keep_git_dir);
                let checkout = remotes.checkout(&git, &commit, keep)?;
                Ok(Material {
                    path: checkout.path.clone(),
                    time: Some(checkout.time),
                    owners: false,
                    dockerfile: None,
                    _dir: Holder::Checkout(checkout),
                })
            }
            None => {
                let download = remotes.download(text, None)?;
                let time = Some(download.modified).filter(|time| *time != 0);
                of_file(remotes, &download.path, &url::shown(text), time)
            }
        },
    }
}

fn of_file(
    remotes: &Remotes<'_>,
    path: &Path,
    name: &str,
    time: Option<i64>,
) -> Result<Material, MaterialError> {
    let dir = remotes.scratch()?;
    let files = dir.path().join("files");
    fs_err::create_dir(&files)?;
    let tree = Tree::open(&files)?;
    tree.permit(Path::new(""), 0o755)?;
    let archive = open_archive(fs_err::File::open(path)?);
    let owners = archive.is_some();
    let dockerfile = match archive {
        Some(bytes) => {
            unpack(bytes, &tree, name, None)?;
            None
        }
        None => Some(read_bounded(path, MAX_DOCKERFILE)?),
    };
    Ok(Material { path: files, time, owners, dockerfile, _dir: Holder::Dir(dir) })
}
