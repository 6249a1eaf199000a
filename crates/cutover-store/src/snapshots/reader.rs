//! [`LayerReader`]: a layer's bytes, wherever they are.

use std::io::{self, Read};

use cutover_core::Digest;
use cutover_core::oci::Descriptor;

use super::{SnapshotError, Snapshots};
use crate::blobs::BlobError;
use crate::compress::LayerForm;
use crate::layer::Packer;
use crate::verified::Verified;

/// A layer's bytes as its descriptor names them: from the blob, or made anew from the snapshot
/// and checked against the digest; what does not match ends in an error.
#[derive(Debug)]
pub struct LayerReader {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Blob(std::fs::File),
    /// A tar that is made while it is read.
    Snapshot(Box<Verified<Packer>>),
}

impl Snapshots {
    pub(crate) fn layer_reader(
        &self,
        layer: &Descriptor,
        chain_id: &Digest,
    ) -> Result<LayerReader, SnapshotError> {
        let missing = match self.store.blobs().open(&layer.digest) {
            Ok(file) => return Ok(LayerReader { source: Source::Blob(file) }),
            Err(error @ BlobError::Missing { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        let plain = LayerForm::Uncompressed;
        let is_plain =
            [true, false].map(|docker| plain.media_type(docker)).contains(&&*layer.media_type);
        if !is_plain || !self.contains(chain_id) {
            return Err(missing.into());
        }
        let tar = self.packer(chain_id)?;
        let problem = "its snapshot was changed: the tar is";
        let remade = Verified::new(tar, layer.digest.clone(), problem);
        Ok(LayerReader { source: Source::Snapshot(Box::new(remade)) })
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Blob(file) => file.read(buffer),
            Source::Snapshot(remade) => remade.read(buffer),
        }
    }
}
