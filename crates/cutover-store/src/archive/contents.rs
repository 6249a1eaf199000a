//! [`Contents`]: the files of an archive, taken from a stream in one pass.
//!
//! Only at the end is it known which of them an image needs. Until then they are pending blobs,
//! hashed but without a name, and a failure leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};

use cutover_core::Digest;

use super::{ArchiveError, DOCKER_MANIFEST, INDEX, LAYOUT};
use crate::blobs::PendingBlob;
use crate::image::MAX_DOCUMENT;
use crate::store::Store;
use crate::stream::Compression;
use crate::tar::{Entry, Kind, Reader, clean, shown, split};

/// What an archive holds.
#[derive(Debug)]
pub(super) struct Contents {
    store: Store,
    documents: BTreeMap<&'static str, Vec<u8>>,
    files: BTreeMap<String, PendingBlob>,
    /// Blobs that the store has already.
    present: BTreeSet<String>,
    /// docker before 25 links a layer that several images have.
    links: BTreeMap<String, String>,
    published: BTreeMap<String, File>,
}

/// A file that is or becomes a blob.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) compression: Compression,
}

/// The files that say what the others are.
const DOCUMENTS: [&str; 3] = [INDEX, DOCKER_MANIFEST, LAYOUT];

impl Contents {
    pub(super) fn read<R: BufRead>(
        store: &Store,
        reader: &mut Reader<R>,
    ) -> Result<Self, ArchiveError> {
        let mut contents = Self {
            store: store.clone(),
            documents: BTreeMap::new(),
            files: BTreeMap::new(),
            present: BTreeSet::new(),
            links: BTreeMap::new(),
            published: BTreeMap::new(),
        };
        while let Some(entry) = reader.next()? {
            contents.entry(&entry, reader)?;
        }
        reader.require_end()?;
        Ok(contents)
    }

    fn entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), ArchiveError> {
        let Some(path) = clean(&entry.path).and_then(|path| String::from_utf8(path).ok()) else {
            return Ok(()); // nothing that we know has such a name
        };
        match entry.kind {
            Kind::File if entry.sparse.is_none() => self.file(path, entry, reader),
            Kind::Symlink | Kind::HardLink => {
                let target = match entry.kind {
                    Kind::Symlink => [split(path.as_bytes()).0, b"/", &entry.link].concat(),
                    _ => entry.link.clone(),
                };
                let target = clean(&target).map(String::from_utf8);
                if let Some(Ok(target)) = target {
                    self.links.insert(path, target);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn file<R: BufRead>(
        &mut self,
        path: String,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), ArchiveError> {
        if let Some(name) = DOCUMENTS.iter().find(|name| **name == path) {
            let bytes = document(&path, entry, reader)?;
            self.documents.insert(name, bytes);
            return Ok(());
        }
        let name = split(path.as_bytes()).1;
        if matches!(name, b"VERSION" | b"json" | b"repositories") {
            return Ok(()); // docker's format before 1.10
        }
        let digest = named_digest(&path);
        if digest.as_ref().is_some_and(|digest| self.store.blobs().contains(digest)) {
            self.present.insert(path);
            return Ok(());
        }
        let mut writer = match &digest {
            Some(digest) => self.store.blobs().writer_with(digest.algorithm())?,
            None => self.store.blobs().writer()?,
        };
        loop {
            let bytes = reader.data()?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len();
            let tmp = self.store.tmp_dir();
            writer.write_all(bytes).map_err(crate::error::IoError::at("write to", tmp))?;
            reader.consume(count);
        }
        let pending = writer.finish();
        if digest.is_some_and(|digest| digest != pending.digest) {
            return Err(ArchiveError::Corrupted { path, actual: pending.digest });
        }
        self.files.insert(path, pending);
        Ok(())
    }

    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// Follows links to the file that `path` means.
    fn resolve<'a>(&'a self, path: &'a str) -> &'a str {
        let mut path = path;
        for _ in 0..8 {
            match self.links.get(path) {
                Some(target) => path = target,
                None => break,
            }
        }
        path
    }

    /// A file that the archive must have.
    pub(super) fn pending(
        &self,
        path: &str,
        wanted_by: &str,
    ) -> Result<&PendingBlob, ArchiveError> {
        self.files.get(self.resolve(path)).ok_or_else(|| missing(path, wanted_by))
    }

    /// The bytes of a document that is stored as a blob.
    pub(super) fn blob(&self, digest: &Digest, wanted_by: &str) -> Result<Vec<u8>, ArchiveError> {
        let path = super::blob_path(digest);
        if self.present.contains(&path) {
            return Ok(self.store.blobs().read_bounded(digest, MAX_DOCUMENT)?);
        }
        Ok(self.pending(&path, wanted_by)?.read_bounded(MAX_DOCUMENT)?)
    }

    /// Makes a blob of the layout durable, unless the store has it.
    pub(super) fn publish_blob(
        &mut self,
        digest: &Digest,
        wanted_by: &str,
    ) -> Result<(), ArchiveError> {
        if self.store.blobs().contains(digest) {
            return Ok(());
        }
        self.publish(&super::blob_path(digest), wanted_by)
    }

    /// What a file of the archive is.
    pub(super) fn identify(&self, path: &str, wanted_by: &str) -> Result<File, ArchiveError> {
        let path = self.resolve(path);
        if let Some(published) = self.published.get(path) {
            return Ok(published.clone());
        }
        let pending = self.files.get(path).ok_or_else(|| missing(path, wanted_by))?;
        let (digest, size) = (pending.digest.clone(), pending.size);
        Ok(File { digest, size, compression: Compression::of(&pending.start()?) })
    }

    /// Makes a file durable as a blob. A file may be asked for several times.
    pub(super) fn publish(&mut self, path: &str, wanted_by: &str) -> Result<(), ArchiveError> {
        let file = self.identify(path, wanted_by)?;
        let path = self.resolve(path).to_owned();
        if let Some(pending) = self.files.remove(&path) {
            pending.publish()?;
        }
        self.published.insert(path, file);
        Ok(())
    }
}

fn missing(path: &str, wanted_by: &str) -> ArchiveError {
    let (path, wanted_by) = (shown(path.as_bytes()), wanted_by.to_owned());
    ArchiveError::MissingFile { path, wanted_by }
}

/// The digest that a blob's path in a layout claims.
fn named_digest(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

fn document<R: BufRead>(
    path: &str,
    entry: &Entry,
    reader: &mut Reader<R>,
) -> Result<Vec<u8>, ArchiveError> {
    if entry.size > MAX_DOCUMENT {
        let (file, size, max) = (path.to_owned(), entry.size, MAX_DOCUMENT);
        return Err(ArchiveError::TooLarge { file, size, max });
    }
    let mut bytes = Vec::new();
    loop {
        let piece = reader.data()?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        let count = piece.len();
        bytes.extend_from_slice(piece);
        reader.consume(count);
    }
}
