//! Images of docker's own archive format.

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, ImageConfig, media_type};

use super::contents::{Contents, File};
use super::load::{parse_name, put};
use super::{ArchiveError, DOCKER_MANIFEST, DockerImage, Loaded};
use crate::image::{LoadError, MAX_DOCUMENT, manifest_bytes};
use crate::store::Store;
use crate::stream::Compression;

pub(super) fn load(store: &Store, contents: &mut Contents) -> Result<Vec<Loaded>, ArchiveError> {
    let bytes = contents.document(DOCKER_MANIFEST).unwrap_or_default();
    let images: Vec<DockerImage> = serde_json::from_slice(bytes)
        .map_err(|source| ArchiveError::Document { file: DOCKER_MANIFEST, source })?;
    let mut configs = Vec::new();
    for image in &images {
        let pending = contents.pending(&image.config, DOCKER_MANIFEST)?;
        configs.push(pending.read_bounded(MAX_DOCUMENT)?);
    }
    let mut loaded = Vec::new();
    for (image, config) in images.into_iter().zip(configs) {
        load_image(store, contents, image, &config, &mut loaded)?;
    }
    Ok(loaded)
}

fn load_image(
    store: &Store,
    contents: &mut Contents,
    image: DockerImage,
    config: &[u8],
    loaded: &mut Vec<Loaded>,
) -> Result<(), ArchiveError> {
    let digest = Digest::sha256(config);
    let parsed: ImageConfig = serde_json::from_slice(config).map_err(|source| {
        LoadError::Document { what: "image config", digest: digest.clone(), source }
    })?;
    let names = image.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| parse_name(name)).collect::<Result<Vec<_>, _>>()?;
    let paths = image.layers.unwrap_or_default();
    let diff_ids = &parsed.rootfs.diff_ids;
    if paths.len() != diff_ids.len() {
        let (layers, diff_ids) = (paths.len(), diff_ids.len());
        return Err(LoadError::LayerCount { digest, layers, diff_ids }.into());
    }
    let mut layers = Vec::new();
    for (path, diff_id) in paths.iter().zip(diff_ids) {
        layers.push(layer(contents, path, diff_id)?);
    }
    let config_size = config.len() as u64;
    let manifest =
        manifest_bytes(Descriptor::new(media_type::OCI_CONFIG, digest, config_size), layers);
    put(store, &manifest, config, &names, loaded)?;
    Ok(())
}

/// Stores a layer. A plain tar is checked here; a compressed one when it is unpacked.
fn layer(
    contents: &mut Contents,
    path: &str,
    diff_id: &Digest,
) -> Result<Descriptor, ArchiveError> {
    let File { digest, size, compression } = contents.identify(path, DOCKER_MANIFEST)?;
    if compression == Compression::None && digest != *diff_id {
        let (path, expected) = (path.to_owned(), diff_id.clone());
        return Err(ArchiveError::DiffId { path, expected, actual: digest });
    }
    contents.publish(path, DOCKER_MANIFEST)?;
    let media_type = match compression {
        Compression::None => media_type::OCI_LAYER,
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
    };
    Ok(Descriptor::new(media_type, digest, size))
}
