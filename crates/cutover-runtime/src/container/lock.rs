//! The lock on a container: whoever holds it may supervise or change it.
//!
//! A `flock` on the container's `lock` file. A starter takes it and hands the descriptor to the
//! shim, whose death (any death) frees it. So there is no pid file that could lie.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Tries to take the lock. `None` when it is held; an error of kind `NotFound` when the container was
/// removed meanwhile.
pub(crate) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = fs::OpenOptions::new().write(true).open(path)?.into_file();
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    // A remover unlinks the file while it holds the lock: then this is a lock on nothing.
    match file.metadata()?.nlink() {
        0 => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(Some(file)),
    }
}

/// Takes the lock; while it is held, asks `give_up` whether to go on trying.
pub(crate) fn lock<E: From<io::Error>>(
    path: &Path,
    mut give_up: impl FnMut() -> Result<(), E>,
) -> Result<File, E> {
    // A shim that has reported its end holds the lock for some milliseconds more.
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(file) = try_lock(path)? {
            return Ok(file);
        }
        give_up()?;
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
