//! [`Store`]: one directory, its layout, its version and its locks.
//!
//! Opening is cheap (a database connection, no scan) and takes no lock. Work of several steps,
//! where a later step names what an earlier one made (a pull, a build, a container's creation),
//! holds a [`Lease`]: a shared `flock` on `store.lock` that the garbage collector, which takes it
//! exclusively, waits for. The kernel drops the lock with its owner, so none outlives a crash.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use cutover_core::Digest;
use cutover_core::oci::Descriptor;
use rusqlite::Connection;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::blobs::Blobs;
use crate::db::{self, DbError};
use crate::error::IoError;
use crate::images::Images;
use crate::scratch::{self, Locked};
use crate::snapshots::{LayerReader, SnapshotError, Snapshots};
use crate::transfers::Transfers;

/// The content-addressed directory that holds images. Cheap to clone; every clone shares one
/// database connection. Several processes may have the same directory open.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    db: Mutex<Connection>,
}

/// A promise that the garbage collector removes nothing meanwhile. Dropping it ends the promise.
#[derive(Debug)]
pub struct Lease {
    _lock: Locked,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open the store")]
    Io(#[from] IoError),
    #[error("cannot open the store's database `{}`", path.display())]
    Db { path: PathBuf, source: DbError },
}

impl Store {
    /// Opens the store under `root`, creating what is missing.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, OpenError> {
        let root =
            std::path::absolute(root.as_ref()).map_err(IoError::at("resolve", root.as_ref()))?;
        create_layout(&root)?;
        let path = root.join("store.db");
        let db = db::open(&path).map_err(|source| OpenError::Db { path, source })?;
        Ok(Self { inner: Arc::new(Inner { root, db: Mutex::new(db) }) })
    }

    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.clone())
    }

    pub fn images(&self) -> Images {
        Images::new(self.clone())
    }

    /// What is known of blobs in registries.
    pub fn transfers(&self) -> Transfers {
        Transfers::new(self.clone())
    }

    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.clone())
    }

    /// The bytes that `layer` names: its blob, or, for an uncompressed layer without one, the tar
    /// made from the snapshot `chain_id`.
    pub fn layer_reader(
        &self,
        layer: &Descriptor,
        chain_id: &Digest,
    ) -> Result<LayerReader, SnapshotError> {
        self.snapshots().layer_reader(layer, chain_id)
    }

    /// Keeps the garbage collector away until the lease is dropped; waits while it runs.
    pub fn lease(&self) -> Result<Lease, IoError> {
        self.lock(FlockOperation::LockShared)
    }

    /// Removes drafts of programs that were killed, which nobody can ever use; says how many. What
    /// others are at is left alone.
    pub fn sweep(&self) -> Result<usize, IoError> {
        scratch::sweep(&self.tmp_dir())
    }

    /// The collector's side of [`Store::lease`]: `None` when anyone holds one.
    pub(crate) fn try_exclusive(&self) -> Result<Option<Lease>, IoError> {
        match self.lock(FlockOperation::NonBlockingLockExclusive) {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.source.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, operation: FlockOperation) -> Result<Lease, IoError> {
        let path = self.inner.root.join("store.lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(IoError::at("open", &path))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, operation))
            .map_err(IoError::at("lock", &path))?;
        Ok(Lease { _lock: Locked(lock) })
    }

    pub(crate) fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves the connection usable: SQLite rolls the transaction back.
        self.inner.db.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn blob_dir(&self) -> PathBuf {
        self.inner.root.join("blobs")
    }

    pub(crate) fn snapshot_dir(&self) -> PathBuf {
        self.inner.root.join("snapshots")
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.inner.root.join("tmp")
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("root", &self.inner.root).finish_non_exhaustive()
    }
}

/// Creates the directories. Those that hold other people's set-user-id programs are closed to all
/// but root: a local user must not run one from outside its container.
fn create_layout(root: &Path) -> Result<(), IoError> {
    const PRIVATE: [&str; 5] = ["blobs", "blobs/sha256", "blobs/sha512", "snapshots", "tmp"];
    if root.join("tmp").is_dir() {
        return Ok(());
    }
    fs_err::create_dir_all(root).map_err(IoError::at("create", root))?;
    for name in PRIVATE {
        let path = root.join(name);
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(IoError::at("create", &path)(errno)),
        }
    }
    spread(&root.join("tmp"));
    Ok(())
}

/// Tells ext4 that directories in `dir` have nothing to do with each other. New layers begin there;
/// were they all put near each other, each new file would step over every inode that a collection
/// has freed in the last minutes, which more than doubles the time of a build of many files. Other
/// file systems refuse and need it not.
fn spread(dir: &Path) {
    let Ok(file) = fs_err::File::open(dir) else { return };
    if let Ok(flags) = rustix::fs::ioctl_getflags(file.file()) {
        let _refused = rustix::fs::ioctl_setflags(file.file(), flags | rustix::fs::IFlags::TOPDIR);
    }
}
