//! A proxy of its own for each test, and a client that writes raw HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use cutover_core::service::{HttpHealth, Route};
use cutover_proxy::control::{
    Client, ListenerKind, ServiceOptions, ServiceSpec, TargetSpec, TargetState, TargetStats,
};
use cutover_proxy::{LameDuck, ProxyOptions, Running, start};

use crate::backend::Backend;

pub(crate) const SERVICE: &str = "app/web";

/// Longer than anything here takes, shorter than anyone waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) running: Option<Running>,
    pub(crate) addr: SocketAddr,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ProxyOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        options.listen.push("127.0.0.1:0".parse().unwrap());
        change(&mut options);
        let running = start(options).unwrap();
        let http = |info: &&cutover_proxy::control::ListenerInfo| info.kind == ListenerKind::Http;
        let addr = running.listeners().iter().find(http).map(|info| info.addr);
        let addr = addr.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        Self { folder, running: Some(running), addr }
    }

    /// Another proxy over the same folder.
    pub(crate) fn options(&self) -> ProxyOptions {
        options(self.folder.path())
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.options().control_socket).unwrap()
    }

    /// Switches all traffic to these backends.
    pub(crate) fn switch(&self, generation: u64, backends: &[&Backend]) {
        self.client().set_service(spec(generation, backends)).unwrap();
    }

    /// Counters of the target with this id.
    pub(crate) fn target(&self, id: &str) -> TargetStats {
        let stats = self.client().stats(Some(SERVICE)).unwrap();
        stats[0].targets.iter().rev().find(|target| target.id == id).unwrap().clone()
    }

    /// One request on a connection of its own; the whole response.
    pub(crate) fn get(&self, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
    }

    /// Sends bytes on a new connection and returns everything that comes back.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        rest(&mut stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    /// Ends the proxy and waits for it.
    pub(crate) fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        let nothing = Duration::ZERO;
        let mut client = Client::connect(running.control_socket()).unwrap();
        client.lame_duck(nothing, nothing).unwrap();
        running.join().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

pub(crate) fn options(folder: &std::path::Path) -> ProxyOptions {
    let mut options = ProxyOptions::new(folder, &folder.join("run"));
    options.workers = 2;
    options.lame_duck =
        LameDuck { idle_grace: Duration::from_millis(300), deadline: Duration::from_secs(5) };
    options
}

pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Everything until the other side closes.
pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the response is an end too.
    stream.read_to_end(&mut text).ok();
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until `end` has come.
pub(crate) fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with(end) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed after {text:?}");
        text.push(byte[0].into());
    }
    text
}

/// A GET on a kept connection; returns the body, which ends with `end`.
pub(crate) fn ask(stream: &mut TcpStream, path: &str, end: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    until(stream, "\r\n\r\n");
    until(stream, end)
}

/// Every host and path to these backends, which count as proven.
pub(crate) fn spec(generation: u64, backends: &[&Backend]) -> ServiceSpec {
    let target = |(index, backend): (usize, &&Backend)| TargetSpec {
        id: format!("g{generation}i{index}"),
        addr: backend.addr,
        release: generation,
        proven: true,
    };
    ServiceSpec {
        service: SERVICE.into(),
        generation,
        routes: vec![Route { host: None, path_prefix: "/".into(), strip_prefix: false }],
        targets: backends.iter().enumerate().map(target).collect(),
        health: None,
        options: ServiceOptions::default(),
    }
}

/// A probe every 10 ms.
pub(crate) fn probing(path: &str) -> Option<HttpHealth> {
    let interval = Duration::from_millis(10);
    Some(HttpHealth { path: path.into(), interval, unhealthy_after: 1, ..HttpHealth::default() })
}

/// Waits for a state, not for a time.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn is_healthy(rig: &Rig, id: &str) -> bool {
    rig.target(id).state == TargetState::Healthy
}
