//! Start, hand-over and end of the process.
//!
//! ```text
//! old proxy serving                      new proxy starting
//!    │ <──────────── take_over ─────────────│   old: no changes from here on
//!    │ ───── sockets, health of targets ───>│   new: reads routes.json, serves on the same sockets
//!    │                                      │   new: replaces the control socket
//!    │ <──────────── lame_duck ─────────────│   old: stops accepting, `Connection: close`
//!    │ ────────────── quiet ───────────────>│   new: accepts changes from here on
//!    │ (finishes what is in flight, exits)  │   new: drains count from here on
//! ```
//!
//! If the new one dies before `lame_duck`, the old one goes on as if nothing had been.

mod options;
mod takeover;

pub use options::{LameDuck, ProxyOptions};

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{RwLock, mpsc, watch};
use tokio::task::LocalSet;

use crate::control::server::{self, Control, Predecessor};
use crate::control::{ListenerInfo, Reply, recv_listeners};
use crate::dns::{Dns, Resolvers};
use crate::listen::{self, BindError, HeldListener};
use crate::persist::{StateError, StateFile};
use crate::prober;
use crate::registry::{KnownHealth, Registry};
use crate::worker::{ClientLimits, Command, Hub, Worker};

/// Why a proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("use the proxy's state in `{}`", folder.display())]
    State { folder: PathBuf, source: StateError },
    #[error("use the folder `{}`", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("start listening")]
    Bind(#[from] BindError),
    #[error("receive listening sockets")]
    Sockets(#[source] io::Error),
    #[error("serve the control socket `{}`", path.display())]
    Control { path: PathBuf, source: io::Error },
    #[error("take over from the proxy at `{}`: {reason}", path.display())]
    TakeOver { path: PathBuf, reason: String },
    #[error("start the proxy's threads")]
    Threads(#[source] io::Error),
    /// Something that should never happen did; the log says what.
    #[error("the proxy's control thread died")]
    Died,
}

/// A proxy that runs in threads of this process.
#[derive(Debug)]
pub struct Running {
    control_socket: PathBuf,
    listeners: Vec<ListenerInfo>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Where [`crate::control::Client::connect`] finds it.
    pub fn control_socket(&self) -> &Path {
        &self.control_socket
    }

    /// What it listens on, with the ports that were chosen.
    pub fn listeners(&self) -> &[ListenerInfo] {
        &self.listeners
    }

    /// Waits for its end: after SIGTERM, [`crate::control::Client::lame_duck`], or a hand-over.
    pub fn join(self) -> Result<(), StartError> {
        self.thread.join().map_err(|_panic| StartError::Died)
    }
}

/// The `proxy` command: runs until told to end and everything in flight has ended.
pub fn run(options: ProxyOptions) -> Result<(), StartError> {
    start(options)?.join()
}

/// Starts a proxy; when this returns it accepts connections.
pub fn start(options: ProxyOptions) -> Result<Running, StartError> {
    listen::raise_file_limit();
    let control_socket = options.control_socket.clone();
    let (told, started) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("proxy-control".into())
        .spawn(move || control_thread(options, &told))
        .map_err(StartError::Threads)?;
    let listeners = started.recv().unwrap_or(Err(StartError::Died))?;
    Ok(Running { control_socket, listeners, thread })
}

type Started = std::sync::mpsc::SyncSender<Result<Vec<ListenerInfo>, StartError>>;

/// Everything but client connections: start, control, probes, DNS, signals, end.
fn control_thread(options: ProxyOptions, told: &Started) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(told.send(Err(StartError::Threads(error)))),
    };
    LocalSet::new().block_on(&runtime, async {
        match Proxy::start(options).await {
            Ok(proxy) => {
                told.send(Ok(proxy.listeners())).ok();
                proxy.until_the_end().await;
            }
            Err(error) => drop(told.send(Err(error))),
        }
    });
}

/// A started proxy, on its control thread.
struct Proxy {
    control: Rc<Control>,
    lame_duck: LameDuck,
    handle_signals: bool,
    threads: Vec<JoinHandle<()>>,
    /// Closed when every worker has ended.
    ended: mpsc::Receiver<()>,
}

