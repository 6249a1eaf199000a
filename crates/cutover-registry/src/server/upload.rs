//! Uploads: files that grow until their digest is known.
//!
//! `uploads/ID@NAME` (with `+` for `/` in the name) is all there is of one: after a crash it is
//! taken up again from its size, and no other repository can see it. In memory a session keeps
//! the running hash, so that a blob is read again only when it was resumed or when its digest turns
//! out to be of the other algorithm.

mod receive;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cutover_core::digest::{Algorithm, Digest, Hasher};
use fs_err as fs;

use super::refusal::{Code, Refusal};

pub(super) use receive::{Limits, discard, receive};

/// How much is read at a time to hash a file.
const READ: usize = 256 << 10;

/// One upload. Whoever holds it is its only writer.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) path: PathBuf,
    file: fs::File,
    /// Bytes that have come.
    pub(super) size: u64,
    /// Bytes that are on disk for certain.
    synced: u64,
    /// Of all bytes so far; none when they have to be read again.
    hasher: Option<Hasher>,
    /// It is published or cancelled: whoever waited for it is too late.
    pub(super) over: bool,
}

/// An upload that somebody writes to. It goes along to the thread that writes, so that a client's end
/// in the middle of a write leaves size and hash true.
pub(super) type Held = tokio::sync::OwnedMutexGuard<Session>;

#[derive(Debug)]
pub(super) struct Uploads {
    dir: PathBuf,
    open: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Session>>>>,
    /// Bodies that are being received.
    receiving: AtomicUsize,
}

/// Where an upload of a repository is.
fn file_name(repository: &str, id: &str) -> String {
    format!("{id}@{}", repository.replace('/', "+"))
}

impl Uploads {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), open: Mutex::default(), receiving: AtomicUsize::new(0) })
    }

    /// Begins an upload.
    pub(super) fn begin(
        &self,
        repository: &str,
        id: &str,
        algorithm: Algorithm,
    ) -> io::Result<Arc<tokio::sync::Mutex<Session>>> {
        let name = file_name(repository, id);
        let path = self.dir.join(&name);
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let hasher = Some(Hasher::new(algorithm));
        let session = Session { path, file, size: 0, synced: 0, hasher, over: false };
        Ok(self.keep(name, session))
    }

    fn keep(&self, name: String, session: Session) -> Arc<tokio::sync::Mutex<Session>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = open.entry(name).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(session)));
        Arc::clone(kept)
    }

    /// An upload that was begun, by this process or by one before it.
    pub(super) fn find(
        &self,
        repository: &str,
        id: &str,
    ) -> Result<Arc<tokio::sync::Mutex<Session>>, Refusal> {
        let name = file_name(repository, id);
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = open.get(&name) {
            return Ok(Arc::clone(session));
        }
        drop(open);
        let path = self.dir.join(&name);
        let file = match fs::OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Refusal::not_found(
                    Code::BlobUploadUnknown,
                    "no such upload: it was finished, cancelled or given up",
                ));
            }
            Err(error) => return Err(Refusal::storage("open the upload", &error)),
        };
        let size = file.metadata().map_err(|error| Refusal::storage("read the upload", &error))?;
        let size = size.len();
        let session = Session { path, file, size, synced: 0, hasher: None, over: false };
        Ok(self.keep(name, session))
    }

    /// Forgets an upload that is over.
    pub(super) fn forget(&self, repository: &str, id: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&file_name(repository, id));
    }

    /// How much may be gathered before it is written, so that all bodies together stay small.
    pub(super) fn piece(&self) -> usize {
        let receiving = self.receiving.load(Ordering::Relaxed).max(1);
        ((12 << 20) / receiving).clamp(16 << 10, 256 << 10)
    }

    /// Removes uploads that nobody has written to for so long. Blocks.
    pub(super) fn expire(&self, idle: Duration, now: Duration) -> io::Result<usize> {
        use std::os::unix::fs::MetadataExt as _;
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            let written = Duration::from_secs(metadata.mtime().try_into().unwrap_or(0));
            if now.saturating_sub(written) < idle {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            // one that is being written to is not idle, whatever its time says
            match open.get(&name).map(|session| session.try_lock().map(|mut it| it.over = true)) {
                Some(Err(_busy)) => continue,
                _ => drop(open.remove(&name)),
            }
            fs::remove_file(entry.path())?;
            removed += 1;
        }
        Ok(removed)
    }
}

impl Session {
    /// Makes what has come durable. Blocks.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.size || self.size == 0 {
            self.file.sync_data()?;
            self.synced = self.size;
        }
        Ok(())
    }

    /// The digest of all bytes by this algorithm. Blocks; reads the file if it has to.
    pub(super) fn digest(&mut self, algorithm: Algorithm) -> io::Result<Digest> {
        if let Some(hasher) = &self.hasher {
            let same = matches!(hasher, Hasher::Sha256(_)) == (algorithm == Algorithm::Sha256);
            if same {
                return Ok(hasher.clone().finish());
            }
        }
        digest_of(&self.file, self.size, algorithm).map(Hasher::finish)
    }

    /// Takes back what came after `size`. Blocks.
    fn cut(&mut self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        (self.size, self.synced) = (size, self.synced.min(size));
        self.hasher = None;
        Ok(())
    }
}

/// Hashes the first `size` bytes of a file.
pub(super) fn digest_of(file: &fs::File, size: u64, algorithm: Algorithm) -> io::Result<Hasher> {
    use std::os::unix::fs::FileExt as _;
    let (mut hasher, mut at, mut bytes) = (Hasher::new(algorithm), 0, vec![0; READ]);
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(READ).min(READ);
        let read = file.file().read_at(&mut bytes[..want], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&bytes[..read]);
        at += read as u64;
    }
    Ok(hasher)
}
