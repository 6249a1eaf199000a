//! `load`: which form an archive has, and storing its images.

use std::io::{BufReader, Read};

use cutover_core::Reference;

use super::contents::Contents;
use super::{ArchiveError, DOCKER_MANIFEST, INDEX, Loaded, docker, layout};
use crate::image::Image;
use crate::store::Store;
use crate::stream::inflate;
use crate::tar::{Limits, Reader};

/// Loads every image of an archive, which may be compressed with gzip or zstd. Blobs are kept as
/// they are; a name that the store has already points at the loaded image afterwards.
pub fn load(store: &Store, archive: impl Read + Send) -> Result<Vec<Loaded>, ArchiveError> {
    let _lease = store.lease()?;
    let inflated = inflate(archive).map_err(ArchiveError::Inflate)?;
    let mut reader = Reader::new(BufReader::with_capacity(256 << 10, inflated), Limits::default());
    let mut contents = Contents::read(store, &mut reader)?;
    let loaded = if contents.document(INDEX).is_some() {
        layout::load(store, &mut contents)?
    } else if contents.document(DOCKER_MANIFEST).is_some() {
        docker::load(store, &mut contents)?
    } else {
        return Err(ArchiveError::NotAnArchive);
    };
    if loaded.is_empty() { Err(ArchiveError::Empty) } else { Ok(loaded) }
}

/// Stores an image under its names.
pub(super) fn put(
    store: &Store,
    manifest: &[u8],
    config: &[u8],
    names: &[Reference],
    loaded: &mut Vec<Loaded>,
) -> Result<Image, ArchiveError> {
    let image = store.images().put(manifest, config, names.first())?;
    for name in names.iter().skip(1) {
        store.images().tag(name, &image.digest)?;
    }
    let digest = &image.digest;
    let entry = |reference| Loaded { reference, digest: digest.clone() };
    if names.is_empty() {
        loaded.push(entry(None));
    }
    loaded.extend(names.iter().cloned().map(|name| entry(Some(name))));
    Ok(image)
}

pub(super) fn parse_name(name: &str) -> Result<Reference, ArchiveError> {
    name.parse().map_err(|source| ArchiveError::Name { name: name.to_owned(), source })
}
