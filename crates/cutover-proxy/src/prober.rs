//! Probes every target for as long as it is one.
//!
//! One task per target object drives its [`crate::health::Health`]: sleep, probe, tell, obey. The
//! decisions are all in the state machine.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cutover_core::service::HttpHealth;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinHandle};

use crate::health::{Action, Event};
use crate::registry::{Registry, chain};
use crate::table::Service;
use crate::target::Target;

/// How long a TCP probe may take.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// A task that ends with its owner.
struct Watch {
    health: Option<HttpHealth>,
    task: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps one probing task per target in force; never returns.
pub(crate) async fn run(registry: Arc<Registry>) {
    let mut epoch = registry.epoch.subscribe();
    let mut watches = HashMap::<u64, Watch>::new();
    loop {
        let mut live = HashMap::new();
        for service in registry.shared.services().values() {
            for target in &service.targets {
                let known = watches.remove(&target.serial);
                let same = known.filter(|watch| watch.health == service.spec.health);
                let watch = same.unwrap_or_else(|| start(service, target));
                live.insert(target.serial, watch);
            }
        }
        // Dropping the rest ends their tasks.
        watches = live;
        if epoch.changed().await.is_err() {
            return;
        }
    }
}

fn start(service: &Service, target: &Arc<Target>) -> Watch {
    let health = service.spec.health.clone();
    let host = service.spec.routes.iter().find_map(|route| route.host.clone());
    // A wildcard is no host one can ask for.
    let host = host.filter(|host| !host.starts_with('*'));
    let probe = match &health {
        None => Probe::Tcp,
        Some(health) => {
            Probe::Http(HttpHealth { host: health.host.clone().or(host), ..health.clone() })
        }
    };
    let name = service.spec.service.clone();
    let task: JoinHandle<()> = tokio::task::spawn_local(watch(name, Arc::clone(target), probe));
    Watch { health, task: task.abort_handle() }
}

async fn watch(service: String, target: Arc<Target>, probe: Probe) {
    let mut actions = target.on(Event::Start, Instant::now());
    loop {
        let mut next = None;
        for action in actions {
            match action {
                Action::ProbeAt(at) => next = Some(at),
                Action::Publish(state) => {
                    let (target, release) = (&*target.id, target.release);
                    tracing::info!(service, target, release, ?state, "target changed");
                }
                Action::StopProbing => {}
            }
        }
        let Some(at) = next else { return };
        tokio::time::sleep_until(at.into()).await;
        let event = match probe.run(target.addr).await {
            Ok(()) => Event::ProbePassed,
            Err(why) => Event::ProbeFailed(why),
        };
        actions = target.on(event, Instant::now());
    }
}

enum Probe {
    Tcp,
    Http(HttpHealth),
}

impl Probe {
    /// The reason, in words, when the target is not well.
    async fn run(&self, addr: SocketAddr) -> Result<(), String> {
        let (timeout, what) = match self {
            Self::Tcp => (TCP_TIMEOUT, format!("connecting to {addr}")),
            Self::Http(health) => (health.timeout, format!("GET {}", health.path)),
        };
        let attempt = async {
            match self {
                Self::Tcp => connect(addr).await.map(drop),
                Self::Http(health) => get(health, addr).await,
            }
        };
        match tokio::time::timeout(timeout, attempt).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(format!("{what} {why}")),
            Err(_elapsed) => Err(format!("{what} took longer than {timeout:?}")),
        }
    }
}

async fn connect(addr: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(addr).await.map_err(|error| format!("failed: {error}"))
}

/// A new connection each time: an idle one proves little, and an old one may lead elsewhere.
async fn get(health: &HttpHealth, addr: SocketAddr) -> Result<(), String> {
    let failed = |error: hyper::Error| format!("failed: {}", chain(&error));
    let addr = SocketAddr::new(addr.ip(), health.port.unwrap_or(addr.port()));
    let stream = connect(addr).await?;
    let host = health.host.clone().unwrap_or_else(|| addr.to_string());
    let request = Request::get(&health.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "cutover-proxy")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("is no valid request: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut connection = std::pin::pin!(connection);
    let answer = sender.send_request(request);
    let mut answer = std::pin::pin!(answer);
    let response = tokio::select! { biased;
        response = &mut answer => response,
        _ = &mut connection => answer.await,
    };
    let status = response.map_err(failed)?.status().as_u16();
    if health.status.contains(status) { Ok(()) } else { Err(format!("answered {status}")) }
}
