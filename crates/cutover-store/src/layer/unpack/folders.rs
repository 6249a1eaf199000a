//! Opening folders within the layer, and making those that the tar leaves out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, ResolveFlags, mkdirat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::{ApplyError, DIR, Unpacker, at, read_attributes};
use crate::layer::attributes::Attributes;
use crate::layer::lower::file_type;
use crate::tar::split;

/// What the layer itself has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Absent,
    Directory,
    /// Something else is there, or in the way.
    Other,
}
impl Unpacker<'_> {
    /// The folder of `path`, made if it is missing.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, ApplyError> {
        let (dir, _) = split(path);
        if dir.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.parent.as_ref().is_none_or(|(cached, _)| cached != dir) {
            let fd = match self.open(dir) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.make_dirs(dir)?,
                Err(errno) => return Err(at(dir, "open")(errno)),
            };
            self.parent = Some((dir.to_vec(), fd));
        }
        Ok(self.parent.as_ref().expect("set above").1.as_fd())
    }

    pub(super) fn open(&self, dir: &[u8]) -> Result<OwnedFd, Errno> {
        let dir = if dir.is_empty() { b"." } else { dir };
        let resolve = ResolveFlags::IN_ROOT
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        openat2(&self.root, dir, DIR, Mode::empty(), resolve)
    }

    /// Makes `dir` and its parents: with the attributes that the layers below give them, so that
    /// a file in /tmp does not take its sticky bit away. Anything else in the way is removed.
    pub(super) fn make_dirs(&mut self, dir: &[u8]) -> Result<OwnedFd, ApplyError> {
        let mut current = self.open(b"").map_err(at(b"/", "open"))?;
        let ends = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([dir.len()]) {
            let path = &dir[..end];
            let (_, name) = split(path);
            match openat(&current, name, DIR, Mode::empty()) {
                Ok(next) => {
                    current = next;
                    continue;
                }
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    unlinkat(&current, name, AtFlags::empty()).map_err(at(path, "replace"))?;
                }
                Err(errno) => return Err(at(path, "open")(errno)),
            }
            mkdirat(&current, name, Mode::RWXU).map_err(at(path, "create"))?;
            let attributes = match self.lower.lookup(path)? {
                Some(found) if found.is_dir() => read_attributes(&found)?,
                _ => Attributes::of_missing_parent(),
            };
            current = openat(&current, name, DIR, Mode::empty()).map_err(at(path, "open"))?;
            attributes.set(current.as_fd()).map_err(at(path, "set attributes of"))?;
            self.dirs.insert(path.to_vec(), attributes.mtime);
        }
        Ok(current)
    }

    pub(super) fn own(&self, path: &[u8]) -> Result<Own, ApplyError> {
        let (dir, name) = split(path);
        let found = self.open(dir).and_then(|dir| {
            statat(&dir, if name.is_empty() { b"." } else { name }, AtFlags::SYMLINK_NOFOLLOW)
        });
        match found {
            Ok(stat) if file_type(&stat) == FileType::Directory => Ok(Own::Directory),
            Ok(_) | Err(Errno::NOTDIR | Errno::LOOP) => Ok(Own::Other),
            Err(Errno::NOENT) => Ok(Own::Absent),
            Err(errno) => Err(at(path, "inspect")(errno)),
        }
    }
}
