//! [`pull`]: reference → manifest → blobs → image in the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use cutover_core::Reference;
use cutover_core::oci::Descriptor;
use cutover_store::{Image, MAX_DOCUMENT, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::error::{Cause, PullError};
use crate::http::Client;
use crate::options::Options;
use crate::progress::Progress;
use crate::session::{self, Events};
use crate::{blob, manifest};

/// Pulls the image that `reference` names, for the platform in `options`, and names it in the
/// store. Blobs that are there already are not fetched again; nothing is kept of a failed pull but
/// whole blobs, which the next one finds.
///
/// Blocks; must not be called from async code.
pub fn pull(
    store: &Store,
    reference: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Image, PullError> {
    let fail = |cause| PullError { reference: reference.clone(), cause: Box::new(cause) };
    session::run(progress, async |events| image(store, reference, options, events).await)
        .map_err(fail)
}

async fn image(
    store: &Store,
    reference: &Reference,
    options: &Options,
    events: Events,
) -> Result<Image, Cause> {
    // the collector must not take blobs that no manifest names yet
    let _lease = store.lease()?;
    let client = session::reach(reference, "pull", options, &events).await?;
    let found = manifest::find(&client, store, reference, &events).await?;
    events.send(found.resolved());
    let config = &found.manifest.config;
    if config.size > MAX_DOCUMENT {
        let what = "the image's config".to_owned();
        return Err(Cause::TooLarge { what, size: config.size, max: MAX_DOCUMENT });
    }
    let blobs = std::iter::once(config).chain(&found.manifest.layers);
    blobs_of(&client, store, blobs, &events).await?;
    let config = store.blobs().read_bounded(&config.digest, MAX_DOCUMENT)?;
    let image = store.images().put(&found.bytes, &config, Some(reference))?;
    store.images().tag(&reference.at(found.top), &image.digest)?;
    Ok(image)
}

/// Fetches blobs side by side; the first that fails ends the others.
async fn blobs_of(
    client: &Arc<Client>,
    store: &Store,
    blobs: impl Iterator<Item = &Descriptor>,
    events: &Events,
) -> Result<(), Cause> {
    let slots = Arc::new(Semaphore::new(client.options().limits.parallel.max(1)));
    let mut seen = BTreeSet::new();
    let mut tasks = JoinSet::new();
    for blob in blobs.filter(|blob| seen.insert(&blob.digest)) {
        let (client, store) = (Arc::clone(client), store.clone());
        let (blob, events, slots) = (blob.clone(), events.clone(), Arc::clone(&slots));
        tasks.spawn(async move {
            let _slot = slots.acquire().await;
            blob::fetch(&client, &store, &blob, &events).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("fetching a blob does not panic")?;
    }
    Ok(())
}
