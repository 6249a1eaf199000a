//! What a file is, without its bytes.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Link,
    Char,
    Block,
    Fifo,
    Socket,
}

/// A file's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    /// The twelve permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) links: u64,
    /// Of a device node.
    pub(crate) rdev: u64,
}

impl Meta {
    pub(super) fn of(stat: &Stat) -> Self {
        let nanoseconds = |value| u32::try_from(value).unwrap_or(0);
        Self {
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Kind::Dir,
                FileType::Symlink => Kind::Link,
                FileType::CharacterDevice => Kind::Char,
                FileType::BlockDevice => Kind::Block,
                FileType::Fifo => Kind::Fifo,
                FileType::Socket => Kind::Socket,
                _ => Kind::File,
            },
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            ctime: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
            dev: stat.st_dev,
            ino: stat.st_ino,
            #[expect(clippy::useless_conversion, reason = "its width differs between machines")]
            links: stat.st_nlink.into(),
            rdev: stat.st_rdev,
        }
    }

    pub(crate) fn of_file(file: &File) -> Result<Self, Errno> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }
}

/// Whether an attribute belongs to the file rather than to this machine or to overlayfs.
fn travels(name: &str) -> bool {
    name.starts_with("user.") && !name.starts_with("user.overlay.") || name == "security.capability"
}

/// Longest attribute list and value: the kernel's limit.
const MAX_XATTR: usize = 64 * 1024;

/// The extended attributes that images carry, sorted by name.
pub(crate) fn xattrs_of(file: &File) -> Result<Vec<(String, Vec<u8>)>, Errno> {
    xattrs(file.as_fd())
}

pub(super) fn xattrs(file: BorrowedFd<'_>) -> Result<Vec<(String, Vec<u8>)>, Errno> {
    let mut list = vec![0_u8; 1024];
    let length = loop {
        match rustix::fs::flistxattr(file, list.as_mut_slice()) {
            Ok(length) => break length,
            Err(Errno::RANGE) if list.len() < MAX_XATTR => list.resize(MAX_XATTR, 0),
            // A file system without attributes.
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    };
    let mut found = Vec::new();
    for name in list[..length].split(|byte| *byte == 0) {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| travels(name)) else {
            continue;
        };
        let mut value = vec![0_u8; MAX_XATTR];
        match rustix::fs::fgetxattr(file, name, value.as_mut_slice()) {
            Ok(length) => value.truncate(length),
            // Removed in between.
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno),
        }
        found.push((name.to_owned(), value));
    }
    found.sort();
    Ok(found)
}
