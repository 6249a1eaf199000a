//! A worker: one thread, one runtime, its client connections and its pool.
//!
//! Everything here stays on its thread; the outside talks to it by [`Command`]s. Every client
//! connection and tunnel is a [`Conn`] in the worker's list, and one sweep over that list, a few
//! times a second, enforces all time limits: no request sets a timer of its own.

mod accept;
mod conn;
mod duck;
mod linger;

pub(crate) use accept::serve_http;
pub(crate) use conn::{Conn, Slot, Verdict};

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use tokio::sync::mpsc;

use crate::head::RequestIds;
use crate::registry::Registry;
use crate::upstream::Pool;
use crate::warm::Warming;
use accept::Acceptor;
use duck::Duck;

/// How often the time limits are looked at.
const SWEEP: Duration = Duration::from_millis(250);

/// The same while the process is ending.
const LAME_SWEEP: Duration = Duration::from_millis(20);

/// Limits towards clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLimits {
    /// From a new connection to its first complete head.
    pub(crate) first_head: Duration,
    /// From the end of a response to the next complete head.
    pub(crate) keep_alive: Duration,
    /// The longest head, in bytes. (Their number is hyper's limit: 100.)
    pub(crate) head_bytes: usize,
}

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) registry: Arc<Registry>,
    pub(crate) limits: ClientLimits,
    pub(crate) access_log: bool,
    /// Open client connections and tunnels of each worker.
    pub(crate) loads: Vec<AtomicUsize>,
    /// How to reach each worker; the last one is the control thread's and accepts nothing.
    pub(crate) commands: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) accepted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) lame: AtomicBool,
    /// Workers that still accept, and so may still send connections to others.
    pub(crate) accepting: AtomicUsize,
}

impl Hub {
    /// Sends a command to each worker. One that has ended needs none.
    pub(crate) fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in &self.commands {
            worker.send(command()).ok();
        }
    }

    pub(crate) fn connections(&self) -> u64 {
        let total: usize = self.loads.iter().map(|load| load.load(Ordering::Relaxed)).sum();
        total.try_into().unwrap_or(u64::MAX)
    }

    /// The workers that take client connections.
    pub(crate) fn acceptors(&self) -> &[mpsc::UnboundedSender<Command>] {
        &self.commands[..self.commands.len() - 1]
    }
}

/// What a worker can be told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept from this socket too.
    Serve(OwnedFd),
    /// A connection that a busier worker accepted.
    Adopt(TcpStream, SocketAddr),
    /// Open connections to targets of the next switch; `done` is dropped when they are there.
    Warm { warming: Arc<Warming>, done: mpsc::Sender<()> },
    /// Cut everything in flight on these targets.
    Cut(Arc<BTreeSet<u64>>),
    /// Stop accepting; end when everything has. `quiet` is dropped when no new request can start.
    LameDuck { idle_grace: Duration, deadline: Duration, quiet: mpsc::Sender<()> },
}

/// One thread's state.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) hub: Arc<Hub>,
    pub(crate) pool: Pool,
    pub(crate) http: http1::Builder,
    index: usize,
    ids: RefCell<RequestIds>,
    conns: RefCell<HashMap<u64, Rc<Conn>>>,
    next_conn: Cell<u64>,
    /// The time of the last sweep: good enough for limits of seconds.
    coarse_now: Cell<Instant>,
    live: RefCell<BTreeSet<u64>>,
    lame: Cell<bool>,
}

impl Worker {
    pub(crate) fn new(hub: Arc<Hub>, index: usize, seed: u64) -> Rc<Self> {
        let mut http = http1::Builder::new();
        http.max_header_size(hub.limits.head_bytes).header_read_timeout(None);
        Rc::new(Self {
            hub,
            pool: Pool::default(),
            http,
            index,
            ids: RefCell::new(RequestIds::new(seed)),
            conns: RefCell::default(),
            next_conn: Cell::new(0),
            coarse_now: Cell::new(Instant::now()),
            live: RefCell::default(),
            lame: Cell::new(false),
        })
    }

    /// The worker's place in [`Hub::loads`].
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn now(&self) -> Instant {
        self.coarse_now.get()
    }

