//! Blobs as files, `blobs/ALGORITHM/AB/HEX`, for all repositories together.
//!
//! A file appears whole, synced, under its digest, and never changes. Publishing and removing the
//! same digest exclude each other, together with what the database says of it: else a removal
//! could take a file that has just been pushed again.

use std::io;
use std::path::{Path, PathBuf};

use cutover_core::digest::{Algorithm, Digest};
use fs_err as fs;
use tokio::sync::{Mutex, MutexGuard};

/// Locks for digests, shared by their first byte.
const LOCKS: usize = 256;

#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    locks: Vec<Mutex<()>>,
}

impl Blobs {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            fs::create_dir_all(dir.join(algorithm.as_str()))?;
        }
        fs::File::open(dir)?.sync_all()?;
        Ok(Self { dir: dir.to_owned(), locks: (0..LOCKS).map(|_| Mutex::default()).collect() })
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.dir.join(digest.algorithm().as_str()).join(&hex[..2]).join(hex)
    }

    /// Held while a digest's file and its row are changed.
    pub(super) async fn lock(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        self.lock_of(digest).lock().await
    }

    /// The same for a thread that may wait.
    pub(super) fn lock_blocking(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        self.lock_of(digest).blocking_lock()
    }

    fn lock_of(&self, digest: &Digest) -> &Mutex<()> {
        let byte = u8::from_str_radix(&digest.hex()[..2], 16).unwrap_or_default();
        &self.locks[usize::from(byte)]
    }

    pub(super) fn open_file(&self, digest: &Digest) -> io::Result<fs::File> {
        fs::File::open(self.path(digest))
    }

    /// Gives a synced file its name. With the lock held. Blocks.
    pub(super) fn publish(&self, temp: &Path, digest: &Digest) -> io::Result<()> {
        let path = self.path(digest);
        if path.exists() {
            return fs::remove_file(temp);
        }
        let folder = path.parent().unwrap_or(&self.dir);
        if let Err(error) = fs::rename(temp, &path) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            // the first one of its folder
            fs::create_dir_all(folder)?;
            fs::File::open(folder.parent().unwrap_or(&self.dir))?.sync_all()?;
            fs::rename(temp, &path)?;
        }
        fs::File::open(folder)?.sync_all()
    }

    /// With the lock held. Blocks.
    pub(super) fn remove(&self, digest: &Digest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All files, with what is not a blob's left out.
    pub(super) fn list(&self) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for folder in fs::read_dir(self.dir.join(algorithm.as_str()))? {
                for file in fs::read_dir(folder?.path())? {
                    let name = file?.file_name();
                    let text = format!("{}:{}", algorithm.as_str(), name.to_string_lossy());
                    found.extend(text.parse::<Digest>());
                }
            }
        }
        Ok(found)
    }
}
