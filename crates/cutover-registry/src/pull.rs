//! [`pull`]: reference → manifest → blobs → image in the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cutover_core::Reference;
use cutover_core::oci::Descriptor;
use cutover_core::reference::DEFAULT_REGISTRY;
use cutover_store::{Image, MAX_DOCUMENT, Store};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::error::{Cause, PullError};
use crate::http::{Address, Ask, Client};
use crate::options::Options;
use crate::progress::{Event, Progress};
use crate::retry::Retries;
use crate::{blob, manifest};

/// Where docker.io's registry really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| fail(Cause::Runtime(error)))?;
    runtime.block_on(run(store, reference, options, progress)).map_err(fail)
}

/// Tells the pulling thread what happens in its tasks.
#[derive(Clone, Debug)]
pub(crate) struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    pub(crate) fn send(&self, event: Event) {
        // nobody listens any more when the pull has already failed
        self.0.send(event).ok();
    }

    pub(crate) fn retrying(&self, what: &str, cause: &Cause, pause: Duration) {
        tracing::debug!(what, %cause, ?pause, "retrying");
        self.send(Event::Retrying { what: what.to_owned(), reason: cause.to_string(), pause });
    }
}

/// Drives the pull and hands its events to `progress`.
async fn run(
    store: &Store,
    reference: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Image, Cause> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let work = image(store, reference, options, Events(sender));
    tokio::pin!(work);
    let result = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => progress.on(&event),
            result = &mut work => break result,
        }
    };
    while let Ok(event) = events.try_recv() {
        progress.on(&event);
    }
    result
}

async fn image(
    store: &Store,
    reference: &Reference,
    options: &Options,
    events: Events,
) -> Result<Image, Cause> {
    // the collector must not take blobs that no manifest names yet
    let _lease = store.lease()?;
    let client = Arc::new(reach(reference, options, &events).await?);
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

/// A client for the registry, which has answered as one.
async fn reach(reference: &Reference, options: &Options, events: &Events) -> Result<Client, Cause> {
    let host = match reference.registry() {
        DEFAULT_REGISTRY => DOCKER_HUB,
        other => other,
    };
    let address = |scheme: &str| {
        let protocol = || Cause::Protocol {
            host: host.to_owned(),
            message: "it is not a valid address".to_owned(),
        };
        Address::parse(&format!("{scheme}://{host}/v2/")).ok_or_else(protocol)
    };
    let secure = address("https")?;
    let plain = options.plain_http || secure.is_loopback();
    let base = if plain { address("http")? } else { secure.clone() };
    let client = Client::new(base, reference.repository(), options.clone());
    match ping(&client, events).await {
        Ok(()) => Ok(client),
        // a registry with TLS on this machine hangs up on plain HTTP, or says 400 to it
        Err(first @ (Cause::Broken { .. } | Cause::Status { status: 400, .. }))
            if plain && !options.plain_http =>
        {
            let client = Client::new(secure, reference.repository(), options.clone());
            match ping(&client, events).await {
                Ok(()) => Ok(client),
                // it did not speak TLS either: the first answer says more
                Err(Cause::Tls { source, .. }) if !is_about_trust(&source) => Err(first),
                Err(cause) => Err(cause),
            }
        }
        Err(cause) => Err(cause),
    }
}

/// Whether TLS was spoken but the certificate not trusted, rather than no TLS at all.
fn is_about_trust(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
}

/// Asks whether a registry is there at all: its own errors are clearer than those of a manifest
/// that cannot be had. A 401 is a registry's answer too.
async fn ping(client: &Client, events: &Events) -> Result<(), Cause> {
    let ask = Ask { path: "/v2/".to_owned(), what: "`/v2/`".to_owned(), accept: None, from: 0 };
    let mut retries = Retries::new(client.options().limits);
    loop {
        let result = client.send(&client.base, &ask, None).await;
        let cause = match result {
            Ok(response) => match response.head.status.as_u16() {
                200 | 401 | 403 => {
                    return response.body(MAX_DOCUMENT, "the answer").await.map(drop);
                }
                // let the manifest's request say how long to wait
                429 => return Ok(()),
                status @ (400 | 500..) => Cause::Status {
                    host: client.base.authority(),
                    what: ask.what.clone(),
                    status,
                    message: String::new(),
                },
                status => {
                    return Err(Cause::NotARegistry {
                        host: client.base.authority(),
                        message: format!("it answered {status} for `/v2/`"),
                    });
                }
            },
            // whoever is not there at the first attempt is most likely not there at all
            Err(cause @ (Cause::Connect { .. } | Cause::Timeout { .. } | Cause::Broken { .. })) => {
                return Err(cause);
            }
            Err(cause) => cause,
        };
        let Some(pause) = retries.after(&cause) else { return Err(cause) };
        events.retrying(&ask.what, &cause, pause);
        tokio::time::sleep(pause).await;
    }
}

/// Runs `attempt` until it succeeds or trying again is pointless.
pub(crate) async fn retrying<T>(
    client: &Client,
    events: &Events,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, Cause>,
) -> Result<T, Cause> {
    let mut retries = Retries::new(client.options().limits);
    loop {
        let cause = match attempt().await {
            Ok(value) => return Ok(value),
            Err(cause) => cause,
        };
        let Some(pause) = retries.after(&cause) else { return Err(cause) };
        events.retrying(what, &cause, pause);
        tokio::time::sleep(pause).await;
    }
}