impl Proxy {
    async fn start(mut options: ProxyOptions) -> Result<Self, StartError> {
        let file = StateFile::open(&options.state_folder).map_err(|source| StartError::Folder {
            folder: options.state_folder.clone(),
            source,
        })?;
        let mut taken = takeover::begin(&options)?;
        let listeners = listeners(&mut options, taken.as_mut())?;
        let known = taken.as_ref().map(takeover::TakeOver::health).unwrap_or_default();
        let (hub, receivers) = hub(&options, registry(&options, file, &known)?);
        let (threads, ended, own) = spawn(&options, &hub, receivers)?;
        let worker = Worker::new(Arc::clone(&hub), hub.acceptors().len(), options.seed);
        tokio::task::spawn_local(Rc::clone(&worker).run(own));
        tokio::task::spawn_local(prober::run(Arc::clone(&hub.registry)));
        let resolvers =
            Resolvers::new(std::mem::take(&mut options.resolvers), options.resolv_conf.take());
        let dns = Dns::new(resolvers);
        let phase = if taken.is_some() { Predecessor::Serving } else { Predecessor::Gone };
        let (phase, predecessor) = watch::channel(phase);
        let control = Rc::new(Control {
            hub: Arc::clone(&hub),
            worker,
            dns: Rc::clone(&dns),
            listeners: RefCell::default(),
            predecessor,
            changes: Arc::new(RwLock::new(())),
            sessions: server::sessions(),
        });
        if let Reply::Error { message } = control.serve(listeners) {
            return Err(StartError::Sockets(io::Error::other(message)));
        }
        tokio::task::spawn_local(dns.run(Arc::clone(&hub.registry)));
        let socket = server::bind(&options.control_socket).map_err(|source| {
            StartError::Control { path: options.control_socket.clone(), source }
        })?;
        tokio::task::spawn_local(server::run(Rc::clone(&control), socket));
        if let Some(taken) = taken {
            taken.finish(options.lame_duck, phase).map_err(StartError::Threads)?;
        }
        let (lame_duck, handle_signals) = (options.lame_duck, options.handle_signals);
        Ok(Self { control, lame_duck, handle_signals, threads, ended })
    }

    fn listeners(&self) -> Vec<ListenerInfo> {
        self.control.listeners.borrow().iter().map(|listener| listener.info.clone()).collect()
    }

    async fn until_the_end(mut self) {
        let LameDuck { idle_grace, deadline } = self.lame_duck;
        if self.handle_signals {
            tokio::select! {
                () = terminated() => {
                    tracing::info!("finishing what is in flight");
                    self.control.begin_lame_duck(idle_grace, deadline);
                }
                _ = self.ended.recv() => {}
            }
        }
        while self.ended.recv().await.is_some() {}
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

/// SIGTERM or SIGINT.
async fn terminated() {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot watch for signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn registry(
    options: &ProxyOptions,
    file: StateFile,
    known: &KnownHealth,
) -> Result<Arc<Registry>, StartError> {
    let loaded = file
        .load()
        .map_err(|source| StartError::State { folder: options.state_folder.clone(), source })?;
    if let Some(problem) = &loaded.problem {
        tracing::error!(problem, "routes on disk are damaged");
    }
    Ok(Arc::new(Registry::restore(file, loaded, known)))
}

/// Every socket to serve on: handed over, inherited, received, and bound here for what is left.
fn listeners(
    options: &mut ProxyOptions,
    taken: Option<&mut takeover::TakeOver>,
) -> Result<Vec<HeldListener>, StartError> {
    let mut all = taken.map(takeover::TakeOver::take_listeners).unwrap_or_default();
    all.append(&mut options.listeners);
    if let Some(from) = options.sockets_from.take() {
        all.extend(recv_listeners(&from).map_err(StartError::Sockets)?);
    }
    for addr in &options.listen {
        let there = |held: &HeldListener| held.info.addr == *addr && addr.port() != 0;
        if !all.iter().any(there) {
            all.push(HeldListener::bind(*addr)?);
        }
    }
    Ok(all)
}

type Receivers = Vec<mpsc::UnboundedReceiver<Command>>;

fn hub(options: &ProxyOptions, registry: Arc<Registry>) -> (Arc<Hub>, Receivers) {
    let count = options.workers.max(1);
    let (commands, receivers) = (0..=count).map(|_| mpsc::unbounded_channel()).unzip();
    let hub = Arc::new(Hub {
        registry,
        limits: ClientLimits {
            first_head: options.head_timeout,
            keep_alive: options.keep_alive_timeout,
            head_bytes: options.max_head_bytes,
        },
        access_log: options.access_log,
        loads: (0..=count).map(|_| AtomicUsize::new(0)).collect(),
        commands,
        accepted: AtomicU64::new(0),
        rejected: AtomicU64::new(0),
        lame: AtomicBool::new(false),
        accepting: AtomicUsize::new(count),
    });
    hub.registry.warmers.are(hub.acceptors());
    (hub, receivers)
}

type Spawned = (Vec<JoinHandle<()>>, mpsc::Receiver<()>, mpsc::UnboundedReceiver<Command>);

/// One thread per worker; what is left is the control thread's own command queue.
fn spawn(
    options: &ProxyOptions,
    hub: &Arc<Hub>,
    mut receivers: Receivers,
) -> Result<Spawned, StartError> {
    let own = receivers.pop().expect("there is one queue more than workers");
    let (alive, ended) = mpsc::channel(1);
    let mut threads = Vec::new();
    for (index, receiver) in receivers.into_iter().enumerate() {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime: Runtime = runtime.map_err(StartError::Threads)?;
        let (hub, alive) = (Arc::clone(hub), alive.clone());
        // Ids of different threads must differ; the multiplier spreads neighbouring indices.
        let spread = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let seed = options.seed ^ spread;
        let work = move || {
            let worker = async { Worker::new(hub, index, seed).run(receiver).await };
            LocalSet::new().block_on(&runtime, worker);
            drop(alive);
        };
        let thread = thread::Builder::new().name(format!("proxy-{index}")).spawn(work);
        threads.push(thread.map_err(StartError::Threads)?);
    }
    Ok((threads, ended, own))
}
