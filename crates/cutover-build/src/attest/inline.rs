//! Attestations within an image's index, as BuildKit writes them: for each image one more manifest,
//! of an unknown platform, whose layers are in-toto statements about it.
//!
//! Only on request: clients that do not know the convention show a platform `unknown/unknown`.

use std::collections::BTreeMap;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Manifest, Platform, media_type};
use serde_json::{Value, json};

use super::{Attestation, EMPTY, EMPTY_TYPE, IN_TOTO_TYPE, SPDX_TYPE};

/// What BuildKit calls such a manifest.
const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// The attestations of one image as a manifest of its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// Config and statements: the blobs that the manifest names.
    pub documents: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
    /// Of the manifest, in the index.
    pub entry: Descriptor,
}

/// `subject` is the image's entry in the same index.
pub fn inline(attestations: &[Attestation], subject: &Descriptor) -> Inline {
    let described =
        |kind: &str, bytes: &[u8]| Descriptor::new(kind, Digest::sha256(bytes), bytes.len() as u64);
    let mut documents = vec![EMPTY.to_vec()];
    let mut layers = Vec::new();
    for one in attestations {
        let statement = statement(one, subject);
        let predicate = ("in-toto.io/predicate-type".to_owned(), one.predicate_type.to_owned());
        layers.push(Descriptor {
            annotations: BTreeMap::from([predicate]),
            ..described(IN_TOTO_TYPE, &statement)
        });
        documents.push(statement);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: Some(ARTIFACT_TYPE.to_owned()),
        config: described(EMPTY_TYPE, EMPTY),
        layers,
        subject: Some(Descriptor::new(&subject.media_type, subject.digest.clone(), subject.size)),
        annotations: BTreeMap::new(),
    };
    let manifest = serde_json::to_vec(&manifest).expect("only string keys");
    let annotations = [
        ("vnd.docker.reference.digest", subject.digest.as_str()),
        ("vnd.docker.reference.type", "attestation-manifest"),
    ];
    let entry = Descriptor {
        platform: Some(Platform::new("unknown", "unknown")),
        annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..described(media_type::OCI_MANIFEST, &manifest)
    };
    Inline { documents, manifest, entry }
}

/// A document as a statement about `subject`; one that is a statement already as it is.
fn statement(one: &Attestation, subject: &Descriptor) -> Vec<u8> {
    if one.media_type != SPDX_TYPE {
        return one.document.clone();
    }
    let predicate: Value = serde_json::from_slice(&one.document).expect("it was made here");
    let digest = &subject.digest;
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": one.predicate_type,
        "subject": [{"name": "_", "digest": {digest.algorithm().as_str(): digest.hex()}}],
        "predicate": predicate,
    });
    serde_json::to_vec(&statement).expect("only string keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_no_platform_that_names_its_image() {
        let subject = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(b"image"), 5);
        let sbom = Attestation {
            media_type: SPDX_TYPE,
            predicate_type: "https://spdx.dev/Document",
            document: br#"{"spdxVersion":"SPDX-2.3"}"#.to_vec(),
        };
        let other = Attestation {
            media_type: IN_TOTO_TYPE,
            predicate_type: "https://slsa.dev/provenance/v1",
            document: b"{}".to_vec(),
        };
        let inline = inline(&[sbom, other.clone()], &subject);
        let annotation = |key: &str| inline.entry.annotations[key].as_str();
        assert_eq!(annotation("vnd.docker.reference.digest"), subject.digest.as_str());
        assert_eq!(annotation("vnd.docker.reference.type"), "attestation-manifest");
        assert_eq!(inline.entry.digest, Digest::sha256(&inline.manifest));
        let manifest: Manifest = serde_json::from_slice(&inline.manifest).unwrap();
        let layers: Vec<_> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        let documents: Vec<_> =
            inline.documents[1..].iter().map(|bytes| Digest::sha256(bytes)).collect();
        assert_eq!(layers, documents);
        let statement: Value = serde_json::from_slice(&inline.documents[1]).unwrap();
        assert_eq!(statement["predicate"]["spdxVersion"], "SPDX-2.3");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], subject.digest.hex());
        assert_eq!(inline.documents[2], other.document);
    }
}
