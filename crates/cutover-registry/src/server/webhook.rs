//! [`Webhooks`]: whoever wants to know is told of pushes and deletions, as CloudEvents 1.0.
//!
//! A queue of bounded length for each address, and one thread for all: a receiver that is slow or
//! away holds up nobody, and loses events once its queue is full, which is logged. An event is tried
//! again, later each time, and those behind it wait, so that order is kept. What was not delivered
//! when the server ends is lost: whoever must know everything asks the registry for its histories.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cutover_core::oci::Platform;
use hyper::Method;
use ring::hmac;
use serde_json::json;
use tokio::sync::mpsc;

use super::gate::Event;
use super::guard::Observer;
use crate::http::{Address, Ask, Client, Payload, Target};
use crate::options::{Limits, Options, Proxies, Tls};

/// Events that wait for one address.
const QUEUE: usize = 1000;
/// A minute and a half in all, then an event is given up.
const ATTEMPTS: u32 = 8;

/// Whom to tell, and how.
#[derive(Clone)]
pub struct WebhookOptions {
    pub urls: Vec<String>,
    /// Signs each event: `X-Cutover-Signature: sha256=HEX`, the HMAC of the body.
    pub secret: Option<String>,
    /// What events call this registry.
    pub source: String,
    /// The pause after the first failure; it doubles with each further one.
    pub backoff: Duration,
    pub tls: Tls,
    pub proxies: Proxies,
    /// Time since 1970.
    pub clock: fn() -> Duration,
    /// Makes ids that no other start of the server makes.
    pub random: fn() -> [u8; 16],
}

impl std::fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // addresses may hold secrets, too
        f.debug_struct("WebhookOptions").field("source", &self.source).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("`{0}` is not an address of a webhook: it must be `http://…` or `https://…`")]
    Address(String),
    #[error("cannot start the thread of webhooks")]
    Thread(#[source] std::io::Error),
}

/// Tells others.
pub struct Webhooks {
    queues: Vec<(String, mpsc::Sender<Bytes>)>,
    source: String,
    clock: fn() -> Duration,
    prefix: String,
    count: AtomicU64,
}

impl Webhooks {
    pub fn start(options: &WebhookOptions) -> Result<Self, WebhookError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(WebhookError::Thread)?;
        let mut queues = Vec::new();
        for url in &options.urls {
            let wrong = || WebhookError::Address(url.clone());
            let address = Address::parse(url).ok_or_else(wrong)?;
            let (sender, events) = mpsc::channel(QUEUE);
            // its path may hold a secret
            let shown = address.authority();
            runtime.spawn(Receiver::new(address, options).run(events));
            queues.push((shown, sender));
        }
        // ends with the process: its tasks end with their queues
        let thread = std::thread::Builder::new().name("registry-webhooks".to_owned());
        thread
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .map_err(WebhookError::Thread)?;
        Ok(Self {
            queues,
            source: options.source.clone(),
            clock: options.clock,
            prefix: cutover_core::digest::hex(&(options.random)()),
            count: AtomicU64::new(0),
        })
    }

    /// The event as others read it; `None` for what nobody is told of.
    fn cloud_event(&self, event: &Event) -> Option<Bytes> {
        let (kind, repository, data) = match event {
            Event::Pushed { repository, digest, media_type, tags, who } => (
                "push",
                repository,
                json!({"repository": repository, "digest": digest, "mediaType": media_type,
                    "tags": tags, "actor": &*who.0}),
            ),
            Event::Deleted { repository, digest, tag, who } => (
                "delete",
                repository,
                json!({"repository": repository, "digest": digest, "tag": tag,
                    "actor": &*who.0}),
            ),
            _ => return None,
        };
        let time = i64::try_from((self.clock)().as_millis()).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(time).unwrap_or_default();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let event = json!({
            "specversion": "1.0",
            "id": format!("{}-{number}", self.prefix),
            "source": self.source,
            "type": format!("io.cutover.registry.{kind}"),
            "subject": repository,
            "time": time.to_string(),
            "datacontenttype": "application/json",
            "data": data,
        });
        Some(event.to_string().into())
    }
}

impl Observer for Webhooks {
    fn observe(&self, event: &Event) {
        let Some(body) = self.cloud_event(event) else { return };
        for (host, queue) in &self.queues {
            if queue.try_send(body.clone()).is_err() {
                tracing::warn!(host, "a webhook's queue is full: an event is lost");
            }
        }
    }
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<_> = self.queues.iter().map(|(host, _)| host).collect();
        f.debug_tuple("Webhooks").field(&hosts).finish()
    }
}

/// One address.
struct Receiver {
    client: Client,
    address: Address,
    key: Option<hmac::Key>,
    backoff: Duration,
}

impl Receiver {
    fn new(address: Address, options: &WebhookOptions) -> Self {
        let mut client = Options::new(Platform::new("", ""));
        (client.tls, client.proxies) = (options.tls.clone(), options.proxies.clone());
        client.limits = Limits { idle: Duration::from_secs(15), ..Limits::default() };
        let key = options.secret.as_ref();
        let key = key.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        let host = address.authority();
        let client = Client::new(address.clone(), &host, "", "", client);
        Self { client, address, key, backoff: options.backoff }
    }

    async fn run(self, mut events: mpsc::Receiver<Bytes>) {
        while let Some(body) = events.recv().await {
            let host = self.address.authority();
            for attempt in 1..=ATTEMPTS {
                match self.deliver(&body).await {
                    Ok(()) => break,
                    Err(Failed { reason, again }) if again && attempt < ATTEMPTS => {
                        tracing::debug!(host, reason, attempt, "a webhook failed: trying again");
                        tokio::time::sleep(self.backoff * (1 << (attempt - 1))).await;
                    }
                    Err(Failed { reason, .. }) => {
                        tracing::warn!(host, reason, "a webhook failed: its event is lost");
                        break;
                    }
                }
            }
        }
    }

    async fn deliver(&self, body: &Bytes) -> Result<(), Failed> {
        let mut ask = Ask::new(Method::POST, Target::At(self.address.clone()), "an event")
            .header("content-type", "application/cloudevents+json; charset=utf-8")
            .payload(Payload::Bytes(body.clone()));
        if let Some(key) = &self.key {
            let signature = hmac::sign(key, body);
            let text = cutover_core::digest::hex(signature.as_ref());
            ask = ask.header("x-cutover-signature", format!("sha256={text}"));
        }
        let sent = self.client.send(&self.address, &ask, None).await;
        let response = sent.map_err(|cause| Failed { reason: cause.to_string(), again: true })?;
        let status = response.head.status;
        // the connection is for the next event
        response.finish().await.ok();
        match status.as_u16() {
            200..=299 => Ok(()),
            // what it does not take it will not take later
            400..=407 | 410..=428 => Err(Failed { reason: status.to_string(), again: false }),
            _ => Err(Failed { reason: status.to_string(), again: true }),
        }
    }
}

struct Failed {
    reason: String,
    again: bool,
}
