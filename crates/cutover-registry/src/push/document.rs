//! Manifests and indexes as JSON, changed only where a layer's digest changed.

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, media_type};
use cutover_store::LoadError;
use serde_json::{Map, Value};

use crate::error::Cause;

fn wrong(digest: &Digest) -> impl FnOnce(serde_json::Error) -> Cause {
    let digest = digest.clone();
    move |source| LoadError::Document { what: "manifest", digest, source }.into()
}

/// The media type of a manifest or index: its own statement, else what its members say.
pub(crate) fn kind(digest: &Digest, bytes: &[u8]) -> Result<String, Cause> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stated {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let stated: Stated = serde_json::from_slice(bytes).map_err(wrong(digest))?;
    Ok(stated.media_type.unwrap_or_else(|| {
        let is_index = stated.manifests.is_some() && stated.config.is_none();
        if is_index { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST }.to_owned()
    }))
}

/// An index whose unknown members stay.
#[derive(Debug)]
pub(crate) struct Index {
    document: Map<String, Value>,
    pub(crate) manifests: Vec<Value>,
    before: Vec<Value>,
}

impl Index {
    pub(crate) fn parse(digest: &Digest, bytes: &[u8]) -> Result<Self, Cause> {
        let document: Map<String, Value> = serde_json::from_slice(bytes).map_err(wrong(digest))?;
        let manifests = match document.get("manifests") {
            Some(Value::Array(manifests)) => manifests.clone(),
            _ => Vec::new(),
        };
        Ok(Self { document, before: manifests.clone(), manifests })
    }

    /// The document: `original` itself when nothing changed.
    pub(crate) fn into_bytes(mut self, original: Vec<u8>) -> Vec<u8> {
        if self.before == self.manifests {
            return original;
        }
        self.document.insert("manifests".to_owned(), Value::Array(self.manifests));
        serde_json::to_vec(&self.document).expect("it came from JSON")
    }
}

/// The digest in a descriptor of the document `digest`.
pub(crate) fn digest_of(digest: &Digest, descriptor: &Value) -> Result<Digest, Cause> {
    let text = descriptor.get("digest").cloned().unwrap_or_default();
    serde_json::from_value(text).map_err(wrong(digest))
}

/// Lets `descriptor` name `new` instead of `old`; annotations, platform and the like stay.
pub(crate) fn replace(descriptor: &mut Value, old: &Digest, new: &Descriptor) {
    if let Some(members) = descriptor.as_object_mut().filter(|_| new.digest != *old) {
        members.insert("mediaType".to_owned(), new.media_type.clone().into());
        members.insert("digest".to_owned(), new.digest.to_string().into());
        members.insert("size".to_owned(), new.size.into());
    }
}

/// A manifest with other layers; all else stays, and every byte if they are the same.
pub(crate) fn with_layers(
    digest: &Digest,
    bytes: &[u8],
    old: &[Descriptor],
    new: &[Descriptor],
) -> Result<Vec<u8>, Cause> {
    if old.iter().map(|it| &it.digest).eq(new.iter().map(|it| &it.digest)) {
        return Ok(bytes.to_vec());
    }
    let mut document: Map<String, Value> = serde_json::from_slice(bytes).map_err(wrong(digest))?;
    if let Some(layers) = document.get_mut("layers").and_then(Value::as_array_mut) {
        for ((layer, old), new) in layers.iter_mut().zip(old).zip(new) {
            replace(layer, &old.digest, new);
        }
    }
    Ok(serde_json::to_vec(&document).expect("it came from JSON"))
}
