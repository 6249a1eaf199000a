//! Doors for the fuzz targets in `fuzz/`: what hostile bytes reach, without a network around it.

use cutover_core::oci::{ImageConfig, Index, Manifest};
use cutover_core::{Digest, Reference};

use crate::auth;
use crate::http::range;
use crate::push::document;

/// A reference that can be read means the same when it is written and read again.
pub fn reference(text: &str) {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let again: Reference = reference.to_string().parse().expect("its own text");
    assert_eq!(again, reference);
    let canonical: Reference = reference.canonical().parse().expect("its canonical text");
    assert_eq!(canonical.name(), reference.name());
    let segments = reference.repository().split('/');
    assert!(segments.clone().all(|it| !it.is_empty() && it != ".." && it != "."), "{reference}");
}

/// Manifests, indexes, configs, and the changes that a push makes to them.
pub fn document(bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    drop(document::kind(&digest, bytes));
    drop(serde_json::from_slice::<ImageConfig>(bytes));
    drop(serde_json::from_slice::<Index>(bytes));
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let same = document::with_layers(&digest, bytes, &manifest.layers, &manifest.layers);
        assert_eq!(same.expect("a manifest"), bytes, "not a byte is changed without need");
        // one half of a document is the manifest, the other its config
        for at in [bytes.len() / 2, bytes.len() / 3] {
            drop(cutover_store::Image::parse(bytes[..at].to_vec(), &bytes[at..]));
        }
    }
    let manifest_and_config = bytes.split(|byte| *byte == b'\n').collect::<Vec<_>>();
    if let [manifest, config] = manifest_and_config.as_slice() {
        drop(cutover_store::Image::parse(manifest.to_vec(), config));
    }
    if let Ok(mut index) = document::Index::parse(&digest, bytes) {
        let new = cutover_core::oci::Descriptor::new("x", digest.clone(), 1);
        for entry in &mut index.manifests {
            if let Ok(old) = document::digest_of(&digest, entry) {
                document::replace(entry, &old, &new);
            }
        }
        drop(index.into_bytes(bytes.to_vec()));
    }
}

/// What registries say in headers.
pub fn headers(text: &str) {
    let (first, taken) = (range::first(text), range::taken(text));
    assert!(first.or(taken).is_none() || text.contains(|c: char| c.is_ascii_digit()), "{text}");
    drop(auth::best_challenge(std::iter::once(text)));
    drop(auth::parse_token(text.as_bytes()));
}

/// What an exchange's sender says.
pub fn exchange(bytes: &[u8]) {
    crate::exchange::read_all(bytes);
}