    /// Whether responses must end their connection.
    pub(crate) fn is_lame(&self) -> bool {
        self.lame.get()
    }

    /// Whether a target object still gets requests, as far as this thread has heard.
    pub(crate) fn is_live(&self, serial: u64) -> bool {
        self.live.borrow().contains(&serial)
    }

    pub(crate) fn request_id(&self) -> hyper::header::HeaderValue {
        self.ids.borrow_mut().next()
    }

    /// Runs until told to end and everything has ended.
    pub(crate) async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut epoch = self.hub.registry.epoch.subscribe();
        let mut acceptors = Vec::new();
        let mut duck: Option<Duck> = None;
        self.learn_targets();
        loop {
            let sweep = if duck.is_some() { LAME_SWEEP } else { SWEEP };
            let next_sweep = tokio::time::Instant::from_std(self.now() + sweep);
            // Commands first, and no timer that traffic could restart: a loop that raced `accept`
            // against a fresh sleep never noticed its orders under load.
            tokio::select! { biased;
                command = commands.recv() => match command {
                    None => return,
                    Some(command) => self.obey(command, &mut acceptors, &mut duck),
                },
                Ok(()) = epoch.changed() => self.learn_targets(),
                () = tokio::time::sleep_until(next_sweep) => self.sweep(Instant::now()),
            }
            if duck.as_mut().is_some_and(|duck| duck.is_over(&self)) && commands.is_empty() {
                return;
            }
        }
    }

    fn obey(
        self: &Rc<Self>,
        command: Command,
        acceptors: &mut Vec<Acceptor>,
        duck: &mut Option<Duck>,
    ) {
        match command {
            Command::Serve(socket) => match Acceptor::start(self, socket) {
                Ok(acceptor) => acceptors.push(acceptor),
                Err(error) => tracing::error!(%error, "cannot serve on a listening socket"),
            },
            Command::Adopt(stream, peer) => self.adopt(stream, peer),
            Command::Warm { warming, done } => self.warm(&warming, &done),
            Command::Cut(targets) => self.cut(&targets),
            Command::LameDuck { idle_grace, deadline, quiet } if duck.is_none() => {
                self.lame.set(true);
                // Whoever waits in the queue was promised an answer by the kernel.
                acceptors.drain(..).for_each(|acceptor| acceptor.stop(self));
                self.hub.accepting.fetch_sub(1, Ordering::SeqCst);
                *duck = Some(Duck::new(Instant::now(), idle_grace, deadline, quiet));
            }
            Command::LameDuck { .. } => {}
        }
    }

    fn learn_targets(&self) {
        let services = self.hub.registry.shared.services();
        let targets = services.values().flat_map(|service| &service.targets);
        let live: BTreeSet<u64> = targets.map(|target| target.serial).collect();
        self.pool.retain(&live);
        *self.live.borrow_mut() = live;
    }

    /// Enforces every limit. Woken connections act on what they find when they are polled.
    fn sweep(&self, now: Instant) {
        self.coarse_now.set(now);
        for conn in self.conns.borrow().values() {
            conn.enforce(now);
        }
        self.pool.expire(now);
    }

    fn cut(&self, targets: &BTreeSet<u64>) {
        for conn in self.conns.borrow().values().filter(|conn| targets.contains(&conn.target())) {
            conn.cut();
        }
    }

    /// How many connections are open to these targets, if they keep connections at all.
    pub(crate) fn open_to(&self, targets: &BTreeSet<u64>) -> usize {
        let idle: Vec<usize> =
            targets.iter().filter_map(|serial| self.pool.kept(*serial)).collect();
        if idle.is_empty() {
            return 0;
        }
        let conns = self.conns.borrow();
        let used = conns.values().filter(|conn| conn.is_exchanging_with(targets));
        idle.iter().sum::<usize>() + used.count()
    }

    fn each_conn(&self, act: impl FnMut(&Rc<Conn>)) {
        self.conns.borrow().values().for_each(act);
    }

    fn is_empty(&self) -> bool {
        self.conns.borrow().is_empty()
    }
}
