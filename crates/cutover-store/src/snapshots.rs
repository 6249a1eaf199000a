//! [`Snapshots`]: layers unpacked once, ready to be lower directories of an overlay mount.
//!
//! `snapshots/CHAINHEX/fs` is one layer in overlayfs's own form (whiteouts are character devices
//! 0:0, opaque directories carry `trusted.overlay.opaque`), named by the chain id: the layer and
//! everything below it. `meta.json` beside it says what it is. A snapshot appears whole, by a
//! rename, and never changes; one that a power failure may have torn is not seen (see
//! [`published`]).

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use cutover_core::Digest;
use cutover_core::oci::Descriptor;

use crate::blobs::BlobError;
use crate::error::IoError;
use crate::image::{Image, chain_id};
use crate::layer::{ApplyError, Lower, PackError, Packer, unpack};
use crate::scratch::Scratch;
use crate::store::Store;
use crate::stream::{HashError, hashed, inflate};
use crate::tar::{Limits, Reader};

mod draft;
mod published;
mod reader;

pub use draft::{Draft, Layer};
pub(crate) use published::Meta;
pub use published::MetaError;
pub use reader::LayerReader;

/// The snapshots of one store.
#[derive(Clone, Debug)]
pub struct Snapshots {
    store: Store,
}

/// How far [`Snapshots::ensure`] is.
#[derive(Clone, Copy, Debug)]
pub struct Unpacking<'a> {
    /// The layer that is about to be unpacked, as the manifest names it.
    pub layer: &'a Descriptor,
    /// Its place among the image's layers, from 0.
    pub index: usize,
    /// How many layers the image has.
    pub count: usize,
}

