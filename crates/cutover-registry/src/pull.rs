//! [`pull`]: reference → manifest → blobs → image in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cutover_core::{Digest, Reference};
use cutover_store::{Image, ImageError, MAX_DOCUMENT, SnapshotError, Store};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::arrival::{Arrival, Arriving};
use crate::error::{Cause, PullError};
use crate::http::Client;
use crate::options::Options;
use crate::progress::{Event, Progress};
use crate::session::{self, Events};
use crate::{blob, manifest};

/// Pulls the image that `reference` names, for the platform in `options`, and names it in the
/// store. Layers are unpacked while they come. Blobs that are there already are not fetched again;
/// what is kept of a failed or killed pull is what the next one goes on with.
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
    for mirror in options.hosts.mirrors(reference.registry()) {
        let repository = reference.repository();
        let reached = session::reach_host(mirror, repository, "pull", options, &events).await;
        let pulled = match reached {
            Ok(client) => image_from(&client, store, reference, &events).await,
            Err(cause) => Err(cause),
        };
        match pulled {
            Ok(image) => return Ok(image),
            // a mirror may be down, or not have everything
            Err(cause) => events.retrying(&format!("mirror `{mirror}`"), &cause, Duration::ZERO),
        }
    }
    let client = session::reach(reference, "pull", options, &events).await?;
    let image = image_from(&client, store, reference, &events).await?;
    let layers = image.manifest.layers.iter().map(|layer| &layer.digest);
    let blobs = layers.chain([&image.config_digest]);
    let (registry, repository) = (reference.registry(), reference.repository());
    store.transfers().remember_sources(registry, repository, blobs)?;
    Ok(image)
}

async fn image_from(
    client: &Arc<Client>,
    store: &Store,
    reference: &Reference,
    events: &Events,
) -> Result<Image, Cause> {
    let found = manifest::find(client, store, reference, events).await?;
    events.send(found.resolved());
    let config = &found.manifest.config;
    if config.size > MAX_DOCUMENT {
        let what = "the image's config".to_owned();
        return Err(Cause::TooLarge { what, size: config.size, max: MAX_DOCUMENT });
    }
    // first: it says what the layers unpack to
    blob::fetch(client, store, config, &Arriving::new(Arrival::default()), events).await?;
    let config = store.blobs().read_bounded(&config.digest, MAX_DOCUMENT)?;
    let image = Image::parse(found.bytes.clone(), &config)?;
    layers(client, store, &image, events).await?;
    let image = store.images().put(&found.bytes, &config, Some(reference))?;
    store.images().tag(&reference.at(found.top), &image.digest)?;
    Ok(image)
}

/// Fetches the layers side by side; another thread unpacks each as it comes, lowest first. The
/// first that fails ends the others.
async fn layers(
    client: &Arc<Client>,
    store: &Store,
    image: &Image,
    events: &Events,
) -> Result<(), Cause> {
    let slots = Arc::new(Semaphore::new(client.options().limits.parallel.max(1)));
    let mut arrivals: BTreeMap<Digest, Arrival> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    for blob in &image.manifest.layers {
        if arrivals.contains_key(&blob.digest) {
            continue;
        }
        let arrival = Arrival::default();
        arrivals.insert(blob.digest.clone(), arrival.clone());
        // made here: a task that never runs must let the reader go, too
        let arriving = Arriving::new(arrival);
        let (client, store) = (Arc::clone(client), store.clone());
        let (blob, events, slots) = (blob.clone(), events.clone(), Arc::clone(&slots));
        tasks.spawn(async move {
            let _slot = slots.acquire().await;
            blob::fetch(&client, &store, &blob, &arriving, &events).await
        });
    }
    let unpacked = {
        let (store, image, events) = (store.clone(), image.clone(), events.clone());
        tokio::task::spawn_blocking(move || unpack(&store, &image, &arrivals, &events))
    };
    while let Some(done) = tasks.join_next().await {
        done.expect("fetching a blob does not panic")?;
    }
    if let Err(error) = unpacked.await.expect("unpacking does not panic") {
        tracing::debug!(%error, "cannot unpack while it comes");
        // once more from the blobs, which are whole now: a download may have begun anew
        let (store, image) = (store.clone(), image.clone());
        let again = move || store.snapshots().ensure(&image, &mut |_| ()).map(drop);
        let again = tokio::task::spawn_blocking(again).await.expect("unpacking does not panic");
        again.map_err(ImageError::from).map_err(Cause::Store)?;
    }
    Ok(())
}

fn unpack(
    store: &Store,
    image: &Image,
    arrivals: &BTreeMap<Digest, Arrival>,
    events: &Events,
) -> Result<(), SnapshotError> {
    let layers = &image.manifest.layers;
    store.snapshots().ensure_from(
        image,
        &mut |index| arrivals[&layers[index].digest].reader(),
        &mut |now| events.send(Event::Unpacking { digest: now.layer.digest.clone() }),
    )
}
