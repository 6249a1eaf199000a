//! How a snapshot gets its name, and how one that a power failure tore is told apart.
//!
//! Syncing thousands of small files one by one would take longer than unpacking them, and a build
//! makes many layers and keeps few. So a snapshot is published unsynced, with a file `unsynced`
//! that holds the kernel's boot id. In the same boot the page cache is the truth and it is whole;
//! after a crash of the machine the boot id differs, and the snapshot does not count. Settling
//! syncs the file system once and removes the file. It is made before the rename, and file
//! systems keep that order of names in their journals.

use std::io;
use std::path::Path;

use cutover_core::Digest;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{SnapshotError, Snapshots};
use crate::error::IoError;
use crate::scratch::{Locked, Scratch};
use crate::sync::sync_dir;

/// The layer's directory within the snapshot's.
pub(super) const FS: &str = "fs";
const META: &str = "meta.json";
const UNSYNCED: &str = "unsynced";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The version of `meta.json` that this program writes.
const VERSION: u32 = 1;

/// What a snapshot is: `meta.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    version: u32,
    pub(crate) diff_id: Digest,
    /// The chain id of the layer below.
    pub(crate) parent: Option<Digest>,
    /// Bytes of the uncompressed tar.
    pub(crate) size: u64,
    /// Whether the tar has an entry for the root.
    pub(crate) root: bool,
    /// When it was built; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
}

/// What every version of `meta.json` has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Why a snapshot's `meta.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("`{path}` is damaged")]
    Json { path: String, source: serde_json::Error },
    #[error(
        "`{path}` has version {found}, this program knows up to {VERSION}: use a newer cutover"
    )]
    Newer { path: String, found: u32 },
}

impl Meta {
    pub(super) fn new(diff_id: &Digest, parent: Option<&Digest>, size: u64, root: bool) -> Self {
        let (diff_id, parent) = (diff_id.clone(), parent.cloned());
        Self { version: VERSION, diff_id, parent, size, root, created: None }
    }

    pub(crate) fn read(dir: &Path) -> Result<Self, MetaError> {
        let path = dir.join(META);
        let bytes = fs_err::read(&path).map_err(IoError::at("read", &path))?;
        let shown = || path.display().to_string();
        let json = |source| MetaError::Json { path: shown(), source };
        let Version { version } = serde_json::from_slice(&bytes).map_err(json)?;
        if version > VERSION {
            return Err(MetaError::Newer { path: shown(), found: version });
        }
        serde_json::from_slice(&bytes).map_err(json)
    }
}

/// Whether the snapshot in `dir` is there and whole. Two system calls for a settled one.
pub(super) fn is_whole(dir: &Path) -> bool {
    match fs_err::read(dir.join(UNSYNCED)) {
        Ok(boot_id) => fs_err::read(BOOT_ID).is_ok_and(|now| now == boot_id),
        Err(error) => error.kind() == io::ErrorKind::NotFound && dir.join(FS).is_dir(),
    }
}

impl Snapshots {
    pub(crate) fn meta(&self, chain_id: &Digest) -> Result<Meta, MetaError> {
        Meta::read(&self.dir(chain_id))
    }

    /// Keeps other processes from making the same snapshot until it is dropped.
    pub(super) fn lock(&self, chain_id: &Digest) -> Result<Locked, IoError> {
        // Left behind for the garbage collector: removing it here would let two hold it.
        let path = self.store.tmp_dir().join(format!("{}.lock", chain_id.hex()));
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(IoError::at("open", &path))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive))
            .map_err(IoError::at("lock", &path))?;
        Ok(Locked(lock))
    }

    /// Gives the snapshot in `scratch` its name. Call under [`Snapshots::lock`], after finding
    /// that there is none.
    pub(super) fn publish(
        &self,
        scratch: Scratch,
        chain_id: &Digest,
        meta: &Meta,
    ) -> Result<(), SnapshotError> {
        let boot_id = fs_err::read(BOOT_ID).map_err(IoError::at("read", BOOT_ID))?;
        let json = serde_json::to_vec(meta).expect("strings and numbers");
        for (name, bytes) in [(META, &json), (UNSYNCED, &boot_id)] {
            let path = scratch.path().join(name);
            fs_err::write(&path, bytes).map_err(IoError::at("write", &path))?;
        }
        self.discard(chain_id)?;
        let dir = self.dir(chain_id);
        fs_err::rename(scratch.path(), &dir).map_err(IoError::at("create", &dir))?;
        scratch.keep();
        Ok(())
    }

    /// Removes a snapshot. It loses its name first, so that no half of one is ever seen.
    pub(crate) fn discard(&self, chain_id: &Digest) -> Result<(), IoError> {
        let dir = self.dir(chain_id);
        if !dir.exists() {
            return Ok(());
        }
        let grave = Scratch::new(&self.store.tmp_dir(), "removed-")?;
        let to = grave.path().join(FS);
        fs_err::rename(&dir, &to).map_err(IoError::at("remove", &dir))
    }

    /// Makes snapshots durable, if they are not. Drafts are committed without syncing; naming an
    /// image settles its layers.
    pub fn settle(&self, chain_ids: &[Digest]) -> Result<(), SnapshotError> {
        let unsynced: Vec<_> = (chain_ids.iter())
            .map(|chain_id| self.dir(chain_id).join(UNSYNCED))
            .filter(|path| path.exists())
            .collect();
        if unsynced.is_empty() {
            return Ok(());
        }
        let dir = self.store.snapshot_dir();
        let file = fs_err::File::open(&dir).map_err(IoError::at("open", &dir))?;
        rustix::fs::syncfs(file.file()).map_err(IoError::at("sync the file system of", &dir))?;
        for path in unsynced {
            match fs_err::remove_file(&path) {
                // another process settles the same layers
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(IoError::at("remove", &path))?,
            }
        }
        Ok(sync_dir(&dir)?)
    }
}
