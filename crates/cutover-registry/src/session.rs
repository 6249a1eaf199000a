//! One operation with one registry: reaching it, telling what happens, trying again.

use std::sync::Arc;
use std::time::Duration;

use cutover_core::Reference;
use cutover_core::reference::DEFAULT_REGISTRY;
use cutover_store::MAX_DOCUMENT;
use tokio::sync::mpsc;

use crate::error::Cause;
use crate::http::{Address, Ask, Client, Response};
use crate::options::Options;
use crate::progress::{Event, Progress};
use crate::retry::Retries;

/// Where docker.io's registry really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Tells the calling thread what happens in its tasks.
#[derive(Clone, Debug)]
pub(crate) struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    pub(crate) fn send(&self, event: Event) {
        // nobody listens any more when it has already failed
        self.0.send(event).ok();
    }

    pub(crate) fn retrying(&self, what: &str, cause: &Cause, pause: Duration) {
        tracing::debug!(what, %cause, ?pause, "retrying");
        self.send(Event::Retrying { what: what.to_owned(), reason: cause.to_string(), pause });
    }
}

/// Runs `work` to its end on a runtime of its own and hands its events to `progress`.
pub(crate) fn run<T>(
    progress: &dyn Progress,
    work: impl AsyncFnOnce(Events) -> Result<T, Cause>,
) -> Result<T, Cause> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Cause::Runtime)?;
    runtime.block_on(async {
        let (sender, mut events) = mpsc::unbounded_channel();
        let mut work = std::pin::pin!(work(Events(sender)));
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
    })
}

/// A client for the repository of `reference`, in a registry that has answered as one. `rights`
/// are what its tokens must allow.
pub(crate) async fn reach(
    reference: &Reference,
    rights: &str,
    options: &Options,
    events: &Events,
) -> Result<Arc<Client>, Cause> {
    reach_host(reference.registry(), reference.repository(), rights, options, events).await
}

/// The same for a mirror, or a registry without a repository.
pub(crate) async fn reach_host(
    name: &str,
    repository: &str,
    rights: &str,
    options: &Options,
    events: &Events,
) -> Result<Arc<Client>, Cause> {
    let host = if name == DEFAULT_REGISTRY { DOCKER_HUB } else { name };
    let address = |scheme: &str| {
        let protocol = || Cause::Protocol {
            host: host.to_owned(),
            message: "it is not a valid address".to_owned(),
        };
        Address::parse(&format!("{scheme}://{host}/v2/")).ok_or_else(protocol)
    };
    let mut options = options.clone();
    options.hosts.clone().tls(name, &mut options.tls)?;
    let insecure = options.hosts.is_insecure(name);
    let plain_only = options.plain_http;
    let (secure, plain) = (address("https")?, address("http")?);
    let client = |base: &Address| {
        Arc::new(Client::new(base.clone(), name, repository, rights, options.clone()))
    };
    // this machine's own are most likely plain; what is called insecure is so at second try
    let order: &[&Address] = match () {
        () if plain_only => &[&plain],
        () if secure.is_loopback() => &[&plain, &secure],
        () if insecure => &[&secure, &plain],
        () => &[&secure],
    };
    let first = client(order[0]);
    let cause = match ping(&first, events).await {
        Ok(()) => return Ok(first),
        Err(cause) => cause,
    };
    let Some(second) = order.get(1).filter(|_| speaks_otherwise(&cause)) else {
        return Err(cause);
    };
    let second = client(second);
    match ping(&second, events).await {
        Ok(()) => Ok(second),
        // it did not speak TLS either: the first answer says more
        Err(Cause::Tls { source, .. }) if !is_about_trust(&source) => Err(cause),
        Err(cause) => Err(cause),
    }
}

/// Whether the other side may speak TLS where we did not, or the reverse: one with TLS hangs up on
/// plain HTTP, or says 400 to it.
fn speaks_otherwise(cause: &Cause) -> bool {
    match cause {
        Cause::Broken { .. } | Cause::Status { status: 400, .. } => true,
        Cause::Tls { source, .. } => !is_about_trust(source),
        Cause::Connect { .. } => true,
        _ => false,
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
    let ask = Ask::get("/v2/", "`/v2/`");
    let mut retries = Retries::new(client.options().limits);
    loop {
        let result = client.send(&client.base.at("/v2/"), &ask, None).await;
        let cause = match result {
            Ok(response) => match response.head.status.as_u16() {
                200 | 401 | 403 => {
                    return response.body(MAX_DOCUMENT, "the answer").await.map(drop);
                }
                // let the next request say how long to wait
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

/// Asks until there is an answer or asking again is pointless.
pub(crate) async fn ask(client: &Client, events: &Events, ask: &Ask) -> Result<Response, Cause> {
    let mut retries = Retries::new(client.options().limits);
    loop {
        let cause = match client.ask(ask).await {
            Ok(response) => return Ok(response),
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
