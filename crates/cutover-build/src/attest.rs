//! Attestations: what is in an image ([`sbom`]), and what it was made of ([`provenance`]).
//!
//! Each is a document beside the image, an artifact whose `subject` the image is; neither changes
//! the image. They say nothing that is secret: no secret, no value of a variable that sounds like
//! one, no credentials of an address.

mod inline;
mod packages;
mod provenance;
mod redact;
mod sbom;

use std::collections::BTreeMap;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Manifest, media_type};

use crate::BuildOptions;

pub use inline::{Inline, inline};
pub use packages::{Package, packages};
pub use provenance::{Material, ProvenanceMode, Request, provenance};
pub use redact::address;
pub use sbom::{Described, sbom};

/// Media type of an SPDX document.
pub const SPDX_TYPE: &str = "application/spdx+json";
/// Media type of an in-toto statement.
pub const IN_TOTO_TYPE: &str = "application/vnd.in-toto+json";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The config of an artifact that has none.
pub const EMPTY: &[u8] = b"{}";

/// An attestation as an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// Of its only layer, and of the artifact.
    pub media_type: &'static str,
    /// What kind of statement it is, for readers that filter by it.
    pub predicate_type: &'static str,
    pub document: Vec<u8>,
}

impl Attestation {
    /// The manifest of the artifact about `subject`.
    pub fn manifest(&self, subject: &Descriptor) -> Vec<u8> {
        let described = |kind: &str, bytes: &[u8]| {
            Descriptor::new(kind, Digest::sha256(bytes), bytes.len() as u64)
        };
        let predicate = ("in-toto.io/predicate-type".to_owned(), self.predicate_type.to_owned());
        let annotations = BTreeMap::from([predicate]);
        let layer = Descriptor {
            annotations: annotations.clone(),
            ..described(self.media_type, &self.document)
        };
        let subject = Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: Some(self.media_type.to_owned()),
            config: described(EMPTY_TYPE, EMPTY),
            layers: vec![layer],
            subject: Some(subject),
            annotations,
        };
        serde_json::to_vec(&manifest).expect("only string keys")
    }
}

/// Name and text of the Dockerfile of a build.
pub fn dockerfile(options: &BuildOptions) -> Option<(String, Vec<u8>)> {
    let found = crate::context::find(&options.context, &options.dockerfile).ok()?;
    Some((found.name, found.bytes))
}

/// `pkg:docker/NAME@VERSION?platform=…`: how an image is written in documents.
pub fn image_purl(name: &str, version: &str, platform: &str) -> String {
    let platform = platform.replace('/', "%2F");
    format!("pkg:docker/{name}@{}?platform={platform}", version.replace(':', "%3A"))
}
