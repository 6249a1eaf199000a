//! Changing a tree: each operation on one name in one opened directory, nothing by path twice.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Kind, Meta, Tree, TreeError};

/// A modification time: seconds and nanoseconds.
pub(crate) type Times = (i64, u32);

impl Tree {
    /// Makes one directory; it must not exist.
    pub(crate) fn make_dir(&self, path: &Path) -> Result<(), TreeError> {
        let make = || {
            let (parent, name) = self.parent(path)?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU)
        };
        make().map_err(TreeError::at("create the directory", path))
    }

    /// Makes an empty file; it must not exist.
    pub(crate) fn make_file(&self, path: &Path) -> Result<File, TreeError> {
        let make = || {
            let (parent, name) = self.parent(path)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW, Mode::RUSR | Mode::WUSR)
        };
        make().map(File::from).map_err(TreeError::at("create", path))
    }

    pub(crate) fn make_link(&self, target: &Path, path: &Path) -> Result<(), TreeError> {
        let make = || {
            let (parent, name) = self.parent(path)?;
            rustix::fs::symlinkat(target, parent, name)
        };
        make().map_err(TreeError::at("create the link", path))
    }

    /// Makes a second name for the file `from`.
    pub(crate) fn make_hard_link(&self, from: &Path, path: &Path) -> Result<(), TreeError> {
        let make = || {
            let (old, old_name) = self.parent(from)?;
            let (new, new_name) = self.parent(path)?;
            rustix::fs::linkat(old, old_name, new, new_name, AtFlags::empty())
        };
        make().map_err(TreeError::at("create the hard link", path))
    }

    /// Makes a device node, FIFO or socket.
    pub(crate) fn make_node(&self, path: &Path, kind: Kind, rdev: u64) -> Result<(), TreeError> {
        let kind = match kind {
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            Kind::Socket => FileType::Socket,
            _ => FileType::Fifo,
        };
        let make = || {
            let (parent, name) = self.parent(path)?;
            rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, rdev)
        };
        make().map_err(TreeError::at("create the node", path))
    }

    /// Removes whatever `path` is, with everything below it.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), TreeError> {
        let Some(meta) = self.meta(path)? else { return Ok(()) };
        if meta.is_dir() {
            for name in self.names(path)? {
                self.remove(&path.join(name))?;
            }
        }
        let remove = || {
            let (parent, name) = self.parent(path)?;
            let flags = if meta.is_dir() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            rustix::fs::unlinkat(parent, name, flags)
        };
        remove().map_err(TreeError::at("remove", path))
    }

    /// Sets the owner, which clears set-user-id bits: permissions come after it.
    pub(crate) fn own(&self, path: &Path, owner: (u32, u32)) -> Result<(), TreeError> {
        let own = || {
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            if path.as_os_str().is_empty() {
                return self
                    .root_file()
                    .and_then(|root| rustix::fs::fchown(root, Some(uid), Some(gid)));
            }
            let (parent, name) = self.parent(path)?;
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        };
        own().map_err(TreeError::at("change the owner of", path))
    }

    /// Sets the permission bits; not of a symlink, which has none.
    pub(crate) fn permit(&self, path: &Path, mode: u32) -> Result<(), TreeError> {
        let permit = || {
            let mode = Mode::from_raw_mode(mode);
            if path.as_os_str().is_empty() {
                return self.root_file().and_then(|root| rustix::fs::fchmod(root, mode));
            }
            let (parent, name) = self.parent(path)?;
            // The caller made or looked at `name`; nobody else is in this tree.
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
        };
        permit().map_err(TreeError::at("change the mode of", path))
    }

    pub(crate) fn touch(&self, path: &Path, mtime: Times) -> Result<(), TreeError> {
        let touch = || {
            let times = times(mtime);
            if path.as_os_str().is_empty() {
                return self.root_file().and_then(|root| rustix::fs::futimens(root, &times));
            }
            let (parent, name) = self.parent(path)?;
            rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        };
        touch().map_err(TreeError::at("set the time of", path))
    }

    pub(crate) fn set_xattr(&self, path: &Path, name: &str, value: &[u8]) -> Result<(), TreeError> {
        let set = || {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = self.open_at(path, flags, Mode::empty())?;
            rustix::fs::fsetxattr(file.as_fd(), name, value, XattrFlags::empty())
        };
        match set() {
            // A file system that has no attributes of this kind; BuildKit goes on too.
            Err(Errno::NOTSUP) => Ok(()),
            result => result.map_err(TreeError::at("set an attribute of", path)),
        }
    }

    /// The tree below the directory `path`: nothing leads out of it.
    pub(crate) fn subtree(&self, path: &Path) -> Result<Self, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let root = self.open_at(path, flags, Mode::empty()).map_err(TreeError::at("open", path))?;
        Ok(Self::of(root))
    }

    fn root_file(&self) -> rustix::io::Result<OwnedFd> {
        self.open_at(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Makes `path` and its missing parents, each with `mode` and `owner`. Returns those it made.
    pub(crate) fn make_dirs(
        &self,
        path: &Path,
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<Vec<std::path::PathBuf>, TreeError> {
        let mut made = Vec::new();
        let mut at = std::path::PathBuf::new();
        // A directory in a set-group-id one is one too, as the kernel makes it.
        let mut inherited = self.meta(&at)?.map_or(0, |meta| meta.mode & 0o2000);
        for part in path.components() {
            at.push(part);
            match self.meta(&at)? {
                Some(meta) if meta.is_dir() => {
                    inherited = meta.mode & 0o2000;
                    continue;
                }
                Some(_) => return Err(TreeError::at("create the directory", &at)(Errno::NOTDIR)),
                None => self.make_dir(&at)?,
            }
            if let Some(owner) = owner {
                self.own(&at, owner)?;
            }
            self.permit(&at, mode | inherited)?;
            made.push(at.clone());
        }
        Ok(made)
    }
}

/// Copies the bytes of `from` to `to`, in the kernel where it can, keeping holes out of the way.
pub(crate) fn copy_bytes(from: &mut File, to: &mut File) -> io::Result<u64> {
    io::copy(from, to)
}

pub(super) fn times(mtime: Times) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

impl Meta {
    /// Whether a file that was looked at twice was left alone in between.
    pub(crate) fn unchanged(&self, now: &Self) -> bool {
        (self.ino, self.size, self.mtime, self.ctime) == (now.ino, now.size, now.mtime, now.ctime)
    }
}
