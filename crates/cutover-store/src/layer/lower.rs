//! [`Lower`]: the merged view of the layers below one, as overlayfs would show it.
//!
//! Answers what a tar leaves open: which attributes a directory has that the tar does not
//! mention, whether a whiteout hides anything, where a hard link's target is. The directories are
//! snapshots, which never change, so nothing here races.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Stat, statat};
use rustix::io::Errno;

use super::attributes::xattr;
use super::{OPAQUE_VALUE, OPAQUE_XATTR};
use crate::error::IoError;

/// Lower directories, topmost first, and what was found about them.
#[derive(Debug)]
pub(crate) struct Lower {
    dirs: Vec<PathBuf>,
    /// Which layers make up a directory, topmost first; none if it is not one.
    merged: HashMap<Vec<u8>, Rc<[usize]>>,
}

/// A file as the merged view shows it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Where its topmost version is.
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
}

impl Found {
    pub(crate) fn is_dir(&self) -> bool {
        file_type(&self.stat) == FileType::Directory
    }
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether this is overlayfs's mark of a deleted file.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(crate) fn is_opaque(path: &Path) -> Result<bool, IoError> {
    let value = xattr(path, OPAQUE_XATTR).map_err(IoError::at("read attributes of", path))?;
    Ok(value.as_deref() == Some(OPAQUE_VALUE))
}

pub(crate) fn stat(path: &Path) -> Result<Option<Stat>, IoError> {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(IoError::at("inspect", path)(errno)),
    }
}

impl Lower {
    /// `dirs` are topmost first.
    pub(crate) fn new(dirs: Vec<PathBuf>) -> Self {
        let all = (0..dirs.len()).collect();
        Self { dirs, merged: HashMap::from([(Vec::new(), all)]) }
    }

    fn path(&self, layer: usize, path: &[u8]) -> PathBuf {
        let mut full = self.dirs[layer].clone();
        if !path.is_empty() {
            full.push(OsStr::from_bytes(path));
        }
        full
    }

    /// What is at the clean path `path`; links are not followed.
    pub(crate) fn lookup(&mut self, path: &[u8]) -> Result<Option<Found>, IoError> {
        let (dir, name) = crate::tar::split(path);
        let layers = self.layers(dir)?;
        for &layer in layers.iter() {
            let full = self.path(layer, path);
            match stat(&full)? {
                Some(stat) if is_whiteout(&stat) && !name.is_empty() => return Ok(None),
                Some(stat) => return Ok(Some(Found { path: full, stat })),
                None => {}
            }
        }
        Ok(None)
    }

    /// The names in the directory `path`; none if it is not one.
    pub(crate) fn names(&mut self, path: &[u8]) -> Result<BTreeSet<Vec<u8>>, IoError> {
        let layers = self.layers(path)?;
        let (mut names, mut hidden) = (BTreeSet::new(), BTreeSet::new());
        for &layer in layers.iter() {
            let dir = self.path(layer, path);
            let list = |error: io::Error| IoError::at("list", &dir)(error);
            for entry in fs_err::read_dir(&dir).map_err(list)? {
                let name = entry.map_err(list)?.file_name().as_bytes().to_vec();
                if names.contains(&name) || hidden.contains(&name) {
                    continue;
                }
                let full = dir.join(OsStr::from_bytes(&name));
                match stat(&full)? {
                    Some(stat) if is_whiteout(&stat) => hidden.insert(name),
                    _ => names.insert(name),
                };
            }
        }
        Ok(names)
    }

    /// The layers whose directories overlayfs merges at `path`: from the top down to the first
    /// that has a whiteout, something else or an opaque directory there.
    fn layers(&mut self, path: &[u8]) -> Result<Rc<[usize]>, IoError> {
        if let Some(layers) = self.merged.get(path) {
            return Ok(Rc::clone(layers));
        }
        let (dir, _) = crate::tar::split(path);
        let parent = self.layers(dir)?;
        let mut layers = Vec::new();
        for &layer in parent.iter() {
            let full = self.path(layer, path);
            match stat(&full)? {
                None => {}
                Some(stat) if file_type(&stat) == FileType::Directory => {
                    layers.push(layer);
                    if is_opaque(&full)? {
                        break;
                    }
                }
                Some(_) => break,
            }
        }
        let layers: Rc<[usize]> = layers.into();
        self.merged.insert(path.to_vec(), Rc::clone(&layers));
        Ok(layers)
    }
}
