//! [`Client`]: the agent's side of the control protocol, synchronous, every wait bounded.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wire::{self, LineBuffer};
use super::{Cut, InFlight, Listing, PROTOCOL, ProbeResult, ProbeSpec, Reply, Request};
use super::{NetworkNames, ServiceSpec, ServiceStats};
use crate::listen::HeldListener;

/// What the proxy may take beyond the time that the request itself allows.
const SLACK: Duration = Duration::from_secs(10);

/// One connection to a proxy.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: UnixStream,
    buffer: LineBuffer,
    broken: bool,
}

/// Why a request to the proxy did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("reach the proxy at `{}`", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    /// What the proxy did with the request is unknown: ask [`Client::list`] on a new connection.
    #[error("get the proxy's answer to `{request}`")]
    NoAnswer { request: &'static str, source: io::Error },
    #[error("`{service}` is at generation {current}: a newer writer was here")]
    Stale { service: String, current: u64 },
    #[error("{message}")]
    Refused { message: String },
    #[error("the proxy answered `{request}` with something else")]
    Confused { request: &'static str },
    #[error("the proxy speaks protocol {theirs}, this program {PROTOCOL}")]
    Protocol { theirs: u32 },
}

impl Client {
    /// Connects and makes sure that the other side speaks this protocol.
    pub fn connect(socket: &Path) -> Result<Self, CallError> {
        let unreachable = |source| CallError::Unreachable { socket: socket.to_owned(), source };
        let (path, _folder) = wire::short_path(socket).map_err(unreachable)?;
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_write_timeout(Some(SLACK)).map_err(unreachable)?;
        let mut client = Self {
            socket: socket.to_owned(),
            stream,
            buffer: LineBuffer::default(),
            broken: false,
        };
        match client.call(&Request::Hello { protocol: PROTOCOL })? {
            Reply::Hello { protocol: PROTOCOL, .. } => Ok(client),
            Reply::Hello { protocol: theirs, .. } => Err(CallError::Protocol { theirs }),
            _ => Err(CallError::Confused { request: "hello" }),
        }
    }

    /// The socket this client is connected to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends one request and waits for its reply, at most as long as the request itself may take.
    pub fn call(&mut self, request: &Request) -> Result<Reply, CallError> {
        self.call_with(request, &[]).map(|(reply, _)| reply)
    }

    /// The switch: replaces the service's targets. When this returns, no new request goes to any
    /// of the returned former targets.
    pub fn set_service(&mut self, spec: ServiceSpec) -> Result<Vec<InFlight>, CallError> {
        match self.call(&Request::SetService(spec))? {
            Reply::Switched { previous, .. } => Ok(previous),
            _ => Err(CallError::Confused { request: "set_service" }),
        }
    }

    /// The switch of a whole app: exactly these are its services when this returns, and at no
    /// moment was a request routed by some of them and some of the former ones.
    pub fn set_app(
        &mut self,
        app: &str,
        generation: u64,
        services: Vec<ServiceSpec>,
    ) -> Result<Vec<InFlight>, CallError> {
        match self.call(&Request::SetApp { app: app.to_owned(), generation, services })? {
            Reply::Switched { previous, .. } => Ok(previous),
            _ => Err(CallError::Confused { request: "set_app" }),
        }
    }

    pub fn remove(&mut self, service: &str, generation: u64) -> Result<Vec<InFlight>, CallError> {
        match self.call(&Request::Remove { service: service.to_owned(), generation })? {
            Reply::Switched { previous, .. } => Ok(previous),
            _ => Err(CallError::Confused { request: "remove" }),
        }
    }

    /// Waits for former targets to finish; returns the drained and the cut ones.
    pub fn drain(
        &mut self,
        service: &str,
        targets: &[String],
        timeout: Duration,
    ) -> Result<(Vec<String>, Vec<Cut>), CallError> {
        let (service, targets) = (service.to_owned(), targets.to_vec());
        match self.call(&Request::Drain { service, targets, timeout })? {
            Reply::Drained { drained, cut } => Ok((drained, cut)),
            _ => Err(CallError::Confused { request: "drain" }),
        }
    }

    pub fn hold(
        &mut self,
        service: &str,
        generation: u64,
        timeout: Duration,
        limit: usize,
    ) -> Result<(), CallError> {
        let service = service.to_owned();
        self.expect_ok(&Request::Hold { service, generation, timeout, limit })
    }

    pub fn release(&mut self, service: &str, generation: u64) -> Result<(), CallError> {
        self.expect_ok(&Request::Release { service: service.to_owned(), generation })
    }

    pub fn probe(&mut self, spec: ProbeSpec) -> Result<Vec<ProbeResult>, CallError> {
        match self.call(&Request::Probe(spec))? {
            Reply::Probed { results } => Ok(results),
            _ => Err(CallError::Confused { request: "probe" }),
        }
    }

    /// Counters of one service, or of all.
    pub fn stats(&mut self, service: Option<&str>) -> Result<Vec<ServiceStats>, CallError> {
        match self.call(&Request::Stats { service: service.map(str::to_owned) })? {
            Reply::Stats { services } => Ok(services),
            _ => Err(CallError::Confused { request: "stats" }),
        }
    }

    pub fn list(&mut self) -> Result<Listing, CallError> {
        match self.call(&Request::List)? {
            Reply::List(listing) => Ok(*listing),
            _ => Err(CallError::Confused { request: "list" }),
        }
    }

    pub fn set_names(&mut self, names: NetworkNames) -> Result<(), CallError> {
        self.expect_ok(&Request::SetNames(names))
    }

    pub fn remove_names(&mut self, network: &str, generation: u64) -> Result<(), CallError> {
        self.expect_ok(&Request::RemoveNames { network: network.to_owned(), generation })
    }

    /// Duplicates of all sockets that serve HTTP. While the caller holds them, connections that arrive
    /// with no proxy alive wait instead of being refused.
    pub fn take_listeners(&mut self) -> Result<Vec<HeldListener>, CallError> {
        const REQUEST: &str = "take_listeners";
        let (reply, sockets) = self.call_with(&Request::TakeListeners, &[])?;
        let Reply::Listeners { listeners } = reply else {
            return Err(CallError::Confused { request: REQUEST });
        };
        wire::pair(listeners, sockets)
            .map_err(|source| CallError::NoAnswer { request: REQUEST, source })
    }

    /// Makes the proxy serve on sockets that the caller holds.
    pub fn give_listeners(&mut self, listeners: &[HeldListener]) -> Result<(), CallError> {
        let infos = listeners.iter().map(|listener| listener.info.clone()).collect();
        match self.call_with(&Request::GiveListeners { listeners: infos }, listeners)? {
            (Reply::Ok, _) => Ok(()),
            _ => Err(CallError::Confused { request: "give_listeners" }),
        }
    }

    /// Makes the proxy finish what it has and exit.
    pub fn lame_duck(&mut self, idle_grace: Duration, deadline: Duration) -> Result<(), CallError> {
        self.expect_ok(&Request::LameDuck { idle_grace, deadline })
    }

    /// Waits until the other side closes the connection, at most as long as the last request
    /// allowed.
    pub(crate) fn wait_for_end(mut self) {
        while matches!(wire::receive_line(&self.stream, &mut self.buffer), Ok(Some(_))) {}
    }

    fn expect_ok(&mut self, request: &Request) -> Result<(), CallError> {
        match self.call(request)? {
            Reply::Ok => Ok(()),
            _ => Err(CallError::Confused { request: name(request) }),
        }
    }

    pub(crate) fn call_with(
        &mut self,
        request: &Request,
        listeners: &[HeldListener],
    ) -> Result<(Reply, Vec<std::os::fd::OwnedFd>), CallError> {
        let no_answer = |source| CallError::NoAnswer { request: name(request), source };
        if self.broken {
            // After a timeout the next line would be the late answer to an earlier request.
            return Err(no_answer(io::ErrorKind::NotConnected.into()));
        }
        self.broken = true;
        let mut line = serde_json::to_vec(request).map_err(|error| no_answer(error.into()))?;
        line.push(b'\n');
        let wait = patience(request).saturating_add(SLACK);
        self.stream.set_read_timeout(Some(wait)).map_err(no_answer)?;
        let sockets: Vec<_> = listeners.iter().map(|listener| listener.socket.as_fd()).collect();
        wire::send_line(&self.stream, &line, &sockets).map_err(no_answer)?;
        let (line, sockets) = wire::receive_line(&self.stream, &mut self.buffer)
            .and_then(|line| line.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()))
            .map_err(no_answer)?;
        let reply = serde_json::from_slice(&line).map_err(|error| no_answer(error.into()))?;
        self.broken = false;
        match reply {
            Reply::Stale { service, current } => Err(CallError::Stale { service, current }),
            Reply::Error { message } => Err(CallError::Refused { message }),
            reply => Ok((reply, sockets)),
        }
    }
}

/// How long the proxy may take over a request by the request's own words.
fn patience(request: &Request) -> Duration {
    match request {
        Request::Drain { timeout, .. } => *timeout,
        Request::Probe(spec) => spec.checks.iter().map(|check| check.timeout).sum(),
        Request::LameDuck { idle_grace, deadline } => *idle_grace + *deadline,
        // A proxy that has just taken over first waits until its predecessor is quiet.
        _ => Duration::from_secs(20),
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "hello",
        Request::SetService(_) => "set_service",
        Request::SetApp { .. } => "set_app",
        Request::Remove { .. } => "remove",
        Request::Drain { .. } => "drain",
        Request::Hold { .. } => "hold",
        Request::Release { .. } => "release",
        Request::Probe(_) => "probe",
        Request::Stats { .. } => "stats",
        Request::List => "list",
        Request::SetNames(_) => "set_names",
        Request::RemoveNames { .. } => "remove_names",
        Request::Listen { .. } => "listen",
        Request::Listeners => "listeners",
        Request::TakeListeners => "take_listeners",
        Request::GiveListeners { .. } => "give_listeners",
        Request::TakeOver => "take_over",
        Request::LameDuck { .. } => "lame_duck",
    }
}
