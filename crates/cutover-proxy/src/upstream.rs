//! Connections to targets: a pool per thread and target object, and one new connection.
//!
//! **Invariant.** A pooled connection is filed under the serial of the target *object* it was made
//! for, and a request asks with the serial it chose under the table's lock. So after a switch no
//! request can travel over an old connection, whatever the addresses are; the connections
//! themselves are closed when the worker hears of the switch. (A pool keyed by address or shared
//! between generations leaks requests to the old version: found twice in trials, and in haproxy.)

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::body::RequestBody;
use crate::target::Target;
use crate::worker::Worker;

/// Idle connections kept per thread and target.
const MAX_IDLE: usize = 256;

/// How long an idle connection is kept. A target may close it earlier at any time; then requests
/// that can be repeated are.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests that cannot be repeated use no connection that was idle for longer: application servers
/// close theirs after as little as two seconds.
const FRESH: Duration = Duration::from_secs(1);

/// How long a connection is kept that was opened in advance and not used yet: a target that serves
/// one connection at a time waits on it meanwhile.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the rest of a request may take after its response is complete.
const LATE_BODY: Duration = Duration::from_secs(60);

/// A connection to a target. Dropping it closes it, whatever it is doing: hyper alone would go on
/// for ever with a request that the target does not read and that nobody waits for any more.
#[derive(Debug)]
pub(crate) struct Sender {
    http: SendRequest<RequestBody>,
    driver: Option<AbortHandle>,
}

impl Sender {
    /// HTTP ends here and the connection goes on without it.
    pub(crate) fn upgraded(mut self) {
        self.driver = None;
    }
}

impl Deref for Sender {
    type Target = SendRequest<RequestBody>;

    fn deref(&self) -> &Self::Target {
        &self.http
    }
}

impl DerefMut for Sender {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.http
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

/// Idle connections of one thread.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    targets: RefCell<HashMap<u64, Connections>>,
}

/// The idle connections to one target.
#[derive(Debug, Default)]
struct Connections {
    idle: Vec<Idle>,
    /// Whether one ever came back after a response: the target keeps connections.
    kept: bool,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
    /// Opened in advance and never used so far.
    warm: bool,
}

impl Idle {
    fn is_over(&self, now: Instant) -> bool {
        let limit = if self.warm { UNUSED_TIMEOUT } else { IDLE_TIMEOUT };
        self.sender.is_closed() || now.saturating_duration_since(self.since) >= limit
    }
}

impl Pool {
    /// The connection used last, if it may be used for such a request.
    pub(crate) fn take(&self, serial: u64, now: Instant, repeatable: bool) -> Option<Sender> {
        let mut targets = self.targets.borrow_mut();
        let idle = &mut targets.get_mut(&serial)?.idle;
        while let Some(one) = idle.pop() {
            if one.sender.is_closed() || !one.sender.is_ready() {
                continue;
            }
            if !repeatable && now.saturating_duration_since(one.since) > FRESH {
                idle.push(one);
                return None;
            }
            return Some(one.sender);
        }
        None
    }

    fn put(&self, serial: u64, sender: Sender, now: Instant) {
        let mut targets = self.targets.borrow_mut();
        let connections = targets.entry(serial).or_default();
        connections.kept = true;
        if connections.idle.len() < MAX_IDLE {
            connections.idle.push(Idle { sender, since: now, warm: false });
        }
    }

    /// Adds a connection that was opened in advance. The first one added is used first: it is the
    /// first one that the target accepts, and a target that serves one connection at a time would
    /// wait on it for a request.
    pub(crate) fn put_warm(&self, serial: u64, sender: Sender, now: Instant) {
        let mut targets = self.targets.borrow_mut();
        let idle = &mut targets.entry(serial).or_default().idle;
        if idle.len() < MAX_IDLE {
            idle.insert(0, Idle { sender, since: now, warm: true });
        }
    }

    /// How many idle connections a target has that keeps them; `None`: it never kept one.
    pub(crate) fn kept(&self, serial: u64) -> Option<usize> {
        let targets = self.targets.borrow();
        targets.get(&serial).filter(|target| target.kept).map(|target| target.idle.len())
    }

    /// Closes what belongs to targets that are none any more.
    pub(crate) fn retain(&self, live: &BTreeSet<u64>) {
        self.targets.borrow_mut().retain(|serial, _| live.contains(serial));
    }

    /// The same, for targets that were never in a table.
    pub(crate) fn forget_unlisted(&self, is_live: impl Fn(u64) -> bool) {
        self.targets.borrow_mut().retain(|serial, _| is_live(*serial));
    }

    /// Closes what has been idle for too long, or was closed by the target.
    pub(crate) fn expire(&self, now: Instant) {
        for connections in self.targets.borrow_mut().values_mut() {
            connections.idle.retain(|idle| !idle.is_over(now));
        }
    }
}

/// A connection in use by one exchange.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) sender: Sender,
    pub(crate) serial: u64,
    pub(crate) worker: Rc<Worker>,
}

impl Lease {
    /// The exchange is complete: others may use the connection.
    pub(crate) fn give_back(self) {
        let Self { mut sender, serial, worker } = self;
        if sender.is_ready() {
            worker.pool.put(serial, sender, worker.now());
        } else if !sender.is_closed() {
            // The rest of the request is still on its way, or hyper has not noticed the end yet.
            tokio::task::spawn_local(async move {
                if let Ok(Ok(())) = tokio::time::timeout(LATE_BODY, sender.ready()).await
                    && worker.is_live(serial)
                {
                    worker.pool.put(serial, sender, worker.now());
                }
            });
        }
    }
}

/// Opens a connection; its driver runs on this thread until it is closed.
pub(crate) async fn connect(target: &Target, timeout: Duration) -> io::Result<Sender> {
    let connecting = TcpStream::connect(target.addr);
    let stream = tokio::time::timeout(timeout, connecting)
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    let (http, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a target ended");
        }
    });
    Ok(Sender { http, driver: Some(driver.abort_handle()) })
}