/// Why a layer cannot be unpacked, made or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot unpack layer {layer}")]
    Unpack { layer: Digest, source: ApplyError },
    #[error("layer {layer} is not what its image says: its tar is {actual}, not {expected}")]
    DiffId { layer: Digest, expected: Digest, actual: Digest },
    #[error("cannot read layer {layer}")]
    Read { layer: Digest, source: std::io::Error },
    #[error("snapshot {chain_id} is not in the store")]
    Missing { chain_id: Digest },
    #[error("cannot make a layer of `{}`", path.display())]
    Pack { path: PathBuf, source: PackError },
    #[error("cannot write the tar of snapshot {chain_id}")]
    Write { chain_id: Digest, source: std::io::Error },
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Snapshots {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Whether the layer `chain_id` is unpacked.
    pub fn contains(&self, chain_id: &Digest) -> bool {
        published::is_whole(&self.dir(chain_id))
    }

    /// Unpacks the layers that are missing. Returns the image's lower directories, topmost first.
    /// They stay while the caller holds a [`crate::Lease`] or something that the garbage
    /// collector is told of.
    pub fn ensure(
        &self,
        image: &Image,
        progress: &mut dyn FnMut(Unpacking<'_>),
    ) -> Result<Vec<PathBuf>, SnapshotError> {
        if let Some(lowers) = self.lowers(image) {
            return Ok(lowers);
        }
        let _lease = self.store.lease()?;
        let count = image.chain_ids.len();
        for (index, chain_id) in image.chain_ids.iter().enumerate() {
            if !self.contains(chain_id) {
                let layer = &image.manifest.layers[index];
                progress(Unpacking { layer, index, count });
                self.unpack_blob(image, index)?;
            }
        }
        self.settle(&image.chain_ids)?;
        let lost = || SnapshotError::Missing { chain_id: image.chain_ids[count - 1].clone() };
        self.lowers(image).ok_or_else(lost)
    }

    /// Unpacks the layers that are missing from what `source` gives for each, in order: bytes that
    /// may still be arriving, compressed as they are. They become durable with the image.
    pub fn ensure_from(
        &self,
        image: &Image,
        source: &mut dyn FnMut(usize) -> std::io::Result<Box<dyn Read + Send>>,
        progress: &mut dyn FnMut(Unpacking<'_>),
    ) -> Result<(), SnapshotError> {
        let _lease = self.store.lease()?;
        let count = image.chain_ids.len();
        for (index, chain_id) in image.chain_ids.iter().enumerate() {
            if self.contains(chain_id) {
                continue;
            }
            let layer = &image.manifest.layers[index];
            progress(Unpacking { layer, index, count });
            let read = |source| SnapshotError::Read { layer: layer.digest.clone(), source };
            let mut tar = source(index).and_then(inflate).map_err(read)?;
            let diff_id = &image.config.rootfs.diff_ids[index];
            self.unpack_tar(&image.chain_ids[..index], &mut tar, diff_id, &layer.digest)?;
        }
        Ok(())
    }

    /// The image's lower directories, topmost first, if all its layers are unpacked.
    pub fn lowers(&self, image: &Image) -> Option<Vec<PathBuf>> {
        self.lower_dirs(&image.chain_ids)
    }

    /// The directories of the layers `chain_ids` (lowest first), topmost first, if all are there.
    pub fn lower_dirs(&self, chain_ids: &[Digest]) -> Option<Vec<PathBuf>> {
        let dir = |chain_id| {
            let dir = self.dir(chain_id);
            published::is_whole(&dir).then(|| dir.join(published::FS))
        };
        chain_ids.iter().rev().map(dir).collect()
    }

    /// Unpacks the uncompressed tar `tar` on top of the layer `parent`. Its bytes must hash to
    /// `diff_id`. Returns the chain id.
    pub fn apply(
        &self,
        parent: Option<&Digest>,
        tar: &mut (dyn Read + Send),
        diff_id: &Digest,
    ) -> Result<Digest, SnapshotError> {
        let _lease = self.store.lease()?;
        let chain = match parent {
            Some(parent) => self.chain(parent)?,
            None => Vec::new(),
        };
        self.unpack_tar(&chain, tar, diff_id, diff_id)
    }

    fn unpack_blob(&self, image: &Image, index: usize) -> Result<(), SnapshotError> {
        let layer = &image.manifest.layers[index].digest;
        let blob = self.store.blobs().open(layer)?;
        let read = |source| SnapshotError::Read { layer: layer.clone(), source };
        let diff_id = &image.config.rootfs.diff_ids[index];
        let unpacked = inflate(blob).map_err(read).and_then(|mut tar| {
            self.unpack_tar(&image.chain_ids[..index], &mut tar, diff_id, layer)
        });
        match unpacked {
            Ok(_) => Ok(()),
            // Damage to the blob explains everything else.
            Err(error) if error.is_about_content() => {
                self.store.blobs().verify(layer)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Unpacks a tar on top of `chain` and publishes it. `layer` is its name in messages.
    fn unpack_tar(
        &self,
        chain: &[Digest],
        tar: &mut (dyn Read + Send),
        diff_id: &Digest,
        layer: &Digest,
    ) -> Result<Digest, SnapshotError> {
        let chain_id = chain_id(chain.last(), diff_id);
        // Of two processes that want the layer the second finds it done.
        let _lock = self.lock(&chain_id)?;
        if self.contains(&chain_id) {
            return Ok(chain_id);
        }
        let lowers = self.require(chain)?;
        let scratch = Scratch::new(&self.store.tmp_dir(), "layer-")?;
        let fs = scratch.path().join(published::FS);
        fs_err::create_dir(&fs).map_err(IoError::at("create", &fs))?;
        let hashed = hashed(tar, diff_id.algorithm(), |tar| unpack_into(tar, &fs, lowers))
            .map_err(|error| {
                let layer = layer.clone();
                match error {
                    HashError::Consumer(source) => SnapshotError::Unpack { layer, source },
                    HashError::Rest(source) => SnapshotError::Read { layer, source },
                }
            })?;
        let actual = hashed.digest;
        if actual != *diff_id {
            let (layer, expected) = (layer.clone(), diff_id.clone());
            return Err(SnapshotError::DiffId { layer, expected, actual });
        }
        let meta = Meta::new(diff_id, chain.last(), hashed.size, hashed.value.root);
        self.publish(scratch, &chain_id, &meta)?;
        Ok(chain_id)
    }

    /// The lower directories of `chain`, topmost first.
    fn require(&self, chain: &[Digest]) -> Result<Vec<PathBuf>, SnapshotError> {
        self.lower_dirs(chain).ok_or_else(|| {
            let missing = chain.iter().find(|chain_id| !self.contains(chain_id));
            let chain_id = missing.or(chain.last()).expect("an empty chain has all it needs");
            SnapshotError::Missing { chain_id: chain_id.clone() }
        })
    }

    /// Writes the deterministic tar of the layer `chain_id`; returns its size.
    pub fn write_tar(&self, chain_id: &Digest, out: &mut dyn Write) -> Result<u64, SnapshotError> {
        let mut tar = self.packer(chain_id)?;
        std::io::copy(&mut tar, &mut std::io::BufWriter::with_capacity(128 << 10, out))
            .map_err(|source| SnapshotError::Write { chain_id: chain_id.clone(), source })
    }

    fn packer(&self, chain_id: &Digest) -> Result<Packer, SnapshotError> {
        if !self.contains(chain_id) {
            return Err(SnapshotError::Missing { chain_id: chain_id.clone() });
        }
        let path = self.dir(chain_id).join(published::FS);
        let root = self.meta(chain_id)?.root;
        Packer::new(&path, root).map_err(|source| SnapshotError::Pack { path, source })
    }

    /// Bytes of the uncompressed tar of an unpacked layer.
    pub fn tar_size(&self, chain_id: &Digest) -> Option<u64> {
        self.meta(chain_id).ok().map(|meta| meta.size)
    }

    /// The layers below `chain_id` and itself, lowest first.
    fn chain(&self, chain_id: &Digest) -> Result<Vec<Digest>, SnapshotError> {
        let mut chain = vec![chain_id.clone()];
        while let Some(parent) = self.meta(&chain[chain.len() - 1])?.parent {
            chain.push(parent);
        }
        chain.reverse();
        Ok(chain)
    }

    fn dir(&self, chain_id: &Digest) -> PathBuf {
        self.store.snapshot_dir().join(chain_id.hex())
    }
}

impl SnapshotError {
    /// Whether wrong bytes in the layer can be the cause.
    fn is_about_content(&self) -> bool {
        match self {
            Self::Unpack { source, .. } => !matches!(source, ApplyError::Io(_)),
            Self::DiffId { .. } | Self::Read { .. } => true,
            _ => false,
        }
    }
}

fn unpack_into(
    tar: &mut impl BufRead,
    fs: &Path,
    lowers: Vec<PathBuf>,
) -> Result<crate::layer::Unpacked, ApplyError> {
    let limits = Limits::default();
    unpack(&mut Reader::new(tar, limits), fs, &mut Lower::new(lowers), &limits)
}
