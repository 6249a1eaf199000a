//! Finding the one manifest that a reference means on a platform.

use cutover_core::digest::Hasher;
use cutover_core::oci::{Index, Manifest, Platform, media_type};
use cutover_core::{Digest, Reference};
use cutover_store::{LoadError, MAX_DOCUMENT, Store};

use crate::error::Cause;
use crate::http::{Ask, Client};
use crate::progress::Event;
use crate::session::{Events, retrying};

/// Deepest nesting of indexes.
const MAX_NESTING: usize = 4;
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// An image's manifest as it came.
#[derive(Debug)]
pub(crate) struct Found {
    /// Of what the reference names: the index's, when it is one.
    pub(crate) top: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
}

/// Follows `reference` through indexes to the manifest for the wanted platform. Indexes on the way
/// are kept in the store.
pub(crate) async fn find(
    client: &Client,
    store: &Store,
    reference: &Reference,
    events: &Events,
) -> Result<Found, Cause> {
    let mut name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    let mut wanted = reference.digest().cloned();
    let mut top = None;
    for _ in 0..=MAX_NESTING {
        let (bytes, kind) = retrying(client, events, &format!("manifest `{name}`"), async || {
            fetch(client, &name, wanted.as_ref()).await
        })
        .await?;
        // what the registry was asked for by digest keeps that digest's algorithm
        let digest = wanted.take().unwrap_or_else(|| Digest::sha256(&bytes));
        let top = &*top.get_or_insert_with(|| digest.clone());
        match classify(&digest, &bytes, &kind)? {
            Kind::Manifest(manifest) => {
                return Ok(Found { top: top.clone(), bytes, manifest: *manifest });
            }
            Kind::Index(index) => {
                store.blobs().put(&bytes)?;
                let chosen = choose(&digest, &index, &client.options().platform)?;
                name = chosen.to_string();
                wanted = Some(chosen);
            }
        }
    }
    Err(Cause::NestedIndex(MAX_NESTING))
}

/// A manifest or index by tag or digest, with its media type.
pub(crate) async fn fetch(
    client: &Client,
    name: &str,
    wanted: Option<&Digest>,
) -> Result<(Vec<u8>, String), Cause> {
    let what = format!("manifest `{name}`");
    let path = format!("/v2/{}/manifests/{name}", client.repository);
    let response = client.ask(&Ask::get(path, what.clone()).accept(ACCEPT)).await?;
    let kind = response.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
    // without a digest to hold it against, the registry's own statement is better than nothing
    let stated = response.header("docker-content-digest").and_then(|it| it.parse::<Digest>().ok());
    let expected_size = response.header("content-length").and_then(|it| it.parse::<u64>().ok());
    let host = response.host.clone();
    let bytes = response.body(MAX_DOCUMENT, &what).await?;
    let got = bytes.len() as u64;
    if let Some(expected) = expected_size.filter(|expected| got < *expected) {
        return Err(Cause::Short { host, got, expected });
    }
    if let Some(expected) = wanted.cloned().or(stated) {
        let mut hasher = Hasher::new(expected.algorithm());
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != expected {
            return Err(Cause::WrongDigest { what: "manifest", expected, actual });
        }
    }
    Ok((bytes, kind))
}

#[derive(Debug)]
enum Kind {
    Manifest(Box<Manifest>),
    Index(Index),
}

/// What the bytes are: by their own statement, else by the registry's.
fn classify(digest: &Digest, bytes: &[u8], header: &str) -> Result<Kind, Cause> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stated {
        media_type: Option<String>,
        schema_version: Option<u32>,
    }
    let what = |kind: &'static str| {
        let digest = digest.clone();
        move |source| LoadError::Document { what: kind, digest, source }
    };
    let stated: Stated = serde_json::from_slice(bytes).map_err(what("manifest"))?;
    let kind = stated.media_type.unwrap_or_else(|| header.to_owned());
    if media_type::is_index(&kind) {
        return Ok(Kind::Index(serde_json::from_slice(bytes).map_err(what("image index"))?));
    }
    if media_type::is_manifest(&kind) {
        let manifest = serde_json::from_slice(bytes).map_err(what("manifest"))?;
        return Ok(Kind::Manifest(Box::new(manifest)));
    }
    let media_type = match stated.schema_version {
        Some(1) => "application/vnd.docker.distribution.manifest.v1+json".to_owned(),
        _ => kind.chars().take(120).collect(),
    };
    Err(Cause::MediaType { what: format!("manifest {digest}"), media_type })
}

/// The manifest for `platform`, or the index that is for it.
pub(crate) fn choose(digest: &Digest, index: &Index, platform: &Platform) -> Result<Digest, Cause> {
    if let Some(entry) = index.choose(platform) {
        return Ok(entry.digest.clone());
    }
    // a nested index has no platform of its own; the first is as good a guess as any
    let nested = index.manifests.iter().find(|entry| media_type::is_index(&entry.media_type));
    if let Some(entry) = nested {
        return Ok(entry.digest.clone());
    }
    let shown = |platform: &Platform| match &platform.variant {
        Some(variant) => format!("{}/{}/{variant}", platform.os, platform.architecture),
        None => format!("{}/{}", platform.os, platform.architecture),
    };
    let mut available: Vec<_> = index
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(shown)
        .collect();
    available.dedup();
    let available = if available.is_empty() { "none".to_owned() } else { available.join(", ") };
    Err(Cause::NoPlatform { digest: digest.clone(), platform: shown(platform), available })
}

impl Found {
    /// The event that tells what the name stands for.
    pub(crate) fn resolved(&self) -> Event {
        Event::Resolved {
            digest: self.top.clone(),
            config: self.manifest.config.digest.clone(),
            layers: self.manifest.layers.len(),
            size: self.manifest.layers.iter().map(|layer| layer.size).sum(),
        }
    }
}
