//! [`Snapshots`]: layers unpacked once, ready to be lower directories of an overlay mount.
//!
//! `snapshots/CHAINHEX/fs` is one layer in overlayfs's own form (whiteouts are character devices
//! 0:0, opaque directories carry `trusted.overlay.opaque`), named by the chain id: the layer and
//! everything below it. `meta.json` beside it says what it is.

use std::io::{Read, Write};
use std::path::PathBuf;

use cutover_core::Digest;
use cutover_core::oci::Descriptor;

use crate::blobs::BlobError;
use crate::error::IoError;
use crate::image::Image;
use crate::store::{Lease, Store};

/// The snapshots of one store.
#[derive(Clone, Debug)]
pub struct Snapshots {
    store: Store,
}

/// How far [`Snapshots::ensure`] is.
#[derive(Clone, Copy, Debug)]
pub struct Unpacking<'a> {
    /// The layer that is being unpacked, as the manifest names it.
    pub layer: &'a Descriptor,
    /// Its place among the image's layers, from 0.
    pub index: usize,
    /// How many layers the image has.
    pub count: usize,
}

/// A layer in the making: an empty upper directory to mount over the parent. Dropped before
/// [`Draft::commit`], it is removed.
#[derive(Debug)]
pub struct Draft {
    /// The overlay's `upperdir`.
    pub upper: PathBuf,
    /// The overlay's `workdir`.
    pub work: PathBuf,
    /// The overlay's `lowerdir`s, topmost first. Empty for a first layer.
    pub lowers: Vec<PathBuf>,
    parent: Vec<Digest>,
    snapshots: Snapshots,
    _lease: Lease,
}

/// A finished layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub diff_id: Digest,
    pub chain_id: Digest,
    /// Bytes of the layer's tar.
    pub size: u64,
    /// Nothing was added, changed or removed.
    pub empty: bool,
}

/// A layer's bytes as its descriptor names them; from the blob, or made anew from the snapshot.
#[derive(Debug)]
pub struct LayerReader {
    _inner: (),
}

/// Why a layer cannot be unpacked, made or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("snapshot {chain_id} is not in the store")]
    Missing { chain_id: Digest },
}

impl Snapshots {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Whether the layer `chain_id` is unpacked.
    pub fn contains(&self, chain_id: &Digest) -> bool {
        let _ = chain_id;
        todo!()
    }

    /// Unpacks the layers that are missing. Returns the image's lower directories, topmost first.
    pub fn ensure(
        &self,
        image: &Image,
        progress: &mut dyn FnMut(Unpacking<'_>),
    ) -> Result<Vec<PathBuf>, SnapshotError> {
        let _ = (image, progress);
        todo!()
    }

    /// The image's lower directories, topmost first, if all its layers are unpacked.
    pub fn lowers(&self, image: &Image) -> Option<Vec<PathBuf>> {
        self.lower_dirs(&image.chain_ids)
    }

    /// The directories of the layers `chain_ids` (lowest first), topmost first, if all are there.
    pub fn lower_dirs(&self, chain_ids: &[Digest]) -> Option<Vec<PathBuf>> {
        let _ = chain_ids;
        todo!()
    }

    /// Starts a layer on top of the layers `parent` (chain ids, lowest first).
    pub fn draft(&self, parent: &[Digest]) -> Result<Draft, SnapshotError> {
        let _ = parent;
        todo!()
    }

    /// Unpacks the uncompressed tar `tar` on top of the layer `parent`. Its bytes must hash to
    /// `diff_id`. Returns the chain id.
    pub fn apply(
        &self,
        parent: Option<&Digest>,
        tar: &mut (dyn Read + Send),
        diff_id: &Digest,
    ) -> Result<Digest, SnapshotError> {
        let _ = (parent, tar, diff_id);
        todo!()
    }

    /// Writes the deterministic tar of the layer `chain_id`.
    pub fn write_tar(&self, chain_id: &Digest, out: &mut dyn Write) -> Result<u64, SnapshotError> {
        let _ = (chain_id, out);
        todo!()
    }

    /// The bytes that `layer` names: its blob, or, for an uncompressed layer without one, the tar
    /// made from the snapshot `chain_id`.
    pub(crate) fn layer_reader(
        &self,
        layer: &Descriptor,
        chain_id: &Digest,
    ) -> Result<LayerReader, SnapshotError> {
        let _ = (layer, chain_id);
        todo!()
    }

    /// Makes snapshots durable. Drafts are committed without syncing, because a build makes many
    /// and keeps few; naming an image settles its layers.
    pub fn settle(&self, chain_ids: &[Digest]) -> Result<(), SnapshotError> {
        let _ = chain_ids;
        todo!()
    }

    /// Bytes of the uncompressed tar of an unpacked layer.
    pub fn tar_size(&self, chain_id: &Digest) -> Option<u64> {
        let _ = chain_id;
        todo!()
    }
}

impl Draft {
    /// Makes the upper directory a snapshot. It must not be mounted any more. `created` (RFC 3339)
    /// is noted beside it.
    pub fn commit(self, created: &str) -> Result<Layer, SnapshotError> {
        let _ = created;
        todo!()
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let _ = buffer;
        todo!()
    }
}
