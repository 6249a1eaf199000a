//! [`Scratch`]: a directory under `tmp/` that is removed unless it gets a name; and the removal of
//! trees of any depth.

use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::error::IoError;

/// A private directory for work in progress.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(tmp: &Path, prefix: &str) -> Result<Self, IoError> {
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(tmp)
            .map_err(IoError::at("create a directory in", tmp))?;
        Ok(Self { path: dir.keep() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets the directory: it was renamed.
    pub(crate) fn keep(self) {
        let _kept = ManuallyDrop::new(self);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "left a temporary directory behind");
        }
    }
}

/// Removes `path` and all below it, without following links. A missing path is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), IoError> {
    remove_at(CWD, path.as_os_str().as_bytes()).map_err(|errno| IoError::at("remove", path)(errno))
}

/// Removes `name` in `parent`. Goes down and up one directory at a time and holds two descriptors
/// however deep the tree is: containers make trees that are deeper than the limit of open files.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let mut names = vec![name.to_vec()];
    let mut current = open_dir(parent, name)?;
    loop {
        if let Some(child) = empty_until_subdir(current.as_fd())? {
            current = open_dir(current.as_fd(), child.as_bytes())?;
            names.push(child.into_bytes());
            continue;
        }
        let name = names.pop().expect("one name per open directory");
        if names.is_empty() {
            return unlinkat(parent, &name, AtFlags::REMOVEDIR);
        }
        current = open_dir(current.as_fd(), b"..")?;
        unlinkat(&current, &name, AtFlags::REMOVEDIR)?;
    }
}

/// Removes what can be removed; returns the first directory that is not empty.
fn empty_until_subdir(dir: BorrowedFd<'_>) -> Result<Option<CString>, Errno> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = match entry.file_type() {
            FileType::Directory => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        match unlinkat(dir, name, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR) => {
                return Ok(Some(name.to_owned()));
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_trees_deeper_than_the_limit_of_open_files() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs_err::create_dir(&top).unwrap();
        let mut at = open_dir(CWD, top.as_os_str().as_bytes()).unwrap();
        for _ in 0..1100 {
            rustix::fs::mkdirat(&at, "a", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "empty", Mode::RWXU).unwrap();
            at = open_dir(at.as_fd(), b"a").unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
    }

    #[test]
    fn does_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs_err::create_dir(&kept).unwrap();
        fs_err::write(kept.join("file"), "x").unwrap();
        let top = dir.path().join("top");
        fs_err::create_dir(&top).unwrap();
        std::os::unix::fs::symlink(&kept, top.join("link")).unwrap();
        remove_tree(&top).unwrap();
        assert!(kept.join("file").exists());
        std::os::unix::fs::symlink(&kept, &top).unwrap();
        remove_tree(&top).unwrap();
        assert!(kept.join("file").exists());
    }
}
