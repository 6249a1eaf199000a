//! [`Dir`]: a directory of a tree that stays open for many operations on names in it; and filling
//! files in few system calls.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::change::{Times, times};
use super::{Tree, TreeError};

/// Names only: no path leads through it to anywhere else.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

impl Tree {
    pub(crate) fn dir(&self, path: &Path) -> Result<Dir, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.open_at(path, flags, Mode::empty()).map(Dir).map_err(TreeError::at("open", path))
    }
}

impl Dir {
    /// Opens the regular file `path` of the tree, which is in this directory. Never blocks on a
    /// FIFO, never follows a symlink.
    pub(crate) fn file(&self, path: &Path) -> Result<File, TreeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.open(path, flags, 0).map_err(TreeError::at("open", path))
    }

    /// Makes an empty file; it must not exist. What the process may not give it of `mode` at once
    /// is left for [`Filled::describe`].
    pub(crate) fn make_file(&self, path: &Path, mode: u32) -> Result<File, TreeError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
        self.open(path, flags, mode & 0o777).map_err(TreeError::at("create", path))
    }

    fn open(&self, path: &Path, flags: OFlags, mode: u32) -> rustix::io::Result<File> {
        let name: &OsStr = path.file_name().ok_or(Errno::INVAL)?;
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::openat(&self.0, name, flags | OFlags::CLOEXEC, mode).map(File::from)
    }
}

/// Files up to this size go through memory: two system calls, where the kernel's own copying takes
/// two and some to find out that it can.
const SMALL: u64 = 256 * 1024;
/// Bytes for one `copy_file_range`: the kernel can be interrupted in between.
const PIECE: usize = 1 << 30;

/// Copies the bytes of `from`, which should be `size`, to the empty file `to`.
pub(crate) fn copy_file(
    mut from: &File,
    mut to: &File,
    size: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    if size <= SMALL {
        // One more byte says whether it has grown.
        let wanted = usize::try_from(size).unwrap_or(0) + 1;
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let length = from.read(&mut buffer[..wanted])?;
        to.write_all(&buffer[..length])?;
        if length < wanted {
            return Ok(());
        }
    }
    loop {
        match rustix::fs::copy_file_range(from, None, to, None, PIECE) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Between file systems, or of one that cannot: both know how far they are.
            Err(_) => return io::copy(&mut from, &mut to).map(|_| ()),
        }
    }
}

/// What a new file is to have beside its bytes.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) owner: (u32, u32),
    pub(crate) mode: u32,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

impl Filled {
    /// Gives it to `file`, in the order in which nothing undoes what came before. Looking at a file
    /// costs less than changing it to what it is.
    pub(crate) fn describe(&self, file: &File, mtime: Times) -> rustix::io::Result<()> {
        let (uid, gid) = self.owner;
        let is = rustix::fs::fstat(file)?;
        let owned = (is.st_uid, is.st_gid) == (uid, gid);
        if !owned {
            rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        if !owned || is.st_mode & 0o7777 != self.mode {
            rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        }
        for (name, value) in &self.xattrs {
            match rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
                // A file system that has no attributes of this kind; BuildKit goes on too.
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(errno) => return Err(errno),
            }
        }
        rustix::fs::futimens(file, &times(mtime))
    }
}
