//! A directory tree that may be hostile, seen only from within: every path is resolved below its
//! root, symlinks included, by `openat2`.
//!
//! Paths are relative to the root and have no `.`, no `..` and, once resolved, no symlink but in
//! the last place; the empty path is the root. The kernel refuses anything else
//! (`RESOLVE_IN_ROOT`, `RESOLVE_NO_SYMLINKS`), so a tree that changes meanwhile can make an
//! operation fail but never lead it out.

mod change;
mod dir;
mod meta;
mod resolve;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

pub(crate) use change::copy_bytes;
pub(crate) use dir::{Dir, Filled, copy_file};
pub(crate) use meta::{Kind, Meta, xattrs_of};

/// An open directory tree.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
}

/// A file operation within a tree that failed; the path is the tree's own.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `/{}`", path.display())]
pub(crate) struct TreeError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl TreeError {
    pub(crate) fn at<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source: source.into() }
    }
}

/// Symlinks are followed within the root only where a caller says so.
const NO_LINKS: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_SYMLINKS);

impl Tree {
    /// The tree below a directory of the host.
    pub(crate) fn open(path: &Path) -> Result<Self, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(path, flags, Mode::empty()).map_err(TreeError::at("open", path))?;
        Ok(Self { root })
    }

    /// The tree of a detached mount.
    pub(crate) fn of(root: OwnedFd) -> Self {
        Self { root }
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            // A rename elsewhere on the machine can make the kernel give up; it says to try again.
            match rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, NO_LINKS) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// The directory that holds `path`, and the name in it.
    fn parent<'a>(&self, path: &'a Path) -> rustix::io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(rustix::io::Errno::INVAL)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.open_at(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name))
    }

    /// What `path` is; `None` when it is not there. A symlink is not followed.
    pub(crate) fn meta(&self, path: &Path) -> Result<Option<Meta>, TreeError> {
        let result = if path.as_os_str().is_empty() {
            rustix::fs::fstat(&self.root)
        } else {
            self.parent(path).and_then(|(parent, name)| {
                rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            })
        };
        match result {
            Ok(stat) => Ok(Some(Meta::of(&stat))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(TreeError::at("look at", path)(errno)),
        }
    }

    /// The target of a symlink.
    pub(crate) fn link(&self, path: &Path) -> Result<PathBuf, TreeError> {
        let read = || {
            let (parent, name) = self.parent(path)?;
            rustix::fs::readlinkat(parent, name, Vec::new())
        };
        let target = read().map_err(TreeError::at("read the link", path))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Opens a regular file for reading. Never blocks on a FIFO, never follows a symlink.
    pub(crate) fn file(&self, path: &Path) -> Result<File, TreeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_at(path, flags, Mode::empty()).map_err(TreeError::at("open", path))?;
        Ok(File::from(file))
    }

    /// Names in a directory, sorted by their bytes.
    pub(crate) fn names(&self, path: &Path) -> Result<Vec<OsString>, TreeError> {
        let read = || {
            let directory =
                self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::new(directory)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.push(OsStr::from_bytes(name).to_owned());
                }
            }
            names.sort();
            Ok::<_, rustix::io::Errno>(names)
        };
        read().map_err(TreeError::at("read the directory", path))
    }

    /// What is in a directory, sorted by name. What vanishes meanwhile is left out.
    pub(crate) fn entries(&self, path: &Path) -> Result<Vec<(PathBuf, Meta)>, TreeError> {
        let names = self.names(path)?;
        let read = || {
            let directory = self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            let mut entries = Vec::with_capacity(names.len());
            for name in names {
                match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => entries.push((path.join(name), Meta::of(&stat))),
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Ok(entries)
        };
        read().map_err(TreeError::at("read the directory", path))
    }

    /// The extended attributes that images carry, sorted by name.
    pub(crate) fn xattrs(
        &self,
        path: &Path,
        kind: Kind,
    ) -> Result<Vec<(String, Vec<u8>)>, TreeError> {
        // Device nodes and FIFOs cannot be opened harmlessly, symlinks not at all; none has what
        // images carry but in theory.
        if !matches!(kind, Kind::File | Kind::Dir) {
            return Ok(Vec::new());
        }
        let read = || {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = self.open_at(path, flags, Mode::empty())?;
            meta::xattrs(file.as_fd())
        };
        read().map_err(TreeError::at("read the attributes of", path))
    }
}

#[cfg(test)]
mod tests;
