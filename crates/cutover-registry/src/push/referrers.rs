//! The fallback of the referrers API: in a registry that does not know it, the index of what
//! refers to a manifest is kept under the tag `ALGORITHM-HEX` by those who push.

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Index, media_type};
use cutover_store::MAX_DOCUMENT;

use super::Push;
use crate::error::Cause;
use crate::http::Ask;
use crate::session;

/// Adds the manifest `bytes` to what refers to its subject, if it has one.
pub(super) async fn add(push: &Push, bytes: &[u8], own: &Descriptor) -> Result<(), Cause> {
    let Some(subject) = subject(bytes) else { return Ok(()) };
    let tag = format!("{}-{}", subject.algorithm().as_str(), subject.hex());
    let mut index = current(push, &tag).await?;
    if index.manifests.iter().any(|entry| entry.digest == own.digest) {
        return Ok(());
    }
    index.manifests.push(describe(bytes, own));
    let bytes = serde_json::to_vec(&index).expect("only string keys");
    let digest = Digest::sha256(&bytes);
    push.put_as(&bytes, media_type::OCI_INDEX, &tag, &digest).await.map(drop)
}

fn subject(bytes: &[u8]) -> Option<Digest> {
    #[derive(serde::Deserialize)]
    struct Referring {
        subject: Option<Descriptor>,
    }
    let referring: Referring = serde_json::from_slice(bytes).ok()?;
    Some(referring.subject?.digest)
}

async fn current(push: &Push, tag: &str) -> Result<Index, Cause> {
    let empty = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
    };
    let path = format!("/v2/{}/manifests/{tag}", push.client.repository);
    let ask = Ask::get(path, format!("manifest `{tag}`")).accept(media_type::OCI_INDEX);
    let found = session::ask(&push.client, &push.events, &ask).await;
    let response = match found {
        Ok(response) => response,
        Err(Cause::NotFound { .. }) => return Ok(empty),
        Err(cause) => return Err(cause),
    };
    let bytes = response.body(MAX_DOCUMENT, &ask.what).await?;
    // something else under this name is replaced: nobody can use it
    Ok(serde_json::from_slice(&bytes).unwrap_or(empty))
}

/// The entry for a manifest, with what the specification lets readers filter by.
fn describe(bytes: &[u8], own: &Descriptor) -> Descriptor {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Described {
        artifact_type: Option<String>,
        config: Option<Descriptor>,
        #[serde(default)]
        annotations: Option<std::collections::BTreeMap<String, String>>,
    }
    let mut entry = own.clone();
    if let Ok(described) = serde_json::from_slice::<Described>(bytes) {
        let by_config = described.config.map(|config| config.media_type);
        entry.artifact_type = described.artifact_type.or(by_config);
        entry.annotations = described.annotations.unwrap_or_default();
    }
    entry
}
