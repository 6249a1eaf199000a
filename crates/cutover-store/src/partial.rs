//! [`PartialBlob`]: a blob that arrives piece by piece, over several attempts and programs.
//!
//! `tmp/ALGORITHM-HEX.part` holds the bytes that have come, and its `flock` is held by whoever
//! fetches them. A program that dies leaves file and bytes for the next one; the garbage collector
//! takes them once nobody works in the store.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use cutover_core::Digest;
use cutover_core::digest::Hasher;
use rustix::fs::FlockOperation;

use crate::blobs::{BlobError, Blobs};
use crate::error::IoError;
use crate::store::Lease;

/// A blob on its way. Dropped before [`PartialBlob::commit`], what has come stays for the next
/// attempt.
#[derive(Debug)]
pub struct PartialBlob {
    blobs: Blobs,
    digest: Digest,
    hasher: Hasher,
    size: u64,
    /// Locked for as long as it is open.
    file: File,
    path: PathBuf,
    _lease: Lease,
}

impl Blobs {
    /// The place to write the blob to, with what is there of it. `None` while someone else
    /// fetches it. Reads what is there: call it where that may take time.
    pub fn partial(&self, digest: &Digest) -> Result<Option<PartialBlob>, BlobError> {
        let lease = self.lease()?;
        let name = format!("{}-{}.part", digest.algorithm().as_str(), digest.hex());
        let path = self.tmp_dir().join(name);
        let open = || {
            let mut options = fs_err::OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).open(&path)
        };
        let mut file = open().map_err(IoError::at("open", &path))?.into_file();
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(IoError::at("lock", &path)(errno).into()),
        }
        // it may have got its name, or been removed, between opening and locking
        let same = fs_err::metadata(&path).is_ok_and(|named| {
            file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (named.dev(), named.ino()))
        });
        if !same {
            return Ok(None);
        }
        let mut hasher = Hasher::new(digest.algorithm());
        let size = hash(&mut file, &mut hasher).map_err(IoError::at("read", &path))?;
        let (blobs, digest) = (self.clone(), digest.clone());
        Ok(Some(PartialBlob { blobs, digest, hasher, size, file, path, _lease: lease }))
    }
}

/// Hashes the file and leaves it at its end.
fn hash(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let (mut buffer, mut size) = (vec![0; 256 << 10], 0);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(size);
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

impl PartialBlob {
    /// Bytes that have come.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the bytes so far hash to.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Whether the bytes so far are the blob.
    pub fn is_right(&self) -> bool {
        self.digest() == self.digest
    }

    /// Another handle on the bytes, for a reader that follows.
    pub fn reader(&self) -> Result<File, BlobError> {
        let file = fs_err::File::open(&self.path).map_err(IoError::at("open", &self.path))?;
        Ok(file.into_file())
    }

    /// Forgets all bytes.
    pub fn restart(&mut self) -> Result<(), BlobError> {
        self.file.set_len(0).map_err(IoError::at("empty", &self.path))?;
        self.file.rewind().map_err(IoError::at("empty", &self.path))?;
        self.hasher = Hasher::new(self.digest.algorithm());
        self.size = 0;
        Ok(())
    }

    /// Makes the blob durable under its digest. Other bytes are refused and removed.
    pub fn commit(self) -> Result<(), BlobError> {
        let actual = self.hasher.finish();
        if actual != self.digest {
            fs_err::remove_file(&self.path).map_err(IoError::at("remove", &self.path))?;
            return Err(BlobError::Unexpected { expected: self.digest, actual, size: self.size });
        }
        self.file.sync_all().map_err(IoError::at("sync", &self.path))?;
        let to = self.blobs.path(&self.digest);
        fs_err::rename(&self.path, &to).map_err(IoError::at("create", &to))?;
        Ok(crate::sync::sync_parent(&to)?)
    }

    /// Removes what has come.
    pub fn discard(self) -> Result<(), BlobError> {
        Ok(fs_err::remove_file(&self.path).map_err(IoError::at("remove", &self.path))?)
    }
}

impl Write for PartialBlob {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Store::open(dir.path()).unwrap().blobs();
        let digest = Digest::sha256(b"some bytes");
        let mut first = blobs.partial(&digest).unwrap().unwrap();
        first.write_all(b"some ").unwrap();
        assert!(blobs.partial(&digest).unwrap().is_none(), "one at a time");
        drop(first);
        let mut second = blobs.partial(&digest).unwrap().unwrap();
        assert_eq!(second.size(), 5);
        second.write_all(b"bytes").unwrap();
        second.commit().unwrap();
        assert_eq!(blobs.read_bounded(&digest, 100).unwrap(), b"some bytes");
    }

    #[test]
    fn wrong_bytes_go_and_a_restart_begins_at_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Store::open(dir.path()).unwrap().blobs();
        let digest = Digest::sha256(b"right");
        let mut partial = blobs.partial(&digest).unwrap().unwrap();
        partial.write_all(b"wrong").unwrap();
        assert!(matches!(partial.commit(), Err(BlobError::Unexpected { .. })));
        let mut partial = blobs.partial(&digest).unwrap().unwrap();
        assert_eq!(partial.size(), 0);
        partial.write_all(b"wrong again").unwrap();
        partial.restart().unwrap();
        partial.write_all(b"right").unwrap();
        partial.commit().unwrap();
        assert!(blobs.contains(&digest));
        assert_eq!(fs_err::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }
}
