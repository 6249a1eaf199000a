//! Where an image goes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cutover_core::Digest;
use cutover_core::digest::Hasher;
use cutover_core::oci::Descriptor;
use cutover_store::Store;
use tokio::sync::mpsc;

use super::layout::{INDEX, REF_NAME, at, blob_path, read_index};
use super::source::Source;
use super::{Place, checked};
use crate::error::Cause;
use crate::options::Options;
use crate::progress::Event;
use crate::push::Push;
use crate::session::{self, Events};

const LAYOUT: &str = "oci-layout";
const LAYOUT_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const REPORT: u64 = 256 << 10;

#[derive(Debug)]
pub(super) enum Sink {
    Registry { push: Box<Push>, tag: Option<String> },
    Folder { path: PathBuf, tag: Option<String>, events: Events },
    Archive { archive: Arc<Mutex<Archive>>, tag: Option<String>, events: Events },
}

/// A tar that gets its name when it is whole.
pub(super) struct Archive {
    to: PathBuf,
    tar: tar::Builder<io::BufWriter<tempfile::NamedTempFile>>,
}

impl Sink {
    pub(super) async fn open(
        place: &Place,
        store: &Store,
        options: &Options,
        events: &Events,
    ) -> Result<Self, Cause> {
        let events = events.clone();
        match place {
            Place::Registry(reference) => {
                let client = session::reach(reference, "pull,push", options, &events).await?;
                let push = Push::new(&client, store, reference.registry(), &events);
                let tag = reference.tag().map(str::to_owned);
                Ok(Self::Registry { push: Box::new(push), tag })
            }
            Place::Layout(path, tag) => {
                fs_err::create_dir_all(path).map_err(at("create", path))?;
                write_new(&path.join(LAYOUT), LAYOUT_TEXT)?;
                Ok(Self::Folder { path: path.clone(), tag: tag.clone(), events })
            }
            Place::Archive(path, tag) => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                let dir = dir.unwrap_or(Path::new("."));
                let file = tempfile::Builder::new().prefix(".copy-").tempfile_in(dir);
                let file = file.map_err(at("create a file in", dir))?;
                let tar = tar::Builder::new(io::BufWriter::with_capacity(256 << 10, file));
                let archive = Arc::new(Mutex::new(Archive { to: path.clone(), tar }));
                archive_lock(&archive).bytes(LAYOUT, LAYOUT_TEXT)?;
                Ok(Self::Archive { archive, tag: tag.clone(), events })
            }
        }
    }

    /// Copies blobs that the sink lacks.
    pub(super) async fn blobs(
        &self,
        source: &Arc<Source>,
        blobs: Vec<Descriptor>,
    ) -> Result<(), Cause> {
        if let Self::Registry { push, .. } = self {
            return push.take_over(source, blobs).await;
        }
        for blob in blobs {
            let chunks = source.stream(&blob, 0).await?;
            let incoming = Incoming {
                chunks,
                chunk: Bytes::new(),
                hasher: Hasher::new(blob.digest.algorithm()),
                done: 0,
                blob: blob.clone(),
                events: self.events().cloned(),
            };
            match self {
                Self::Registry { .. } => {}
                Self::Folder { path, .. } => {
                    let path = path.join(blob_path(&blob.digest));
                    if path.is_file() {
                        continue;
                    }
                    blocking(move || incoming.into_file(&path)).await?;
                }
                Self::Archive { archive, .. } => {
                    let archive = Arc::clone(archive);
                    blocking(move || archive_lock(&archive).stream(incoming)).await?;
                }
            }
        }
        Ok(())
    }

    fn events(&self) -> Option<&Events> {
        match self {
            Self::Registry { .. } => None,
            Self::Folder { events, .. } | Self::Archive { events, .. } => Some(events),
        }
    }

    /// A manifest or index that another one names.
    pub(super) async fn document(
        &self,
        bytes: &[u8],
        kind: &str,
        digest: &Digest,
    ) -> Result<(), Cause> {
        match self {
            Self::Registry { push, .. } => {
                push.put_as(bytes, kind, digest.as_str(), digest).await.map(drop)
            }
            Self::Folder { path, .. } => {
                let bytes = checked(bytes.to_vec(), digest)?;
                write_new(&path.join(blob_path(digest)), &bytes)
            }
            Self::Archive { archive, .. } => archive_lock(archive).bytes(&blob_path(digest), bytes),
        }
    }

    /// The document that all others are below.
    pub(super) async fn finish(self, bytes: &[u8], top: &Descriptor) -> Result<(), Cause> {
        if let Self::Registry { push, tag } = &self {
            let name = tag.as_deref().unwrap_or(top.digest.as_str());
            return push.put_as(bytes, &top.media_type, name, &top.digest).await.map(drop);
        }
        self.document(bytes, &top.media_type, &top.digest).await?;
        let mut entry = top.clone();
        match self {
            Self::Registry { .. } => Ok(()),
            Self::Folder { path, tag, .. } => {
                let path = path.join(INDEX);
                let mut index = read_index(&path)?;
                index.manifests.retain(|it| match &tag {
                    Some(tag) => it.annotations.get(REF_NAME) != Some(tag),
                    None => it.digest != entry.digest || it.annotations.contains_key(REF_NAME),
                });
                entry.annotations.extend(tag.map(|tag| (REF_NAME.to_owned(), tag)));
                index.manifests.push(entry);
                let bytes = serde_json::to_vec(&index).expect("only string keys");
                write(&path, &bytes)
            }
            Self::Archive { archive, tag, .. } => {
                entry.annotations.extend(tag.map(|tag| (REF_NAME.to_owned(), tag)));
                let index = serde_json::json!({
                    "schemaVersion": 2,
                    "mediaType": cutover_core::oci::media_type::OCI_INDEX,
                    "manifests": [entry],
                });
                let archive = Arc::into_inner(archive).expect("its blobs are written");
                let mut archive = archive.into_inner().unwrap_or_else(PoisonError::into_inner);
                archive.bytes(INDEX, index.to_string().as_bytes())?;
                archive.finish()
            }
        }
    }
}

