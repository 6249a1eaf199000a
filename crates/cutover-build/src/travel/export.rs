//! [`export`]: the records of a build and the layers that go with them, as a document to keep.

use std::collections::BTreeSet;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Manifest, media_type};
use cutover_store::{LayerForm, Spooled, Store};

use super::records::{RECORDS_TYPE, Records};
use crate::output::{OutputError, spool};

/// Which layers go along. Records always do: a step whose layer is not there is found as long as
/// nobody needs its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those of the image.
    #[default]
    Min,
    /// Those of all stages.
    Max,
}

/// A layer to be written or sent.
#[derive(Clone, Debug)]
pub struct ExportedLayer {
    pub diff_id: Digest,
    chain_id: Digest,
    size: u64,
    form: LayerForm,
}

/// What is to be exported: the layers first, then [`Exported::documents`] of what they became.
#[derive(Clone, Debug)]
pub struct Exported {
    records: Records,
    pub layers: Vec<ExportedLayer>,
}

/// Chooses the layers: of the images with these `diff_ids`, or all.
pub fn export(
    store: &Store,
    records: &Records,
    images: &BTreeSet<Digest>,
    (mode, form): (Mode, LayerForm),
) -> Exported {
    let records = records.clone().normalized();
    let wanted = |diff_id: &Digest| mode == Mode::Max || images.contains(diff_id);
    let layers = records.layers().into_iter().filter(|step| wanted(&step.diff_id));
    let layers = layers.filter_map(|step| {
        // a layer that was known only by its record is not here
        let chain_id = step.chain_id.clone()?;
        let (diff_id, size) = (step.diff_id.clone(), step.size);
        let here = store.snapshots().contains(&chain_id);
        here.then_some(ExportedLayer { diff_id, chain_id, size, form })
    });
    let layers = layers.collect();
    Exported { records, layers }
}

impl ExportedLayer {
    /// What it became the last time: a hint.
    pub fn known(&self, store: &Store) -> Option<Descriptor> {
        let (digest, size) = match self.form {
            LayerForm::Uncompressed => (self.diff_id.clone(), self.size),
            form => store.transfers().compressed(&self.diff_id, form).ok()??,
        };
        Some(self.described(digest, size))
    }

    /// Compresses it.
    pub fn make(&self, store: &Store) -> Result<(Descriptor, Spooled), OutputError> {
        let plain = Descriptor::new(media_type::OCI_LAYER, self.diff_id.clone(), self.size);
        let spooled = spool(store, &plain, (&self.diff_id, &self.chain_id), self.form)?;
        Ok((self.described(spooled.digest.clone(), spooled.size), spooled))
    }

    fn described(&self, digest: Digest, size: u64) -> Descriptor {
        Descriptor::new(self.form.media_type(false), digest, size)
    }
}

impl Exported {
    /// The manifest and its config, when `layers` are what the layers became, in their order.
    pub fn documents(&self, layers: Vec<Descriptor>) -> (Vec<u8>, Vec<u8>) {
        let diff_ids = self.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let records = Records { diff_ids, ..self.records.clone() };
        let config = serde_json::to_vec(&records).expect("only string keys");
        let described = Descriptor::new(RECORDS_TYPE, Digest::sha256(&config), config.len() as u64);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: Some(RECORDS_TYPE.to_owned()),
            config: described,
            layers,
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        (serde_json::to_vec(&manifest).expect("only string keys"), config)
    }
}
