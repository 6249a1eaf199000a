//! [`Scratch`]: a directory under `tmp/` that is removed unless it gets a name; and the removal of
//! trees of any depth.
//!
//! Its owner holds a `flock` on it, which the kernel drops with the owner: what has none was left
//! behind by a program that was killed, and the next one removes it ([`sweep`]).

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat,
};
use rustix::io::Errno;

use crate::error::IoError;

/// A private directory for work in progress.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Empty once it has a name.
    path: PathBuf,
    owned: Option<Locked>,
}

/// A `flock` until it is dropped.
#[derive(Debug)]
pub(crate) struct Locked(pub(crate) OwnedFd);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread has just cloned holds a copy
        // of it until it executes its program.
        let _unlocked = flock(&self.0, FlockOperation::Unlock);
    }
}

/// What scratch directories are named after.
const PREFIXES: [&str; 3] = ["draft-", "layer-", "removed-"];

impl Scratch {
    pub(crate) fn new(tmp: &Path, prefix: &str) -> Result<Self, IoError> {
        debug_assert!(PREFIXES.contains(&prefix), "`{prefix}` would never be swept");
        loop {
            let dir = tempfile::Builder::new()
                .prefix(prefix)
                .tempdir_in(tmp)
                .map_err(IoError::at("create a directory in", tmp))?;
            // Who sweeps may have found it before it had an owner.
            if let Some(owned) = own(dir.path()).map_err(IoError::at("lock", dir.path()))? {
                return Ok(Self { path: dir.keep(), owned: Some(owned) });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets the directory: it was renamed.
    pub(crate) fn keep(mut self) {
        self.owned = None;
        self.path = PathBuf::new();
    }
}

/// Takes a directory that was just made; `None` when it is gone.
fn own(path: &Path) -> Result<Option<Locked>, Errno> {
    let dir = match open_dir(CWD, path.as_os_str().as_bytes()) {
        Err(Errno::NOENT) => return Ok(None),
        dir => Locked(dir?),
    };
    rustix::io::retry_on_intr(|| flock(&dir.0, FlockOperation::LockExclusive))?;
    Ok((fstat(&dir.0)?.st_nlink > 0).then_some(dir))
}

/// Removes scratch directories in `tmp` whose owner was killed; says how many.
pub(crate) fn sweep(tmp: &Path) -> Result<usize, IoError> {
    let mut swept = 0;
    for entry in fs_err::read_dir(tmp).map_err(IoError::at("list", tmp))? {
        let entry = entry.map_err(IoError::at("list", tmp))?;
        let name = entry.file_name();
        if !PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())) {
            continue;
        }
        let path = entry.path();
        let Ok(dir) = open_dir(CWD, path.as_os_str().as_bytes()) else { continue };
        if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _locked = Locked(dir);
            remove_tree(&path)?;
            swept += 1;
        }
    }
    Ok(swept)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
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
    fn what_nobody_owns_is_swept() {
        let tmp = tempfile::tempdir().unwrap();
        let owned = Scratch::new(tmp.path(), "draft-").unwrap();
        let path = owned.path().to_owned();
        for left in ["draft-killed/fs/dir", "layer-killed", "removed-killed", "not-ours"] {
            fs_err::create_dir_all(tmp.path().join(left)).unwrap();
        }
        assert_eq!(sweep(tmp.path()).unwrap(), 3);
        assert!(path.exists() && tmp.path().join("not-ours").exists());
        // A child that was cloned in between has a copy.
        let _copy = owned.owned.as_ref().unwrap().0.try_clone().unwrap();
        let named = tmp.path().join("named");
        fs_err::rename(&path, &named).unwrap();
        owned.keep();
        assert!(named.exists());
        fs_err::rename(&named, &path).unwrap();
        assert_eq!(sweep(tmp.path()).unwrap(), 1);
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
