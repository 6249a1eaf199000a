//! Where what was fetched is kept: `ROOT/build/`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cutover_core::Digest;

/// `ROOT/build/KIND`, made if it is not there.
pub(super) fn directory(root: &Path, kind: &str) -> io::Result<PathBuf> {
    let path = root.join("build").join(kind);
    fs_err::create_dir_all(&path)?;
    Ok(path)
}

/// A name for an address, which may hold a password.
pub(super) fn name(address: &str) -> String {
    Digest::sha256(address.as_bytes()).hex().to_owned()
}

/// A `flock` until it is dropped.
#[derive(Debug)]
pub(super) struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // A container that another thread has just cloned holds a copy of the file for a moment.
        let _unlocked = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

/// Waits until nobody else uses `path`; until this is dropped nobody will.
pub(super) fn lock(path: &Path) -> io::Result<Locked> {
    let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(Locked(file.into_parts().0))
}

/// Removes everything that was kept: the next build asks for all of it.
pub(crate) fn forget(root: &Path) -> io::Result<()> {
    for kind in ["http", "git"] {
        match fs_err::remove_dir_all(root.join("build").join(kind)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path).unwrap();
        let _copy = held.0.try_clone().unwrap();
        drop(held);
        let again = fs_err::File::open(&path).unwrap();
        rustix::fs::flock(&again, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    }
}
