//! `import`: a root file system becomes an image of one layer.

use std::io::{BufReader, Read};

use cutover_core::oci::{Descriptor, History, ImageConfig, RootFs, media_type};
use cutover_core::{Digest, Reference};

use super::ArchiveError;
use crate::image::{Image, manifest_bytes};
use crate::store::Store;
use crate::stream::inflate;

/// Makes a one-layer image from a plain tar of a root file system, which may be compressed
/// (`docker import`). `config` says how to run it and when it was made; its layer and history are
/// filled in.
pub fn import(
    store: &Store,
    rootfs: impl Read + Send,
    mut config: ImageConfig,
    reference: Option<&Reference>,
) -> Result<Image, ArchiveError> {
    let draft = store.snapshots().draft(&[])?;
    let inflated = inflate(rootfs).map_err(ArchiveError::Inflate)?;
    let tar = BufReader::with_capacity(256 << 10, inflated);
    draft.unpack(tar).map_err(ArchiveError::Import)?;
    let created = config.created.clone();
    let _lease = store.lease()?;
    let layer = draft.commit(created.as_deref().unwrap_or_default())?;
    config.rootfs = RootFs { diff_ids: vec![layer.diff_id.clone()], ..RootFs::default() };
    let comment = Some("imported".to_owned());
    config.history = vec![History { created, comment, ..History::default() }];
    let config = serde_json::to_vec(&config).expect("a config has only string keys");
    let descriptor =
        Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(&config), config.len() as u64);
    let layer = Descriptor::new(media_type::OCI_LAYER, layer.diff_id, layer.size);
    let manifest = manifest_bytes(descriptor, vec![layer]);
    Ok(store.images().put(&manifest, &config, reference)?)
}
