//! [`Blobs`]: bytes named by their digest, each in one file that never changes.
//!
//! A blob is written to `tmp/`, hashed on the way, synced, renamed to `blobs/ALGORITHM/HEX`, and
//! the folder synced: after a crash it is there whole or not at all. Only bytes that hash to the
//! name ever get it.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use cutover_core::Digest;
use cutover_core::digest::{Algorithm, Hasher};
use tempfile::NamedTempFile;

use crate::error::IoError;
use crate::store::{Lease, Store};

/// The blobs of one store.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Store,
}

/// Receives a blob's bytes and hashes them. Dropped before [`BlobWriter::commit`], it leaves
/// nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    hasher: Hasher,
    size: u64,
    file: NamedTempFile,
    _lease: Lease,
}

/// A blob that is written and hashed but has not got its name yet.
#[derive(Debug)]
pub struct PendingBlob {
    pub digest: Digest,
    pub size: u64,
    blobs: Blobs,
    file: NamedTempFile,
    _lease: Lease,
}

/// Why a blob cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("blob {digest} is not in the store")]
    Missing { digest: Digest },
    #[error("blob {digest} is corrupted: its bytes are {actual} (file `{}`)", path.display())]
    Corrupted { digest: Digest, actual: Digest, path: PathBuf },
    #[error("expected blob {expected}, but the bytes that came are {actual} ({size} bytes)")]
    Unexpected { expected: Digest, actual: Digest, size: u64 },
    #[error("blob {digest} has {size} bytes, more than the {max} allowed for it")]
    TooLarge { digest: Digest, size: u64, max: u64 },
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Blobs {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn lease(&self) -> Result<Lease, IoError> {
        self.store.lease()
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.store.tmp_dir()
    }

    /// Where the blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.store.blob_dir();
        path.push(digest.algorithm().as_str());
        path.push(digest.hex());
        path
    }

    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Bytes of the blob.
    pub fn size(&self, digest: &Digest) -> Result<u64, BlobError> {
        let path = self.path(digest);
        let metadata = fs_err::metadata(&path).map_err(|error| missing(digest, &path, error))?;
        Ok(metadata.len())
    }

    pub fn open(&self, digest: &Digest) -> Result<std::fs::File, BlobError> {
        let path = self.path(digest);
        let file = fs_err::File::open(&path).map_err(|error| missing(digest, &path, error))?;
        Ok(file.into_file())
    }

    /// The whole blob, checked against its digest; refused if longer than `max`. For documents.
    pub fn read_bounded(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let file = self.open(digest)?;
        let size = file.metadata().map_err(IoError::at("inspect", &path))?.len();
        if size > max {
            return Err(BlobError::TooLarge { digest: digest.clone(), size, max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(max).read_to_end(&mut bytes).map_err(IoError::at("read", &path))?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        self.check(digest, hasher.finish())?;
        Ok(bytes)
    }

    /// Reads the blob and compares it with its digest.
    pub fn verify(&self, digest: &Digest) -> Result<(), BlobError> {
        let mut file = self.open(digest)?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer).map_err(IoError::at("read", self.path(digest)))?;
            if count == 0 {
                return self.check(digest, hasher.finish());
            }
            hasher.update(&buffer[..count]);
        }
    }

    fn check(&self, digest: &Digest, actual: Digest) -> Result<(), BlobError> {
        if actual == *digest {
            return Ok(());
        }
        Err(BlobError::Corrupted { digest: digest.clone(), actual, path: self.path(digest) })
    }

    /// A writer for a blob that is named by SHA-256. Hold a [`Lease`] until something names the
    /// blob: the writer's own ends with it.
    pub fn writer(&self) -> Result<BlobWriter, BlobError> {
        self.writer_with(Algorithm::Sha256)
    }

    pub fn writer_with(&self, algorithm: Algorithm) -> Result<BlobWriter, BlobError> {
        let lease = self.store.lease()?;
        let tmp = self.store.tmp_dir();
        let file = tempfile::Builder::new()
            .prefix("blob-")
            .tempfile_in(&tmp)
            .map_err(IoError::at("create a file in", &tmp))?;
        let hasher = Hasher::new(algorithm);
        Ok(BlobWriter { blobs: self.clone(), hasher, size: 0, file, _lease: lease })
    }

    /// Stores `bytes` under their SHA-256 digest.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        self.put_with(Algorithm::Sha256, bytes)
    }

    /// Stores `bytes` under their digest by `algorithm`.
    pub fn put_with(&self, algorithm: Algorithm, bytes: &[u8]) -> Result<Digest, BlobError> {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        let digest = hasher.finish();
        if self.contains(&digest) {
            return Ok(digest);
        }
        let mut writer = self.writer_with(algorithm)?;
        writer.write_all(bytes).map_err(IoError::at("write to", self.store.tmp_dir()))?;
        writer.commit(Some(&digest))?;
        Ok(digest)
    }

    /// Removes the blob if it is there.
    pub fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(IoError::at("remove", &path)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// The digests of all blobs.
    pub fn list(&self) -> Result<Vec<Digest>, BlobError> {
        let mut digests = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.store.blob_dir().join(algorithm.as_str());
            for entry in fs_err::read_dir(&dir).map_err(IoError::at("list", &dir))? {
                let name = entry.map_err(IoError::at("list", &dir))?.file_name();
                let text = format!("{}:{}", algorithm.as_str(), name.to_string_lossy());
                digests.extend(text.parse::<Digest>());
            }
        }
        Ok(digests)
    }
}