fn archive_lock(archive: &Mutex<Archive>) -> std::sync::MutexGuard<'_, Archive> {
    archive.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking(work: impl FnOnce() -> Result<(), Cause> + Send + 'static) -> Result<(), Cause> {
    tokio::task::spawn_blocking(work).await.expect("writing a blob does not panic")
}

/// Writes a file that never changes, whole or not at all.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Cause> {
    if path.is_file() { Ok(()) } else { write(path, bytes) }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Cause> {
    let mut file = temporary(path)?;
    file.write_all(bytes).map_err(at("write", path))?;
    persist(file, path)
}

fn temporary(path: &Path) -> Result<tempfile::NamedTempFile, Cause> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(dir).map_err(at("create", dir))?;
    tempfile::Builder::new().prefix(".copy-").tempfile_in(dir).map_err(at("create a file in", dir))
}

fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<(), Cause> {
    use std::os::unix::fs::PermissionsExt;
    let open: &File = file.as_file();
    let readable = std::fs::Permissions::from_mode(0o644);
    open.set_permissions(readable).and_then(|()| open.sync_all()).map_err(at("write", path))?;
    file.persist(path).map(drop).map_err(|error| at("create", path)(error.error))
}

/// A blob that comes, read by a thread that may block.
struct Incoming {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    hasher: Hasher,
    done: u64,
    blob: Descriptor,
    events: Option<Events>,
}

impl Incoming {
    fn into_file(mut self, path: &Path) -> Result<(), Cause> {
        let mut file = temporary(path)?;
        io::copy(&mut self, &mut file).map_err(at("write", path))?;
        self.check()?;
        persist(file, path)
    }

    fn check(self) -> Result<(), Cause> {
        let actual = self.hasher.finish();
        if actual != self.blob.digest {
            return Err(Cause::WrongDigest { what: "blob", expected: self.blob.digest, actual });
        }
        if let Some(events) = self.events {
            events.send(Event::Downloaded { digest: self.blob.digest, size: self.blob.size });
        }
        Ok(())
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk?,
            }
        }
        let count = self.chunk.len().min(buffer.len());
        let piece = self.chunk.split_to(count);
        buffer[..count].copy_from_slice(&piece);
        self.hasher.update(&piece);
        let before = self.done / REPORT;
        self.done += count as u64;
        if let Some(events) = self.events.as_ref().filter(|_| self.done / REPORT > before) {
            let (digest, size) = (self.blob.digest.clone(), self.blob.size);
            events.send(Event::Downloading { digest, done: self.done.min(size), size });
        }
        Ok(count)
    }
}

impl Archive {
    fn header(size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), Cause> {
        let mut header = Self::header(bytes.len() as u64);
        self.tar.append_data(&mut header, name, bytes).map_err(at("write", &self.to))
    }

    fn stream(&mut self, mut incoming: Incoming) -> Result<(), Cause> {
        let (size, name) = (incoming.blob.size, blob_path(&incoming.blob.digest));
        let mut header = Self::header(size);
        let written = self.tar.append_data(&mut header, name, (&mut incoming).take(size));
        written.map_err(at("write", &self.to))?;
        // fewer bytes have another digest, and so does what more bytes begin with
        incoming.check()
    }

    fn finish(self) -> Result<(), Cause> {
        let to = self.to;
        let buffer = self.tar.into_inner().map_err(at("write", &to))?;
        let file = buffer.into_inner().map_err(|error| at("write", &to)(error.into_error()))?;
        persist(file, &to)
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("to", &self.to).finish_non_exhaustive()
    }
}
