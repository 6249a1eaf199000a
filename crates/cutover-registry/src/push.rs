//! [`push`]: image or index in the store → blobs → manifests → tag in a registry.
//!
//! What the registry has is never sent: it is asked for the manifest first, then for each blob,
//! then to take a blob over from another of its repositories. Layers of built images are plain tars
//! (their snapshots); they are compressed on the way, once: the store remembers what they become,
//! so that a second push knows the digest without the work. All else goes as it is, byte for byte.

use std::sync::Arc;

use cutover_core::oci::{Descriptor, media_type};
use cutover_core::{Digest, Reference};
use cutover_store::{MAX_DOCUMENT, Store};
use tokio::sync::Semaphore;

use crate::error::{Cause, PushError};
use crate::http::Client;
use crate::options::Options;
use crate::progress::{Event, Progress};
use crate::session::{self, Events};

pub(crate) mod document;
mod image;
mod layer;
mod referrers;
pub(crate) mod upload;

pub(crate) use layer::is_foreign;

/// Layers that are compressed at a time: zstd uses all processors for each.
const COMPRESSING: usize = 2;
/// Indexes within indexes are allowed; this many are enough for anyone.
const MAX_NESTING: usize = 4;

/// What a registry has after a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Of the manifest or index as it was sent: another one than in the store when layers were
    /// compressed.
    pub descriptor: Descriptor,
}

/// Pushes the manifest or index `digest` of the store, with all that it names, to the repository
/// of `reference`, and gives it the reference's tag. Without a tag it can be had by its digest.
///
/// Manifests and indexes are blobs of the store; blobs of artifacts too. Blocks; must not be called
/// from async code.
pub fn push(
    store: &Store,
    digest: &Digest,
    reference: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Pushed, PushError> {
    push_all(store, &[(digest.clone(), reference.clone())], options, progress)
        .map(|mut pushed| pushed.pop().expect("one for each"))
}

/// Pushes several tags of one repository, over the same connections.
pub fn push_all(
    store: &Store,
    images: &[(Digest, Reference)],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Pushed>, PushError> {
    let Some((_, first)) = images.first() else { return Ok(Vec::new()) };
    let mut current = first;
    let result = session::run(progress, async |events| {
        // the collector must not take what is about to be sent
        let _lease = store.lease()?;
        let client = session::reach(first, "pull,push", options, &events).await?;
        let push = Push::new(&client, store, first.registry(), &events);
        let mut pushed = Vec::new();
        for (digest, reference) in images {
            current = reference;
            pushed.push(push.one(digest, reference).await?);
        }
        Ok(pushed)
    });
    result.map_err(|cause| PushError { reference: current.clone(), cause: Box::new(cause) })
}

/// What the parts of a push share.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) client: Arc<Client>,
    pub(crate) store: Store,
    pub(crate) registry: String,
    pub(crate) events: Events,
    pub(crate) sending: Arc<Semaphore>,
    pub(crate) compressing: Arc<Semaphore>,
}

impl Push {
    pub(crate) fn new(
        client: &Arc<Client>,
        store: &Store,
        registry: &str,
        events: &Events,
    ) -> Self {
        let parallel = client.options().limits.parallel.max(1);
        Self {
            client: Arc::clone(client),
            store: store.clone(),
            registry: registry.to_owned(),
            events: events.clone(),
            sending: Arc::new(Semaphore::new(parallel)),
            compressing: Arc::new(Semaphore::new(COMPRESSING)),
        }
    }

    async fn one(&self, digest: &Digest, reference: &Reference) -> Result<Pushed, Cause> {
        let descriptor = self.tree(digest, reference.tag(), 0).await?;
        let (tag, digest) = (reference.tag().map(str::to_owned), descriptor.digest.clone());
        self.events.send(Event::Pushed { tag, digest, size: descriptor.size });
        Ok(Pushed { descriptor })
    }

    /// Pushes the manifest or index `digest` and what is below it. With a tag, under that.
    async fn tree(
        &self,
        digest: &Digest,
        tag: Option<&str>,
        depth: usize,
    ) -> Result<Descriptor, Cause> {
        let bytes = self.store.blobs().read_bounded(digest, MAX_DOCUMENT)?;
        let kind = document::kind(digest, &bytes)?;
        if !media_type::is_index(&kind) {
            return self.manifest(digest, bytes, &kind, tag).await;
        }
        if depth >= MAX_NESTING {
            return Err(Cause::NestedIndex(MAX_NESTING));
        }
        let mut index = document::Index::parse(digest, &bytes)?;
        for entry in &mut index.manifests {
            let child = document::digest_of(digest, entry)?;
            if !self.store.blobs().contains(&child) {
                let (what, missing) =
                    (format!("image index {digest}"), format!("manifest {child}"));
                return Err(Cause::Incomplete { what, missing });
            }
            let pushed = Box::pin(self.tree(&child, None, depth + 1)).await?;
            document::replace(entry, &child, &pushed);
        }
        let bytes = index.into_bytes(bytes);
        self.put(&bytes, &kind, tag).await
    }
}
