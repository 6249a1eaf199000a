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

/// Waits until nobody else uses `path`; until the file is closed nobody will.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(file.into_parts().0)
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
