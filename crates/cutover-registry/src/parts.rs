//! Artifacts in parts: documents without the blobs that they name, one blob by itself, and pushing
//! blobs that are made only if the registry lacks them. For what is kept in a registry and is no
//! image, such as a build cache.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use cutover_core::digest::Hasher;
use cutover_core::oci::{Descriptor, Index, Manifest, media_type};
use cutover_core::{Digest, Reference};
use cutover_store::{LoadError, MAX_DOCUMENT, Store};

use crate::arrival::{Arrival, Arriving};
use crate::error::{Cause, PullError, PushError};
use crate::http::{Ask, Client};
use crate::options::Options;
use crate::progress::{Event, Progress};
use crate::push::upload::{Blob, Bytes};
use crate::push::{Push, Pushed};
use crate::session::{self, Events};
use crate::{blob, manifest};

/// Manifests of one index that are read.
const MAX_MANIFESTS: usize = 16;

/// A manifest and its config, checked against their digests.
#[derive(Clone, Debug)]
pub struct Documents {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
}

/// A blob to push.
pub trait Part {
    /// What it will be, if that can be told without making it.
    fn known(&self) -> Option<Descriptor>;

    /// Its bytes.
    fn make(&self) -> Result<(Descriptor, File), Box<dyn std::error::Error + Send + Sync>>;
}

/// The manifest that `reference` names, or all of its index, each with its config. Blocks.
pub fn documents(
    reference: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Documents>, PullError> {
    let read = session::run(progress, async |events| {
        let client = session::reach(reference, "pull", options, &events).await?;
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let (bytes, kind) = manifest::fetch(&client, &name, reference.digest()).await?;
        if !media_type::is_index(&kind) {
            return Ok(vec![with_config(&client, &events, bytes).await?]);
        }
        let index: Index = parse("image index", &bytes)?;
        let images = index.manifests.iter().filter(|entry| {
            media_type::is_manifest(&entry.media_type)
                && entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
        });
        let mut all = Vec::new();
        for entry in images.take(MAX_MANIFESTS) {
            let digest = &entry.digest;
            let (bytes, _) = manifest::fetch(&client, digest.as_str(), Some(digest)).await?;
            all.push(with_config(&client, &events, bytes).await?);
        }
        Ok(all)
    });
    read.map_err(|cause| PullError { reference: reference.clone(), cause: Box::new(cause) })
}

async fn with_config(
    client: &Client,
    events: &Events,
    manifest: Vec<u8>,
) -> Result<Documents, Cause> {
    let config = parse::<Manifest>("manifest", &manifest)?.config;
    let what = format!("config {}", config.digest.short());
    if config.size > MAX_DOCUMENT {
        return Err(Cause::TooLarge { what, size: config.size, max: MAX_DOCUMENT });
    }
    let path = format!("/v2/{}/blobs/{}", client.repository, config.digest);
    let response = session::ask(client, events, &Ask::get(path, what.clone())).await?;
    let bytes = response.body(config.size, &what).await?;
    let mut hasher = Hasher::new(config.digest.algorithm());
    hasher.update(&bytes);
    match hasher.finish() {
        actual if actual == config.digest => Ok(Documents { manifest, config: bytes }),
        actual => Err(Cause::WrongDigest { what: "config", expected: config.digest, actual }),
    }
}

fn parse<T: serde::de::DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Cause> {
    serde_json::from_slice(bytes).map_err(|source| {
        let digest = Digest::sha256(bytes);
        LoadError::Document { what, digest, source }.into()
    })
}

/// Fetches one blob of the repository of `reference` into the store, unless it is there. Blocks.
pub fn fetch_blob(
    store: &Store,
    reference: &Reference,
    wanted: &Descriptor,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), PullError> {
    let fetched = session::run(progress, async |events| {
        let _lease = store.lease()?;
        let client = session::reach(reference, "pull", options, &events).await?;
        blob::fetch(&client, store, wanted, &Arriving::new(Arrival::default()), &events).await
    });
    fetched.map_err(|cause| PullError { reference: reference.clone(), cause: Box::new(cause) })
}

/// Pushes `parts`, and then the manifest and config that `documents` makes of what they are, under
/// the reference's tag. Blocks.
pub fn push_parts(
    store: &Store,
    reference: &Reference,
    parts: &[&dyn Part],
    documents: &dyn Fn(Vec<Descriptor>) -> Documents,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Pushed, PushError> {
    let pushed = session::run(progress, async |events| {
        let _lease = store.lease()?;
        let client = session::reach(reference, "pull,push", options, &events).await?;
        let push = Push::new(&client, store, reference.registry(), &events);
        let mut layers = Vec::new();
        for part in parts {
            layers.push(send(&push, *part, &events).await?);
        }
        let Documents { manifest, config } = documents(layers.clone());
        let config = send(&push, &Document(&config), &events).await?;
        let blobs = layers.iter().chain([&config]).map(|blob| &blob.digest);
        let (registry, repository) = (reference.registry(), reference.repository());
        store.transfers().remember_sources(registry, repository, blobs)?;
        let digest = Digest::sha256(&manifest);
        let name = reference.tag().unwrap_or(digest.as_str());
        push.put_as(&manifest, media_type::OCI_MANIFEST, name, &digest).await?;
        let size = manifest.len() as u64;
        Ok(Pushed { descriptor: Descriptor::new(media_type::OCI_MANIFEST, digest, size) })
    });
    pushed.map_err(|cause| PushError { reference: reference.clone(), cause: Box::new(cause) })
}

/// Sends one part, if the registry lacks it.
async fn send(push: &Push, part: &dyn Part, events: &Events) -> Result<Descriptor, Cause> {
    let known = part.known();
    if let Some(known) = &known
        && push.has(known, &known.digest).await?
    {
        return Ok(known.clone());
    }
    let (made, file) = part.make().map_err(Cause::Part)?;
    let digest = made.digest.clone();
    if known.as_ref() == Some(&made) || !push.has(&made, &digest).await? {
        let bytes = Bytes::File { file: Arc::new(file), at: 0 };
        let blob = Blob { digest: digest.clone(), size: made.size, bytes };
        push.upload(&blob, &digest).await?;
        events.send(Event::Uploaded { digest, size: made.size });
    }
    Ok(made)
}

/// A part that is in memory.
struct Document<'a>(&'a [u8]);

impl Part for Document<'_> {
    fn known(&self) -> Option<Descriptor> {
        None
    }

    fn make(&self) -> Result<(Descriptor, File), Box<dyn std::error::Error + Send + Sync>> {
        let mut file = tempfile::tempfile()?;
        file.write_all(self.0)?;
        file.seek(SeekFrom::Start(0))?;
        let size = self.0.len() as u64;
        Ok((Descriptor::new("", Digest::sha256(self.0), size), file))
    }
}
