//! The embedded registry: the server side of the OCI distribution specification 1.1.
//!
//! ```text
//! listen ──> handle ──> route, gate            who may do what
//!                │
//!                ├──> store ──> index          reads: memory
//!                │      ├─────> writer, change decisions: one thread, many a commit
//!                │      ├─────> upload, blobs  bytes: files
//!                │      └─────> db
//!                └──> body
//! ```
//!
//! Invariants: what was acknowledged is on disk; nothing is visible before it is; a body is never in
//! memory as a whole, but for a manifest of 4 MiB at most; manifests are kept byte for byte; a
//! refusal is the specification's JSON.

pub mod access;
mod access_log;
mod blobs;
mod body;
mod care;
mod change;
mod control;
mod db;
mod document;
mod gate;
mod guard;
mod handle;
mod history;
mod index;
mod limits;
mod listen;
mod metrics;
mod name;
mod policy;
mod range;
mod refusal;
mod route;
mod store;
mod tls;
mod upload;
mod webhook;
mod wire;
mod writer;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use access_log::AccessLog;
pub use body::Body;
pub use care::{CareError, Collected, Damage, Moved, Order, Report, care};
pub use document::MANIFEST_MAX;
pub use gate::{Action, Ask, Event, Gate, Open, Other, Verdict, Who};
pub use guard::{Guard, Observer};
pub use history::Entry;
pub use limits::Buckets;
pub use metrics::Metrics;
pub use policy::{Immutable, Policy};
pub use refusal::{Code, Refusal};
pub use store::{Ambient, OpenError};
pub use tls::Tls;
pub use webhook::{WebhookError, WebhookOptions, Webhooks};

use handle::Shared;
use store::Store;

/// Everything that can be chosen.
#[derive(Debug)]
pub struct Options {
    pub listen: Vec<SocketAddr>,
    /// Made if it is not there.
    pub data: PathBuf,
    pub policy: Policy,
    pub gate: Arc<dyn Gate>,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
    pub ambient: Ambient,
    /// Threads that serve; 0 for one a core.
    pub threads: usize,
    /// How long a client may be silent in the middle of a body.
    pub idle: Duration,
}

impl Options {
    pub fn new(data: PathBuf, ambient: Ambient) -> Self {
        Self {
            listen: Vec::new(),
            data,
            policy: Policy::default(),
            gate: Arc::new(Open),
            tls: None,
            ambient,
            threads: 0,
            idle: handle::IDLE,
        }
    }
}

/// Why the registry could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot open the registry's data")]
    Open(#[from] OpenError),
    #[error("cannot listen on {addr}")]
    Bind { addr: SocketAddr, source: io::Error },
    #[error("cannot start the registry's threads")]
    Threads(#[source] io::Error),
}

/// A registry that serves in threads of this process.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    end: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
    control: Option<control::Control>,
    writer: Option<JoinHandle<()>>,
}

/// Starts a registry; when this returns it accepts connections.
pub fn start(options: Options) -> Result<Running, StartError> {
    let (mut store, writer) = Store::open(&options.data, options.policy, options.ambient)?;
    store.started = store.now();
    let store = Arc::new(store);
    // a socket's path may not be long; without it the registry has to be stopped for its care
    let control = control::Control::start(Arc::clone(&store))
        .inspect_err(|error| tracing::warn!(%error, "cannot take orders on `control.sock`"));
    let limits = upload::Limits { idle: options.idle, rate: 1024 };
    let shared = Arc::new(Shared { store, gate: options.gate, tls: options.tls, limits });
    let (end, ending) = watch::channel(false);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if options.threads == 0 { cores } else { options.threads };
    let mut running = Running {
        addresses: Vec::new(),
        end,
        workers: Vec::new(),
        control: control.ok(),
        writer: Some(writer),
    };
    for addr in options.listen {
        let bind = |source| StartError::Bind { addr, source };
        let listener = TcpListener::bind(addr).map_err(bind)?;
        running.addresses.push(listener.local_addr().map_err(bind)?);
        for number in 0..threads {
            let socket = listener.try_clone().map_err(bind)?;
            let name = format!("registry-{number}");
            let worker = listen::worker(name, socket, Arc::clone(&shared), ending.clone());
            running.workers.push(worker.map_err(StartError::Threads)?);
        }
    }
    Ok(running)
}

impl Running {
    /// Where it listens, with the ports that were chosen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends it: no new connection, requests in flight are finished, everything is written.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.send_replace(true);
        for worker in self.workers.drain(..) {
            drop(worker.join());
        }
        drop(self.control.take());
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}
