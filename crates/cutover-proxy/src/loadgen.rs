//! A strict load generator: every request written is counted as ok or as a named failure.
//!
//! It is what "no request failed" is measured with, so it forgives nothing: a kept-alive connection
//! that is closed under a request is a failure unless the response before said `Connection: close`;
//! a body that is shorter than announced is one; nothing is tried again, unless the run is told to
//! do what browsers do ([`Options::repeat`]). One thread per
//! client, blocking sockets, own HTTP/1.1 reader: nothing of what is being measured is shared.
//!
//! ```no_run
//! # use cutover_proxy::loadgen::{Options, Remote, run};
//! let options = Options::new("127.0.0.1:80".parse().unwrap(), "example.org", "/");
//! let remote = Remote::new();
//! let handle = remote.clone();
//! std::thread::spawn(move || {
//!     handle.begin("switch");
//!     // … switch …
//!     handle.end("switch");
//!     handle.stop();
//! });
//! let summary = run(&options, &remote);
//! assert_eq!(summary.failed, 0);
//! ```

mod client;
mod http;
mod summary;
#[cfg(test)]
mod tests;

pub use summary::{Failure, Latency, Summary, VersionSeen, Window};

use std::io::BufRead;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use client::Client;
use summary::Sample;

/// Small: a client needs little.
const STACK: usize = 256 << 10;

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Options {
    pub addr: SocketAddr,
    /// The `Host` header.
    pub host: String,
    pub path: String,
    /// Further header lines.
    pub headers: Vec<(String, String)>,
    /// Clients that send all their requests over one connection.
    pub keep_alive: usize,
    /// Clients that open a connection for each request.
    pub per_request: usize,
    /// How long to go on; `None`: until [`Remote::stop`].
    pub duration: Option<Duration>,
    /// The pause of a client between two requests.
    pub pause: Duration,
    /// A request that takes longer has failed.
    pub timeout: Duration,
    /// Do what browsers, curl and Go do (RFC 9110, 9.2.2): a GET on a kept connection that ended before
    /// a byte of the response came is sent once more, over a new connection.
    pub repeat: bool,
    /// How responses of different versions are told apart.
    pub version: Option<VersionFrom>,
}

/// Where a response says which version made it.
#[derive(Clone, Debug)]
pub enum VersionFrom {
    /// The value of this header.
    Header(String),
    /// The first of these texts that the body (its first 64 KiB) contains.
    Body(Vec<String>),
}

impl Options {
    /// 16 clients that keep their connection, 4 that do not, no pause.
    pub fn new(addr: SocketAddr, host: &str, path: &str) -> Self {
        Self {
            addr,
            host: host.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            keep_alive: 16,
            per_request: 4,
            duration: None,
            pause: Duration::ZERO,
            timeout: Duration::from_secs(30),
            repeat: false,
            version: None,
        }
    }
}

/// Stops a run, and marks what happens meanwhile. Clones act on the same run.
#[derive(Clone, Debug)]
pub struct Remote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    stop: AtomicBool,
    answered: AtomicUsize,
    windows: Mutex<Vec<Marked>>,
}

/// A named stretch of time, open as long as `to` is not set.
#[derive(Clone, Debug)]
struct Marked {
    name: String,
    from: Duration,
    to: Option<Duration>,
}

impl Default for Remote {
    fn default() -> Self {
        Self::new()
    }
}

impl Remote {
    /// Times in the summary count from here.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            windows: Mutex::default(),
        }))
    }

    /// No client begins another request.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// Opens a window: the summary tells its slowest request.
    pub fn begin(&self, name: &str) {
        let from = self.elapsed();
        self.windows().push(Marked { name: name.to_owned(), from, to: None });
    }

    /// Closes the newest open window of this name.
    pub fn end(&self, name: &str) {
        let now = self.elapsed();
        let mut windows = self.windows();
        let open = windows.iter_mut().rev().find(|one| one.name == name && one.to.is_none());
        if let Some(window) = open {
            window.to = Some(now);
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// How many requests have ended so far.
    pub fn answered(&self) -> usize {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// Returns when `count` more requests have ended, or the run has been stopped.
    pub fn wait_for(&self, count: usize) {
        let until = self.answered() + count;
        while self.answered() < until && !self.stopped() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Obeys lines `begin NAME` and `end NAME`; the end of the input stops the run.
    pub fn follow(&self, input: impl BufRead) {
        for line in input.lines() {
            let Ok(line) = line else { break };
            match line.trim().split_once(' ') {
                Some(("begin", name)) => self.begin(name.trim()),
                Some(("end", name)) => self.end(name.trim()),
                _ => {}
            }
        }
        self.stop();
    }

    fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }

    fn windows(&self) -> std::sync::MutexGuard<'_, Vec<Marked>> {
        self.0.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends requests until the time is up or someone says stop; blocks until then.
pub fn run(options: &Options, remote: &Remote) -> Summary {
    let began = remote.elapsed();
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..options.keep_alive + options.per_request)
            .filter_map(|index| {
                let keep_alive = index < options.keep_alive;
                let builder = thread::Builder::new().stack_size(STACK);
                builder.spawn_scoped(scope, move || one_client(options, remote, keep_alive)).ok()
            })
            .collect();
        if let Some(duration) = options.duration {
            let end = began + duration;
            while remote.elapsed() < end && !remote.stopped() {
                thread::sleep(Duration::from_millis(5).min(end.saturating_sub(remote.elapsed())));
            }
            remote.stop();
        }
        for client in clients {
            samples.extend(client.join().unwrap_or_default());
        }
    });
    let marked = remote.windows().clone();
    summary::summarise(samples, &marked, remote.elapsed(), began)
}

fn one_client(options: &Options, remote: &Remote, keep_alive: bool) -> Vec<Sample> {
    let mut client = Client::new(options, keep_alive);
    let mut samples = Vec::new();
    while !remote.stopped() {
        let start = remote.elapsed();
        let outcome = client.request();
        let latency = remote.elapsed().saturating_sub(start);
        let failed = outcome.is_err();
        let repeated = client.repeated;
        samples.push(Sample { start, latency, outcome, keep_alive, repeated });
        remote.0.answered.fetch_add(1, Ordering::Relaxed);
        if failed {
            // A refusing server would otherwise fill the memory with failures.
            thread::sleep(Duration::from_millis(1));
        }
        if !options.pause.is_zero() {
            thread::sleep(options.pause);
        }
    }
    samples
}
