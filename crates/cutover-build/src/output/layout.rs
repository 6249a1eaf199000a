//! [`Layout`]: an OCI image layout, written into a tar or a directory, with docker's `manifest.json`
//! beside it where that is wanted.
//!
//! A tar is deterministic. A directory may be a layout already: its images stay, but for one of the
//! same name; each file appears whole or not at all, `index.json` last.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Index, media_type};
use cutover_store::{MAX_DOCUMENT, Store};
use serde::Serialize;

use super::{OutputError, Packed, at};

const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";
const LAYOUT_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A name that an entry of the layout gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// With registry and tag; empty for what is no image.
    pub canonical: String,
    /// As people write it.
    pub familiar: String,
    pub tag: Option<String>,
}

/// A layout that is being written.
pub struct Layout<'a> {
    sink: Sink<'a>,
    entries: Vec<Descriptor>,
    docker: Vec<DockerImage>,
    written: BTreeSet<String>,
}

enum Sink<'a> {
    Tar(Box<tar::Builder<Box<dyn Write + 'a>>>),
    Folder(PathBuf),
}

/// An image in docker's `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl std::fmt::Debug for Layout<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layout").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl<'a> Layout<'a> {
    /// As a tar on `out`.
    pub fn tar(out: impl Write + 'a) -> Self {
        let out: Box<dyn Write + 'a> = Box::new(out);
        Self::new(Sink::Tar(Box::new(tar::Builder::new(out))))
    }

    /// In the directory `path`, which is made.
    pub fn folder(path: &Path) -> Result<Self, OutputError> {
        fs_err::create_dir_all(path).map_err(at(path))?;
        Ok(Self::new(Sink::Folder(path.to_owned())))
    }

    fn new(sink: Sink<'a>) -> Self {
        Self { sink, entries: Vec::new(), docker: Vec::new(), written: BTreeSet::new() }
    }

    /// Writes blobs and manifest of an image; who names it is [`Layout::entry`]'s business.
    pub fn image(&mut self, store: &Store, image: &Packed) -> Result<(), OutputError> {
        for layer in &image.layers {
            if self.lacks(&layer.descriptor.digest) {
                let mut bytes = layer.read(store)?;
                self.blob(&layer.descriptor, &mut bytes)?;
            }
        }
        self.document(&image.config)?;
        self.document(&image.manifest)?;
        Ok(())
    }

    /// Adds the image to docker's `manifest.json`.
    pub fn docker(&mut self, image: &Packed, names: &[Named]) {
        let layers = image.layers.iter().map(|layer| blob_path(&layer.descriptor.digest));
        self.docker.push(DockerImage {
            config: blob_path(&image.config_digest),
            repo_tags: names.iter().map(|name| name.familiar.clone()).collect(),
            layers: layers.collect(),
        });
    }

    /// Adds entries of the index: one for each name, or one without.
    pub fn entry(&mut self, descriptor: &Descriptor, names: &[Named]) {
        if names.is_empty() {
            self.entries.push(descriptor.clone());
        }
        for name in names {
            let mut entry = descriptor.clone();
            if !name.canonical.is_empty() {
                entry.annotations.insert(CONTAINERD_NAME.to_owned(), name.canonical.clone());
            }
            if let Some(tag) = &name.tag {
                entry.annotations.insert(REF_NAME.to_owned(), tag.clone());
            }
            self.entries.push(entry);
        }
    }

    /// Whether the blob is still to be written.
    pub fn lacks(&self, digest: &Digest) -> bool {
        let path = blob_path(digest);
        let there = match &self.sink {
            Sink::Tar(_) => false,
            Sink::Folder(folder) => folder.join(&path).is_file(),
        };
        !there && !self.written.contains(&path)
    }

    /// Writes a document and returns its digest.
    pub fn document(&mut self, bytes: &[u8]) -> Result<Digest, OutputError> {
        let digest = Digest::sha256(bytes);
        if self.lacks(&digest) {
            let descriptor = Descriptor::new("", digest.clone(), bytes.len() as u64);
            self.blob(&descriptor, &mut &*bytes)?;
        }
        Ok(digest)
    }

    /// Writes a blob of which size and digest are known to be right.
    pub fn blob(&mut self, blob: &Descriptor, bytes: &mut dyn Read) -> Result<(), OutputError> {
        let path = blob_path(&blob.digest);
        self.written.insert(path.clone());
        self.file(&path, blob.size, bytes)
    }

    fn file(&mut self, path: &str, size: u64, bytes: &mut dyn Read) -> Result<(), OutputError> {
        match &mut self.sink {
            Sink::Tar(tar) => {
                let mut header = tar::Header::new_ustar();
                header.set_size(size);
                header.set_mode(0o644);
                header.set_mtime(0);
                let mut counted = Counted { inner: bytes.take(size), left: size };
                tar.append_data(&mut header, path, &mut counted).map_err(OutputError::Archive)?;
                counted.check().map_err(OutputError::Archive)
            }
            Sink::Folder(folder) => write_file(&folder.join(path), bytes),
        }
    }

    /// Writes the index, and what makes it a layout.
    pub fn finish(mut self) -> Result<(), OutputError> {
        let mut index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        };
        if let Sink::Folder(folder) = &self.sink {
            merge(&mut index, folder, &self.entries)?;
        }
        index.manifests.append(&mut self.entries);
        let bytes = serde_json::to_vec(&index).expect("only string keys");
        if !self.docker.is_empty() {
            let docker = serde_json::to_vec(&self.docker).expect("only string keys");
            self.file("manifest.json", docker.len() as u64, &mut &*docker)?;
        }
        self.file(LAYOUT, LAYOUT_TEXT.len() as u64, &mut &*LAYOUT_TEXT)?;
        self.file(INDEX, bytes.len() as u64, &mut &*bytes)?;
        match self.sink {
            Sink::Folder(_) => Ok(()),
            Sink::Tar(tar) => {
                let mut out = tar.into_inner().map_err(OutputError::Archive)?;
                out.flush().map_err(OutputError::Archive)
            }
        }
    }
}

