//! Images of an OCI layout.

use cutover_core::oci::{Descriptor, Index};
use cutover_core::{Digest, Reference};

use super::contents::Contents;
use super::load::{parse_name, put};
use super::{
    ArchiveError, CONTAINERD_NAME, DOCKER_MANIFEST, DockerImage, INDEX, Loaded, REF_NAME, blob_path,
};
use crate::image::{Image, LoadError, choose, host_platform, parse_index};
use crate::store::Store;

/// Indexes within indexes are allowed; this many are enough for anyone.
const MAX_DEPTH: usize = 4;

/// A manifest and the indexes that led to it.
struct Chosen {
    manifest: Vec<u8>,
    indexes: Vec<Digest>,
}

pub(super) fn load(store: &Store, contents: &mut Contents) -> Result<Vec<Loaded>, ArchiveError> {
    let bytes = contents.document(INDEX).unwrap_or_default();
    let index: Index = serde_json::from_slice(bytes)
        .map_err(|source| ArchiveError::Document { file: INDEX, source })?;
    let docker_names = docker_names(contents)?;
    let (mut loaded, mut refused) = (Vec::new(), None);
    for descriptor in &index.manifests {
        let chosen = match choose_manifest(contents, descriptor, INDEX) {
            // A layout may hold artifacts and other platforms beside images.
            Err(ArchiveError::Load(error)) if is_other(&error) => {
                refused = Some(error);
                continue;
            }
            other => other?,
        };
        let config = config_bytes(contents, &chosen.manifest)?;
        let image = match Image::parse(chosen.manifest.clone(), &config) {
            Err(error) if is_other(&error) => {
                refused = Some(error);
                continue;
            }
            other => other?,
        };
        let mut names: Vec<_> = name(descriptor)?.into_iter().collect();
        if names.is_empty() {
            let config = blob_path(&image.config_digest);
            let entries = docker_names.iter().filter(|(path, _)| *path == config);
            names.extend(entries.map(|(_, name)| name.clone()));
        }
        for layer in &image.manifest.layers {
            contents.publish_blob(&layer.digest, &format!("image {}", image.digest))?;
        }
        for index in &chosen.indexes {
            contents.publish_blob(index, INDEX)?;
        }
        put(store, &chosen.manifest, &config, &names, &mut loaded)?;
    }
    match refused {
        Some(error) if loaded.is_empty() => Err(error.into()),
        _ => Ok(loaded),
    }
}

/// Whether the thing is no image, or none for this machine, rather than damaged.
fn is_other(error: &LoadError) -> bool {
    matches!(error, LoadError::NotAnImage { .. } | LoadError::NoPlatform { .. })
}

fn choose_manifest(
    contents: &Contents,
    descriptor: &Descriptor,
    wanted_by: &str,
) -> Result<Chosen, ArchiveError> {
    let (mut digest, mut indexes) = (descriptor.digest.clone(), Vec::new());
    loop {
        let bytes = contents.blob(&digest, wanted_by)?;
        let Some(index) = parse_index(&digest, &bytes)? else {
            return Ok(Chosen { manifest: bytes, indexes });
        };
        let chosen = choose(&digest, &index, &host_platform())?;
        indexes.push(std::mem::replace(&mut digest, chosen));
        if indexes.len() > MAX_DEPTH {
            let file = blob_path(&digest);
            return Err(ArchiveError::MissingFile {
                path: file,
                wanted_by: "too many indexes".into(),
            });
        }
    }
}

fn config_bytes(contents: &Contents, manifest: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let digest = Digest::sha256(manifest);
    let parsed: cutover_core::oci::Manifest =
        serde_json::from_slice(manifest).map_err(|source| LoadError::Document {
            what: "manifest",
            digest: digest.clone(),
            source,
        })?;
    contents.blob(&parsed.config.digest, &format!("image {digest}"))
}

/// The name that a descriptor carries. A bare tag names nothing.
fn name(descriptor: &Descriptor) -> Result<Option<Reference>, ArchiveError> {
    if let Some(name) = descriptor.annotations.get(CONTAINERD_NAME) {
        return parse_name(name).map(Some);
    }
    match descriptor.annotations.get(REF_NAME) {
        Some(name) if name.contains(['/', ':']) => parse_name(name).map(Some),
        _ => Ok(None),
    }
}

/// Config paths and names of docker's `manifest.json`, if the layout has one.
fn docker_names(contents: &Contents) -> Result<Vec<(String, Reference)>, ArchiveError> {
    let Some(bytes) = contents.document(DOCKER_MANIFEST) else { return Ok(Vec::new()) };
    let images: Vec<DockerImage> = serde_json::from_slice(bytes)
        .map_err(|source| ArchiveError::Document { file: DOCKER_MANIFEST, source })?;
    let mut names = Vec::new();
    for image in images {
        for tag in image.repo_tags.unwrap_or_default() {
            names.push((image.config.clone(), parse_name(&tag)?));
        }
    }
    Ok(names)
}
