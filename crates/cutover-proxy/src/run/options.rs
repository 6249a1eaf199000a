//! What a proxy is told when it starts.

use std::net::SocketAddr;
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::listen::HeldListener;

/// How a proxy ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LameDuck {
    /// How long idle kept-alive connections may stay to be answered once more with
    /// `Connection: close`.
    pub idle_grace: Duration,
    /// When everything still in flight is cut.
    pub deadline: Duration,
}

impl Default for LameDuck {
    /// Three seconds lost no request in five upgrades under load.
    fn default() -> Self {
        Self { idle_grace: Duration::from_secs(3), deadline: Duration::from_secs(30) }
    }
}

/// All that a proxy needs to know; nothing is read from the environment.
#[derive(Debug)]
pub struct ProxyOptions {
    /// Holds `routes.json`.
    pub state_folder: PathBuf,
    pub control_socket: PathBuf,
    /// Bound at start, except those that are among the sockets given below.
    pub listen: Vec<SocketAddr>,
    /// Sockets this process has already: see [`crate::inherited`] and [`HeldListener::bind`].
    pub listeners: Vec<HeldListener>,
    /// Where someone sends sockets with [`crate::control::send_listeners`] right at the start.
    pub sockets_from: Option<UnixStream>,
    /// If a proxy answers at `control_socket`, take everything over from it; if none does, start
    /// as usual.
    pub take_over: bool,
    pub workers: usize,
    /// Where names are asked for that are not ours; if empty, the ones in `resolv_conf`.
    pub resolvers: Vec<SocketAddr>,
    pub resolv_conf: Option<PathBuf>,
    /// From a new connection to its first complete request head.
    pub head_timeout: Duration,
    /// From the end of a response to the next complete request head.
    pub keep_alive_timeout: Duration,
    pub max_head_bytes: usize,
    /// Used for itself, and sent to the proxy it takes over from.
    pub lame_duck: LameDuck,
    /// End on SIGTERM and SIGINT as a lame duck.
    pub handle_signals: bool,
    /// One event per request, target `cutover_proxy::access`, level info.
    pub access_log: bool,
    /// Makes request ids differ between processes: any random number.
    pub seed: u64,
}

impl ProxyOptions {
    /// The layout on disk: state under `root`, sockets under `run`.
    pub fn new(root: &Path, run: &Path) -> Self {
        Self {
            state_folder: root.join("proxy"),
            control_socket: run.join("proxy.sock"),
            listen: Vec::new(),
            listeners: Vec::new(),
            sockets_from: None,
            take_over: false,
            workers: std::thread::available_parallelism().map_or(1, NonZero::get),
            resolvers: Vec::new(),
            resolv_conf: None,
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            max_head_bytes: 64 << 10,
            lame_duck: LameDuck::default(),
            handle_signals: false,
            access_log: false,
            seed: 0,
        }
    }
}