fn missing(digest: &Digest, path: &std::path::Path, error: io::Error) -> BlobError {
    if error.kind() == io::ErrorKind::NotFound {
        BlobError::Missing { digest: digest.clone() }
    } else {
        IoError::at("open", path)(error).into()
    }
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Ends the blob without naming it yet.
    pub fn finish(self) -> PendingBlob {
        PendingBlob {
            digest: self.hasher.finish(),
            size: self.size,
            blobs: self.blobs,
            file: self.file,
            _lease: self._lease,
        }
    }

    /// Makes the blob durable under its digest. With `expected`, other bytes are refused.
    pub fn commit(self, expected: Option<&Digest>) -> Result<(Digest, u64), BlobError> {
        let pending = self.finish();
        match expected {
            Some(expected) if *expected != pending.digest => Err(BlobError::Unexpected {
                expected: expected.clone(),
                actual: pending.digest,
                size: pending.size,
            }),
            _ => pending.publish(),
        }
    }
}

impl PendingBlob {
    /// The bytes, refused if they are more than `max`.
    pub(crate) fn read_bounded(&self, max: u64) -> Result<Vec<u8>, BlobError> {
        if self.size > max {
            return Err(BlobError::TooLarge { digest: self.digest.clone(), size: self.size, max });
        }
        let path = self.file.path();
        fs_err::read(path).map_err(|error| IoError::at("read", path)(error).into())
    }

    /// The first bytes, by which a compression is known.
    pub(crate) fn start(&self) -> Result<[u8; 4], BlobError> {
        let path = self.file.path();
        let mut start = [0; 4];
        match fs_err::File::open(path).and_then(|mut file| file.read_exact(&mut start)) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Err(IoError::at("read", path)(error).into())
            }
            _ => Ok(start),
        }
    }

    /// Makes the blob durable under its digest.
    pub fn publish(self) -> Result<(Digest, u64), BlobError> {
        let path = self.blobs.path(&self.digest);
        if path.is_file() {
            return Ok((self.digest, self.size));
        }
        self.file.as_file().sync_all().map_err(IoError::at("sync", self.file.path()))?;
        self.file.persist(&path).map_err(|error| IoError::at("create", &path)(error.error))?;
        crate::sync::sync_parent(&path)?;
        Ok((self.digest, self.size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