/// Keeps what a directory's index has under other names.
fn merge(index: &mut Index, folder: &Path, new: &[Descriptor]) -> Result<(), OutputError> {
    let Some(old) = read_index(folder)? else { return Ok(()) };
    let names = |entry: &Descriptor, key: &str| entry.annotations.get(key).cloned();
    let replaced = |old: &Descriptor| {
        new.iter().any(|new| {
            let same = |key| names(old, key).is_some() && names(old, key) == names(new, key);
            same(CONTAINERD_NAME)
                || names(old, CONTAINERD_NAME).is_none() && same(REF_NAME)
                || old == new
        })
    };
    index.manifests.extend(old.manifests.into_iter().filter(|entry| !replaced(entry)));
    Ok(())
}

/// The index of a layout's directory, if there is one.
pub(crate) fn read_index(folder: &Path) -> Result<Option<Index>, OutputError> {
    let path = folder.join(INDEX);
    let file = match fs_err::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(at(&path))?;
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|source| OutputError::Index { path, source })
}

pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// Writes a file whole or not at all.
fn write_file(path: &Path, bytes: &mut dyn Read) -> Result<(), OutputError> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder).map_err(at(folder))?;
    let named = tempfile::Builder::new().prefix(".cutover-").tempfile_in(folder);
    let mut file = named.map_err(at(folder))?;
    std::io::copy(bytes, &mut file).map_err(at(path))?;
    let readable = std::fs::Permissions::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(at(path))?;
    file.persist(path).map(drop).map_err(|error| at(path)(error.error))
}

/// Notices that a blob is shorter than its header says.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R> Counted<R> {
    fn check(&self) -> std::io::Result<()> {
        match self.left {
            0 => Ok(()),
            left => Err(std::io::Error::other(format!("a blob lacks {left} bytes"))),
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}
