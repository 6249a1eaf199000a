//! Verification: requests to an address that has no route yet, through the path of all requests.
//!
//! The check is written as HTTP into one end of an in-memory pipe; the other end is served by
//! [`serve_http`], the same function that serves clients, with the target fixed. What passes here
//! will pass for clients: header rules, framing, timeouts and errors are the same code.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cutover_core::service::HttpCheck;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::control::{ProbeResult, ProbeSpec, ServiceSpec, TargetSpec, TargetState};
use crate::handler::Pick;
use crate::health::Rhythm;
use crate::registry::chain;
use crate::table::Service;
use crate::target::Target;
use crate::worker::{Slot, Worker, serve_http};

/// How much of a body is reported.
const REPORTED: usize = 1 << 10;

/// How much of a body is searched for a text; the rest is not read.
const SEARCHED: usize = 1 << 20;

/// Runs every check, one after the other.
pub(crate) async fn probe(worker: &Rc<Worker>, spec: ProbeSpec) -> Vec<ProbeResult> {
    let wanted = TargetSpec { id: spec.id, addr: spec.addr, release: 0, proven: false };
    let service = ServiceSpec {
        service: "probe".to_owned(),
        generation: 0,
        routes: Vec::new(),
        targets: vec![wanted.clone()],
        health: None,
        options: spec.options,
    };
    let service = Service::new(service, Vec::new(), None);
    let mut results = Vec::new();
    for check in &spec.checks {
        let rhythm = Rhythm { interval: Duration::MAX, healthy_after: 1, unhealthy_after: 1 };
        let target = Target::new(&wanted, TargetState::Adding, rhythm);
        results.push(run(worker, Arc::clone(&service), target, check).await);
        // Its connections are no use to anyone.
        worker.pool.forget_unlisted(|serial| worker.is_live(serial));
    }
    results
}

async fn run(
    worker: &Rc<Worker>,
    service: Arc<Service>,
    target: Arc<Target>,
    check: &HttpCheck,
) -> ProbeResult {
    let start = Instant::now();
    let mut seen = Seen::default();
    let exchange = exchange(worker, service, Arc::clone(&target), check, &mut seen, start);
    let outcome = match tokio::time::timeout(check.timeout, exchange).await {
        Err(_elapsed) => Err(format!("did not answer within {:?}", check.timeout)),
        Ok(Err(why)) => Err(why),
        // The proxy answered in the target's place, and its text says why.
        Ok(Ok(())) if target.stats.snapshot().failed > 0 => {
            seen.status = 0;
            Err(seen.text().lines().nth(2).unwrap_or("did not answer").to_owned())
        }
        Ok(Ok(())) => verdict(check, &seen),
    };
    let reason = outcome.err().map(|why| format!("{} {} {why}", check.method, check.path));
    ProbeResult {
        passed: reason.is_none(),
        reason,
        status: seen.status,
        body: seen.text(),
        headers: seen.headers,
        body_bytes: seen.body_bytes,
        to_head: seen.to_head,
        total: start.elapsed(),
    }
}

/// What has come so far; it is reported also when the rest never comes.
#[derive(Debug, Default)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    body_bytes: u64,
    to_head: Duration,
}

impl Seen {
    fn head(&mut self, response: &Response<Incoming>, after: Duration) {
        self.status = response.status().as_u16();
        self.to_head = after;
        self.headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(REPORTED)]).into_owned()
    }
}

async fn exchange(
    worker: &Rc<Worker>,
    service: Arc<Service>,
    target: Arc<Target>,
    check: &HttpCheck,
    seen: &mut Seen,
    start: Instant,
) -> Result<(), String> {
    let request = request(check, target.addr)?;
    let (near, far) = tokio::io::duplex(64 << 10);
    worker.count_connection();
    let slot = Slot::connection(worker, HeaderValue::from_static("127.0.0.1"));
    let pick = Pick::Fixed(service, target);
    let served = serve_http(Rc::clone(worker), slot, TokioIo::new(far), pick);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(near));
    let (mut sender, connection) = handshake.await.map_err(|error| chain(&error))?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
        seen.head(&response, start.elapsed());
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("broke off its body: {}", chain(&error)))?;
            let Some(data) = frame.data_ref() else { continue };
            seen.body_bytes += u64::try_from(data.len()).unwrap_or_default();
            let room = SEARCHED - seen.body.len();
            seen.body.extend_from_slice(&data[..data.len().min(room)]);
            if seen.body.len() == SEARCHED {
                break;
            }
        }
        Ok(())
    };
    let mut talk = std::pin::pin!(talk);
    let mut connection = std::pin::pin!(async { tokio::join!(served, connection) });
    // Both ends live in this one future, so that giving up leaves nothing behind.
    tokio::select! { biased;
        done = &mut talk => done,
        _ = &mut connection => talk.await,
    }
}

fn request(check: &HttpCheck, addr: SocketAddr) -> Result<Request<Empty<Bytes>>, String> {
    let host = check.host.clone().unwrap_or_else(|| addr.to_string());
    let mut request = Request::builder()
        .method(check.method.as_str())
        .uri(check.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, "cutover-verify");
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    request.body(Empty::new()).map_err(|error| format!("is no valid request: {error}"))
}

fn verdict(check: &HttpCheck, seen: &Seen) -> Result<(), String> {
    if !check.status.contains(seen.status) {
        return Err(format!("answered {} (wanted {})", seen.status, check.status));
    }
    match &check.body_contains {
        Some(text) if !contains(&seen.body, text.as_bytes()) => {
            Err(format!("answered {}, but its body does not contain `{text}`", seen.status))
        }
        _ => Ok(()),
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

impl Worker {
    fn count_connection(&self) {
        self.hub.loads[self.index()].fetch_add(1, Ordering::Relaxed);
    }
}
