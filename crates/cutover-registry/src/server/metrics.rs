//! [`Metrics`]: what happened, counted, in the text that Prometheus reads.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use super::gate::Event;
use super::guard::Observer;

/// Readers at a time.
const READERS: usize = 16;
/// For a whole request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// Few values each: a label with repositories or clients would grow without end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    status: u16,
}

/// Counters of one registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Answer, Counter>,
    seconds: Histogram,
    sent: Counter,
    received: Counter,
    pushes: Counter,
    pulls: Counter,
    deletes: Counter,
    mounts: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        // from a cached manifest to a large blob
        let buckets = [0.000_1, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0];
        let mut metrics = Self {
            registry: Mutex::default(),
            requests: Family::default(),
            seconds: Histogram::new(buckets),
            sent: Counter::default(),
            received: Counter::default(),
            pushes: Counter::default(),
            pulls: Counter::default(),
            deletes: Counter::default(),
            mounts: Counter::default(),
        };
        let mut registry = Registry::with_prefix("cutover_registry");
        let all = &metrics;
        registry.register("requests", "Requests answered", all.requests.clone());
        let seconds = "Time from a request's head to the head of its answer, body read";
        registry.register("request_seconds", seconds, all.seconds.clone());
        registry.register("sent_bytes", "Bytes of answers, as announced", all.sent.clone());
        registry.register("received_bytes", "Bytes of blobs that were kept", all.received.clone());
        registry.register("pushes", "Manifests pushed", all.pushes.clone());
        registry.register("pulls", "Manifests pulled", all.pulls.clone());
        registry.register("deletes", "Tags, manifests and blobs deleted", all.deletes.clone());
        registry.register("mounts", "Blobs taken over from other repositories", all.mounts.clone());
        metrics.registry = Mutex::new(registry);
        metrics
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event) {
        match event {
            Event::Served { method, status, bytes, took, .. } => {
                let answer = Answer { method: known(method), status: status.as_u16() };
                self.requests.get_or_create(&answer).inc();
                self.seconds.observe(took.as_secs_f64());
                if *method != Method::HEAD {
                    self.sent.inc_by(*bytes);
                }
            }
            Event::Pushed { .. } => drop(self.pushes.inc()),
            Event::Pulled { .. } => drop(self.pulls.inc()),
            Event::Deleted { .. } => drop(self.deletes.inc()),
            Event::Uploaded { size, .. } => drop(self.received.inc_by(*size)),
            Event::Mounted { .. } => drop(self.mounts.inc()),
        }
    }
}

/// A client can invent methods.
fn known(method: &Method) -> &'static str {
    let known =
        [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::PATCH, Method::DELETE];
    match known.iter().position(|it| it == method) {
        Some(0) => "GET",
        Some(1) => "HEAD",
        Some(2) => "PUT",
        Some(3) => "POST",
        Some(4) => "PATCH",
        Some(5) => "DELETE",
        _ => "other",
    }
}

impl Metrics {
    /// All of it, as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    /// Serves `/metrics` in a thread that ends with the process; returns the address.
    pub fn serve(self: &Arc<Self>, listen: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let metrics = Arc::clone(self);
        let thread = std::thread::Builder::new().name("registry-metrics".to_owned());
        thread.spawn(move || runtime.block_on(metrics.run(listener)))?;
        Ok(address)
    }

    async fn run(self: Arc<Self>, listener: TcpListener) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "cannot serve metrics"),
        };
        let slots = Arc::new(Semaphore::new(READERS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let metrics = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request: Request<hyper::body::Incoming>| {
                    let answer = metrics.answer(request.method(), request.uri().path());
                    async { Ok::<_, std::convert::Infallible>(answer) }
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
                drop(http.serve_connection(TokioIo::new(stream), service).await);
                drop(slot);
            });
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if *method != Method::GET || path != "/metrics" {
            let mut response = Response::new(Full::new(Bytes::from_static(b"see /metrics\n")));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
        let mut response = Response::new(Full::new(self.text().into()));
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}
