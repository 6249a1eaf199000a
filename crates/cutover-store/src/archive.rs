//! Image archives: the tars that `save` writes and `load` reads, in the OCI layout, in docker's
//! format, or in both at once; and `import` of a plain root file system.

use cutover_core::{Digest, Reference};
use serde::{Deserialize, Serialize};

use crate::blobs::BlobError;
use crate::error::IoError;
use crate::image::LoadError;
use crate::images::ImageError;
use crate::layer::ApplyError;
use crate::snapshots::SnapshotError;
use crate::tar::TarError;

mod contents;
mod docker;
mod import;
mod layout;
mod load;
mod save;

pub use import::import;
pub use load::load;
pub use save::{save, save_images};

/// The forms of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// OCI layout with docker's `manifest.json` beside it: what docker 25 and newer write, and
    /// what `docker load`, `podman load` and `skopeo` of any age read.
    #[default]
    Both,
    OciArchive,
    /// What docker before 25 wrote: uncompressed layers named by `manifest.json`.
    DockerArchive,
}

/// One image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// `None` when the archive has no name for it.
    pub reference: Option<Reference>,
    pub digest: Digest,
}

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("not an image archive: it has neither `index.json` nor `manifest.json`")]
    NotAnArchive,
    #[error("the archive has no image")]
    Empty,
    #[error("`{file}` of the archive is not valid")]
    Document { file: &'static str, source: serde_json::Error },
    #[error("`{file}` of the archive has {size} bytes, more than the {max} allowed for it")]
    TooLarge { file: String, size: u64, max: u64 },
    #[error("the archive lacks `{path}`, which {wanted_by} names")]
    MissingFile { path: String, wanted_by: String },
    #[error("`{path}` of the archive is corrupted: its bytes are {actual}")]
    Corrupted { path: String, actual: Digest },
    #[error("layer `{path}` of the archive is corrupted: its tar is {actual}, not {expected}")]
    DiffId { path: String, expected: Digest, actual: Digest },
    #[error("the archive names an image `{name}`")]
    Name { name: String, source: cutover_core::reference::ParseReferenceError },
    #[error("no such image: `{0}`")]
    NoSuchImage(String),
    #[error("cannot decompress the archive")]
    Inflate(#[source] std::io::Error),
    #[error("cannot write the archive")]
    Write(#[source] std::io::Error),
    #[error("cannot read layer {layer}")]
    Layer { layer: Digest, source: std::io::Error },
    #[error("cannot unpack the root file system")]
    Import(#[source] ApplyError),
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Io(#[from] IoError),
}

const INDEX: &str = "index.json";
const DOCKER_MANIFEST: &str = "manifest.json";
const LAYOUT: &str = "oci-layout";
const LAYOUT_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The tag alone, as the specification has it; some write the whole name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and docker write it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image in docker's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Where a layout keeps a blob.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}
