//! [`Store`]: the storage as requests see it. Blobs are files, the rest is in the database and in
//! memory.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use cutover_core::digest::Digest;
use rustix::fs::{FlockOperation, flock};

use super::blobs::Blobs;
use super::change::By;
use super::db::{self, DbError, Readers};
use super::index::Index;
use super::policy::Policy;
use super::refusal::Refusal;
use super::upload::{Held, Uploads};
use super::writer::Writer;

/// Bytes of manifests that are kept in memory.
const CACHE: usize = 12 << 20;

/// Where time and randomness come from.
#[derive(Clone, Copy, Debug)]
pub struct Ambient {
    /// Time since 1970.
    pub now: fn() -> Duration,
    pub random: fn() -> [u8; 16],
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("use the folder `{}`", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("another registry uses `{}`", path.display())]
    Used { path: PathBuf },
    #[error("use the database `{}`", path.display())]
    Database { path: PathBuf, source: DbError },
    #[error("start the thread that writes")]
    Thread(#[source] io::Error),
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) dir: PathBuf,
    pub(super) blobs: Blobs,
    pub(super) uploads: Uploads,
    pub(super) writer: Writer,
    pub(super) readers: Readers,
    pub(super) policy: Arc<Policy>,
    pub(super) ambient: Ambient,
    /// Seconds since 1970 from which on clients are told things; none are when there is no server.
    pub(super) started: i64,
    index: Arc<RwLock<Index>>,
    documents: Documents,
    /// Held for as long as the store is open.
    _lock: fs_err::File,
}

impl Store {
    /// Opens a data directory, which no other process may use at the same time. The thread ends when
    /// the store is dropped and everything is written.
    pub(super) fn open(
        dir: &Path,
        policy: Policy,
        ambient: Ambient,
    ) -> Result<(Self, JoinHandle<()>), OpenError> {
        let folder = |source| OpenError::Folder { path: dir.to_owned(), source };
        fs_err::create_dir_all(dir).map_err(folder)?;
        let lock = fs_err::File::create(dir.join("registry.lock")).map_err(folder)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_held| OpenError::Used { path: dir.to_owned() })?;
        let blobs = Blobs::open(&dir.join("blobs")).map_err(folder)?;
        let uploads = Uploads::open(&dir.join("uploads")).map_err(folder)?;
        let path = dir.join("registry.db");
        let database = |source| OpenError::Database { path: path.clone(), source };
        let db = db::open(&path).map_err(database)?;
        let index = Arc::new(RwLock::new(db::load(&db).map_err(database)?));
        fs_err::File::open(dir).and_then(|dir| dir.sync_all()).map_err(folder)?;
        let (writer, thread) = Writer::start(db, Arc::clone(&index)).map_err(OpenError::Thread)?;
        let store = Self {
            dir: dir.to_owned(),
            blobs,
            uploads,
            writer,
            readers: Readers::new(&path),
            policy: Arc::new(policy),
            ambient,
            started: 0,
            index,
            documents: Documents::default(),
            _lock: lock,
        };
        Ok((store, thread))
    }

    /// What is there. Never held while waiting.
    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        (self.ambient.now)().as_secs().try_into().unwrap_or(i64::MAX)
    }

    pub(super) fn by(&self, who: &Arc<str>) -> By {
        By { who: Arc::clone(who), at: self.now() }
    }

    /// A blob's size, for a client that will rely on it.
    pub(super) fn blob(&self, repository: &str, digest: &Digest) -> Option<u64> {
        self.index().repository(repository)?.blob(digest, self.now())
    }

    /// A manifest's bytes.
    pub(super) async fn document(
        self: &Arc<Self>,
        digest: &Digest,
    ) -> Result<Option<Bytes>, Refusal> {
        if let Some(bytes) = self.documents.get(digest) {
            return Ok(Some(bytes));
        }
        let (store, wanted) = (Arc::clone(self), digest.clone());
        let read = tokio::task::spawn_blocking(move || store.readers.document(&wanted));
        let read = read.await.unwrap_or_else(|_panic| Ok(None));
        let bytes = read.map_err(|error| Refusal::internal("read a manifest", &error))?;
        if let Some(bytes) = &bytes {
            self.documents.put(digest, bytes);
        }
        Ok(bytes)
    }

    pub(super) fn remember(&self, digest: &Digest, bytes: &Bytes) {
        self.documents.put(digest, bytes);
    }

    /// Gives an upload its digest's name and links it. Everything is on disk when this returns.
    pub(super) async fn finish(
        self: &Arc<Self>,
        repository: &Arc<str>,
        mut session: Held,
        digest: &Digest,
    ) -> Result<u64, Refusal> {
        let (store, wanted) = (Arc::clone(self), digest.clone());
        let guard = self.blobs.lock(digest).await;
        let size = session.size;
        let publish = tokio::task::spawn_blocking(move || {
            session.sync()?;
            session.over = true;
            store.blobs.publish(&session.path, &wanted)
        });
        let published = publish.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        published.map_err(|error| Refusal::storage("store the blob", &error))?;
        self.link(repository, digest, size).await?;
        drop(guard);
        Ok(size)
    }

    /// A blob that is there belongs to a repository from now on.
    pub(super) async fn link(
        &self,
        repository: &Arc<str>,
        digest: &Digest,
        size: u64,
    ) -> Result<(), Refusal> {
        let (policy, name, at) = (Arc::clone(&self.policy), Arc::clone(repository), self.now());
        let digest = digest.clone();
        self.writer.run(move |change| change.link(&policy, &name, (&digest, size), at)).await
    }

    /// Bytes that can still be written to the disk.
    pub(super) fn free(&self) -> u64 {
        rustix::fs::statvfs(&self.dir)
            .map_or(u64::MAX, |it| it.f_bavail.saturating_mul(it.f_frsize))
    }
}

/// Manifests' bytes in memory. When there are too many, those go that were not asked for since the
/// last time that there were too many.
#[derive(Debug, Default)]
struct Documents {
    kept: RwLock<(HashMap<Digest, Kept>, usize)>,
}

#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    used: AtomicBool,
}

impl Documents {
    fn get(&self, digest: &Digest) -> Option<Bytes> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let found = kept.0.get(digest)?;
        // a shared line that is only read stays in every core's cache
        if !found.used.load(Ordering::Relaxed) {
            found.used.store(true, Ordering::Relaxed);
        }
        Some(found.bytes.clone())
    }

    fn put(&self, digest: &Digest, bytes: &Bytes) {
        if bytes.len() > CACHE / 8 {
            return;
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let (map, total) = &mut *kept;
        // the bytes may be a part of something larger that would stay in memory with them
        let bytes = Bytes::copy_from_slice(bytes);
        *total += bytes.len();
        if let Some(old) = map.insert(digest.clone(), Kept { bytes, used: AtomicBool::new(false) })
        {
            *total -= old.bytes.len();
        }
        while *total > CACHE {
            map.retain(|_, it| it.used.swap(false, Ordering::Relaxed));
            *total = map.values().map(|it| it.bytes.len()).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_in_memory() {
        let documents = Documents::default();
        let bytes = Bytes::from(vec![7; 1 << 20]);
        let hot = Digest::sha256(b"hot");
        documents.put(&hot, &bytes);
        for number in 0..64 {
            documents.put(&Digest::sha256(&[number]), &bytes);
            assert!(documents.get(&hot).is_some(), "{number}");
            assert!(documents.kept.read().unwrap().1 <= CACHE);
        }
        let large = Digest::sha256(b"large");
        documents.put(&large, &Bytes::from(vec![0; CACHE]));
        assert!(documents.get(&large).is_none());
    }
}
