//! What is on disk: networks, kept over a reboot, and leases, which are not.
//!
//! - `ROOT/networks/NAME.json`: one network; written temp → fsync → rename → fsync of the folder.
//! - `RUN/networks/leases.json`: the [`Book`]. Links and rules do not outlive a reboot, so neither
//!   do leases: the file names the boot that it belongs to, and is written without fsync.
//! - `RUN/networks/lock`: flock'ed while any of this, or the ruleset made from it, changes. The
//!   kernel lets go of it when its owner dies.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use serde::{Deserialize, Serialize};

use super::book::Book;
use super::error::NetError;
use super::types::Network;

const VERSION: u32 = 1;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Clone, Debug)]
pub(crate) struct Store {
    networks: PathBuf,
    run: PathBuf,
    boot: String,
}

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    store: &'a Store,
    _lock: OwnedFd,
}

#[derive(Serialize, Deserialize)]
struct NetworkFile {
    version: u32,
    #[serde(flatten)]
    network: Network,
}

#[derive(Serialize, Deserialize)]
struct BookFile {
    version: u32,
    boot: String,
    book: Book,
}

/// What every file starts with, whatever its version.
#[derive(Deserialize)]
struct AnyFile {
    version: u32,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file is not enough: a child of `clone3` that another thread has just made holds
        // a copy of it until it executes its program, and may wait for who waits for this lock.
        let _unlocked = rustix::fs::flock(&self._lock, rustix::fs::FlockOperation::Unlock);
    }
}

impl Store {
    pub(crate) fn open(root: &Path, run: &Path) -> Result<Self, NetError> {
        let (networks, run) = (root.join("networks"), run.join("networks"));
        for folder in [&networks, &run] {
            fs_err::create_dir_all(folder).map_err(NetError::State)?;
        }
        let boot = fs_err::read_to_string(BOOT_ID).map_err(NetError::State)?.trim().to_owned();
        Ok(Self { networks, run, boot })
    }

    /// Waits for the lock.
    pub(crate) fn lock(&self) -> Result<Locked<'_>, NetError> {
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.run.join("lock"))
            .map_err(NetError::State)?;
        rustix::io::retry_on_intr(|| {
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        })
        .map_err(|error| NetError::State(error.into()))?;
        Ok(Locked { store: self, _lock: file.into_parts().0.into() })
    }

    /// Every network, by name.
    pub(crate) fn networks(&self) -> Result<Vec<Network>, NetError> {
        let mut networks = Vec::new();
        for entry in fs_err::read_dir(&self.networks).map_err(NetError::State)? {
            let path = entry.map_err(NetError::State)?.path();
            let is_network = path.extension().is_some_and(|extension| extension == "json");
            if let Some(file) =
                is_network.then(|| read::<NetworkFile>(&path)).transpose()?.flatten()
            {
                networks.push(file.network);
            }
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    pub(crate) fn network(&self, name: &str) -> Result<Option<Network>, NetError> {
        let path = self.path(name);
        if !path.try_exists().map_err(NetError::State)? {
            return Ok(None);
        }
        Ok(read::<NetworkFile>(&path)?.map(|file| file.network))
    }

    /// The leases of this boot.
    pub(crate) fn book(&self) -> Result<Book, NetError> {
        let file = read::<BookFile>(&self.book_path())?;
        Ok(file.filter(|file| file.boot == self.boot).map(|file| file.book).unwrap_or_default())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.networks.join(format!("{name}.json"))
    }

    fn book_path(&self) -> PathBuf {
        self.run.join("leases.json")
    }
}

impl Locked<'_> {
    pub(crate) fn save_book(&self, book: Book) -> Result<(), NetError> {
        let file = BookFile { version: VERSION, boot: self.store.boot.clone(), book };
        write(&self.store.book_path(), &file, false).map_err(NetError::State)
    }

    pub(crate) fn save_network(&self, network: &Network) -> Result<(), NetError> {
        let file = NetworkFile { version: VERSION, network: network.clone() };
        write(&self.store.path(&network.name), &file, true)
            .and_then(|()| fs_err::File::open(&self.store.networks)?.sync_all())
            .map_err(NetError::State)
    }

    pub(crate) fn forget_network(&self, name: &str) -> Result<(), NetError> {
        remove_if_there(&self.store.path(name)).map_err(NetError::State)
    }
}

/// `None` for a file that does not exist or is empty: the latter is what a power cut leaves of one
/// that was not synced.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, NetError> {
    let bytes = match fs_err::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(NetError::State)?,
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    let corrupt = |error: serde_json::Error| NetError::Corrupt {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let AnyFile { version } = serde_json::from_slice(&bytes).map_err(corrupt)?;
    if version > VERSION {
        return Err(NetError::Newer { path: path.to_owned(), version });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(corrupt)
}

/// Atomic; the lock makes one fixed name for the temporary file enough.
fn write(path: &Path, content: &impl Serialize, sync: bool) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // starting from an empty file would count as overwriting, see below
    remove_if_there(&temporary)?;
    let mut file = fs_err::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(content)?)?;
    if sync {
        file.sync_all()?;
        return fs_err::rename(temporary, path);
    }
    // a rename over a file makes ext4 write at once what was not synced: some 0.5 ms; exchanging
    // the two does not
    match rustix::fs::renameat_with(CWD, &temporary, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => remove_if_there(&temporary),
        Err(_) => fs_err::rename(temporary, path),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two stages of a build make containers at the same time.
    #[test]
    fn a_childs_copy_of_the_descriptor_does_not_hold_the_lock() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(dir.path(), &dir.path().join("run")).expect("store");
        let locked = store.lock().expect("lock");
        let _copy = locked._lock.try_clone().expect("copy");
        drop(locked);
        let file = fs_err::File::open(dir.path().join("run/networks/lock")).expect("lock file");
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, operation).expect("nobody holds it");
    }
}
