//! Image archives: the tars that `save` writes and `load` reads, in the OCI layout, in docker's
//! format, or in both at once.

use std::io::{Read, Write};

use cutover_core::{Digest, Reference};

use crate::image::Image;
use crate::store::Store;

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
pub enum ArchiveError {}

/// Loads every image of an archive, which may be compressed with gzip or zstd.
pub fn load(store: &Store, archive: impl Read + Send) -> Result<Vec<Loaded>, ArchiveError> {
    let _ = (store, archive);
    todo!()
}

/// Writes the images that `references` name.
pub fn save(
    store: &Store,
    references: &[Reference],
    format: Format,
    out: impl Write,
) -> Result<(), ArchiveError> {
    let _ = (store, references, format, out);
    todo!()
}

/// Writes images, each under its names; an image may have none.
pub fn save_images(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    format: Format,
    out: impl Write,
) -> Result<(), ArchiveError> {
    let _ = (store, images, format, out);
    todo!()
}

/// Makes a one-layer image from a plain tar of a root file system (`docker import`).
pub fn import(
    store: &Store,
    rootfs: impl Read + Send,
    config: cutover_core::oci::ImageConfig,
    reference: Option<&Reference>,
) -> Result<Digest, ArchiveError> {
    let _ = (store, rootfs, config, reference);
    todo!()
}
