//! An OCI layout to read: a folder, or the uncompressed tar of one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Index};

use super::MAX;
use crate::error::Cause;

/// The tag alone, as the specification has it.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(super) const INDEX: &str = "index.json";
/// Files that an archive may have.
const MAX_FILES: usize = 100_000;

/// Where the bytes of a file are.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    pub(super) size: u64,
}

#[derive(Debug)]
pub(super) enum Layout {
    Folder(PathBuf),
    Archive { path: PathBuf, parts: BTreeMap<PathBuf, Part> },
}

pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

pub(super) fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Cause {
    let path = path.display().to_string();
    move |source| Cause::File { what, path, source }
}

impl Layout {
    /// Finds the files of the archive `path`; reads their headers only.
    pub(super) fn archive(path: &Path) -> Result<Self, Cause> {
        let file = fs_err::File::open(path).map_err(at("open", path))?.into_file();
        let file = Arc::new(file);
        let mut parts = BTreeMap::new();
        let mut archive = tar::Archive::new(&*file);
        for entry in archive.entries_with_seek().map_err(at("read", path))? {
            let entry = entry.map_err(at("read", path))?;
            if entry.header().entry_type().is_file() && parts.len() < MAX_FILES {
                let name = entry.path().map_err(at("read", path))?.into_owned();
                let name = name.strip_prefix("./").map(Path::to_owned).unwrap_or(name);
                let (at, size) = (entry.raw_file_position(), entry.size());
                parts.insert(name, Part { file: Arc::clone(&file), at, size });
            }
        }
        Ok(Self::Archive { path: path.to_owned(), parts })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Archive { path, .. } => path,
        }
    }

    fn part(&self, name: &str) -> Result<Part, Cause> {
        match self {
            Self::Folder(path) => {
                let path = path.join(name);
                let file = fs_err::File::open(&path).map_err(at("open", &path))?.into_file();
                let size = file.metadata().map_err(at("inspect", &path))?.len();
                Ok(Part { file: Arc::new(file), at: 0, size })
            }
            Self::Archive { path, parts } => parts.get(Path::new(name)).cloned().ok_or_else(|| {
                let what = format!("`{}`", path.display());
                Cause::Incomplete { what, missing: format!("`{name}`") }
            }),
        }
    }

    pub(super) fn blob(&self, digest: &Digest) -> Result<Part, Cause> {
        self.part(&blob_path(digest))
    }

    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Cause> {
        let part = self.part(name)?;
        if part.size > MAX {
            return Err(Cause::TooLarge { what: name.to_owned(), size: part.size, max: MAX });
        }
        let mut bytes = vec![0; usize::try_from(part.size).unwrap_or_default()];
        part.file.read_exact_at(&mut bytes, part.at).map_err(at("read", self.path()))?;
        Ok(bytes)
    }

    /// What `tag` names; without a tag, the only thing there.
    pub(super) fn top(&self, tag: Option<&str>) -> Result<Digest, Cause> {
        let bytes = self.read(INDEX)?;
        let index: Index = super::parse("image index", &Digest::sha256(&bytes), &bytes)?;
        let named = |entry: &&Descriptor| {
            tag.is_none_or(|tag| {
                entry.annotations.get(REF_NAME).is_some_and(|name| name == tag)
                    || entry.digest.as_str() == tag
            })
        };
        let mut found: Vec<_> = index.manifests.iter().filter(named).collect();
        found.dedup_by_key(|entry| &entry.digest);
        match found.as_slice() {
            [only] => Ok(only.digest.clone()),
            several => Err(Cause::Ambiguous {
                path: self.path().display().to_string(),
                tag: tag.unwrap_or_default().to_owned(),
                count: several.len(),
            }),
        }
    }
}

/// Reads a [`Part`] from its start.
#[derive(Debug)]
pub(super) struct PartReader {
    part: Part,
    done: u64,
}

impl PartReader {
    pub(super) fn new(part: Part) -> Self {
        Self { part, done: 0 }
    }
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.part.size - self.done).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let count = self.part.file.read_at(&mut buffer[..most], self.part.at + self.done)?;
        self.done += count as u64;
        Ok(count)
    }
}

/// An index to add to: the one of the folder, or an empty one.
pub(super) fn read_index(path: &Path) -> Result<Index, Cause> {
    let empty = Index {
        schema_version: 2,
        media_type: Some(cutover_core::oci::media_type::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    };
    let bytes = match fs_err::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty),
        Err(error) => return Err(at("read", path)(error)),
        Ok(mut file) => {
            let mut bytes = Vec::new();
            file.rewind()
                .and_then(|()| (&mut file).take(MAX).read_to_end(&mut bytes))
                .map_err(at("read", path))?;
            bytes
        }
    };
    super::parse("image index", &Digest::sha256(&bytes), &bytes)
}
