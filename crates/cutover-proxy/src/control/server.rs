//! The proxy's side of the control protocol.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, mpsc, watch};

use super::wire::{self, LineBuffer};
use super::{
    Cut, HandOver, ListenerInfo, ListenerKind, Listing, MAX_LINE, PROTOCOL, ProxyStats, Reply,
    Request,
};
use crate::dns::Dns;
use crate::listen::{self, HeldListener};
use crate::persist::Hold;
use crate::probe;
use crate::registry::chain;
use crate::worker::{Command, Hub, Worker};

/// Connections served at once.
const MAX_SESSIONS: usize = 64;

/// After a cut, how long the cut requests get to be gone.
const CUT_PATIENCE: Duration = Duration::from_secs(2);

/// How far the process that this one took over from has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Predecessor {
    /// It may still start requests by its own, older routes.
    Serving,
    /// It starts no new requests.
    Quiet,
    Gone,
}

/// What the control server works on; lives on the control thread.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) hub: Arc<Hub>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) dns: Rc<Dns>,
    /// Every HTTP socket being served; emptied when the process ends, so that nobody waits in a
    /// queue that nobody serves.
    pub(crate) listeners: RefCell<Vec<HeldListener>>,
    pub(crate) predecessor: watch::Receiver<Predecessor>,
    /// Changes read, a hand-over writes: nothing changes while a newer proxy takes over.
    pub(crate) changes: Arc<RwLock<()>>,
    pub(crate) sessions: tokio::sync::Semaphore,
}

/// What one connection holds.
#[derive(Debug, Default)]
struct Session {
    taking_over: Option<OwnedRwLockWriteGuard<()>>,
}

/// A reply and the sockets that go with it.
type Answer = (Reply, Vec<OwnedFd>);

/// Binds the control socket: nobody but the owner may connect, and a previous socket of the same
/// name is replaced at once.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs_err::create_dir_all(folder)?;
    let mut temp = name.to_owned();
    temp.push(format!(".{}", std::process::id()));
    let temp = folder.join(temp);
    match fs_err::remove_file(&temp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (short, _folder) = wire::short_path(&temp)?;
    let listener = UnixListener::bind(short)?;
    // Nobody knows the temporary name, and it becomes the real one only with the right mode.
    fs_err::set_permissions(&temp, std::fs::Permissions::from_mode(0o600))?;
    fs_err::rename(&temp, path)?;
    Ok(listener)
}

/// Serves control connections; never returns.
pub(crate) async fn run(control: Rc<Control>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Rc::clone(&control);
                tokio::task::spawn_local(async move {
                    let Ok(_place) = control.sessions.try_acquire() else {
                        tracing::warn!(limit = MAX_SESSIONS, "too many control connections");
                        return;
                    };
                    if let Err(error) = session(&control, stream).await {
                        tracing::warn!(%error, "control connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept control connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A semaphore for [`Control::sessions`].
pub(crate) fn sessions() -> tokio::sync::Semaphore {
    tokio::sync::Semaphore::new(MAX_SESSIONS)
}

async fn session(control: &Rc<Control>, stream: UnixStream) -> io::Result<()> {
    let mut session = Session::default();
    let mut buffer = LineBuffer::default();
    loop {
        let Some((line, sockets)) = read_line(&stream, &mut buffer).await? else { return Ok(()) };
        let (reply, sockets) = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => control.answer(request, sockets, &mut session).await,
            Err(error) => (Reply::Error { message: format!("not a request: {error}") }, Vec::new()),
        };
        write_line(&stream, &reply, &sockets).await?;
    }
}

async fn read_line(
    stream: &UnixStream,
    buffer: &mut LineBuffer,
) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    loop {
        if let Some(line) = buffer.take_line() {
            return Ok(Some(line));
        }
        let receive = || buffer.receive(stream.as_fd());
        if !stream.async_io(Interest::READABLE, receive).await? {
            return Ok(None);
        }
    }
}

async fn write_line(stream: &UnixStream, reply: &Reply, sockets: &[OwnedFd]) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(io::Error::other(format!("reply is longer than {MAX_LINE} bytes")));
    }
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut sent = 0;
    while sent < line.len() {
        let sockets = if sent == 0 { &sockets[..] } else { &[] };
        let send = || wire::send_chunk(stream.as_fd(), &line[sent..], sockets);
        sent += stream.async_io(Interest::WRITABLE, send).await?;
    }
    Ok(())
}

impl Control {
    async fn answer(
        self: &Rc<Self>,
        request: Request,
        sockets: Vec<OwnedFd>,
        session: &mut Session,
    ) -> Answer {
        let reply = match request {
            Request::TakeListeners => return self.take_listeners().unwrap_or_else(refused),
            Request::TakeOver => return self.take_over(session).await.unwrap_or_else(refused),
            Request::LameDuck { idle_grace, deadline } => {
                self.lame_duck(idle_grace, deadline, session).await
            }
            Request::Hello { .. } => Reply::Hello {
                protocol: PROTOCOL,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
            },
            Request::Stats { service } => {
                Reply::Stats { services: self.hub.registry.stats(service.as_deref()) }
            }
            Request::List => Reply::List(Box::new(self.list())),
            Request::Listeners => Reply::Listeners { listeners: self.listener_infos() },
            Request::Probe(spec) => {
                Reply::Probed { results: probe::probe(&self.worker, spec).await }
            }
            Request::Drain { service, targets, timeout } => {
                self.drain(&service, &targets, timeout).await
            }
            change => self.change(change, sockets).await,
        };
        (reply, Vec::new())
    }

    /// Everything that changes what is served.
    async fn change(&self, request: Request, sockets: Vec<OwnedFd>) -> Reply {
        let mut predecessor = self.predecessor.clone();
        // Until then the old process could start requests by the routes before this change.
        predecessor.wait_for(|phase| *phase >= Predecessor::Quiet).await.ok();
        let _no_hand_over = self.changes.read().await;
        let registry = &self.hub.registry;
        match request {
            Request::SetService(spec) => registry.set_service(spec).await,
            Request::SetApp { app, generation, services } => {
                registry.set_app(&app, generation, services).await
            }
            Request::Remove { service, generation } => registry.remove(&service, generation).await,
            Request::Hold { service, generation, timeout, limit } => {
                registry.hold(&service, generation, Some(Hold { timeout, limit })).await
            }
            Request::Release { service, generation } => {
                registry.hold(&service, generation, None).await
            }
            Request::SetNames(names) => match crate::dns::check(&names) {
                Ok(()) => registry.set_names(Ok(names)).await,
                Err(message) => Reply::Error { message },
            },
            Request::RemoveNames { network, generation } => {
                registry.set_names(Err((network, generation))).await
            }
            Request::Listen { addr } => match HeldListener::bind(addr) {
                Ok(listener) => self.serve(vec![listener]),
                Err(error) => Reply::Error { message: chain(&error) },
            },
            Request::GiveListeners { listeners } => match wire::pair(listeners, sockets) {
                Ok(listeners) => self.serve(listeners),
                Err(error) => Reply::Error { message: error.to_string() },
            },
            _ => Reply::Error { message: "not a change".to_owned() },
        }
    }

    async fn drain(&self, service: &str, targets: &[String], timeout: Duration) -> Reply {
        let deadline = tokio::time::Instant::now() + timeout;
        // What the old process has in flight cannot be counted from here, only waited for.
        let mut predecessor = self.predecessor.clone();
        let gone = predecessor.wait_for(|phase| *phase == Predecessor::Gone);
        let alone = matches!(tokio::time::timeout_at(deadline, gone).await, Ok(Ok(_)));
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let drained = match self.hub.registry.drain(service, targets, left).await {
            Ok(drained) => drained,
            Err(message) => return Reply::Error { message },
        };
        let mut cut: Vec<_> = drained
            .busy
            .iter()
            .map(|target| Cut { target: target.id.clone(), requests: target.in_flight() })
            .collect();
        if !cut.is_empty() {
            let serials: Arc<BTreeSet<u64>> =
                Arc::new(drained.busy.iter().map(|target| target.serial).collect());
            self.hub.tell_all(|| Command::Cut(Arc::clone(&serials)));
            let gone = async {
                for target in &drained.busy {
                    target.drained().await;
                }
            };
            if tokio::time::timeout(CUT_PATIENCE, gone).await.is_err() {
                tracing::warn!(service, "requests are still in flight after they were cut");
            }
        }
        let (unknown, drained) =
            if alone { (Vec::new(), drained.drained) } else { (drained.drained, Vec::new()) };
        cut.extend(unknown.into_iter().map(|target| Cut { target, requests: 0 }));
        Reply::Drained { drained, cut }
    }

    fn list(&self) -> Listing {
        let hub = &self.hub;
        Listing {
            services: hub.registry.specs(),
            stats: hub.registry.stats(None),
            networks: hub.registry.networks.borrow().values().cloned().collect(),
            listeners: self.listener_infos(),
            state_error: hub.registry.problem(),
            proxy: ProxyStats {
                workers: hub.acceptors().len(),
                connections: hub.connections(),
                accepted: hub.accepted.load(Ordering::Relaxed),
                rejected: hub.rejected.load(Ordering::Relaxed),
                lame_duck: hub.lame.load(Ordering::Relaxed),
            },
        }
    }

    fn listener_infos(&self) -> Vec<ListenerInfo> {
        let http = self.listeners.borrow();
        let http = http.iter().map(|listener| listener.info.clone());
        http.chain(self.dns.listeners()).collect()
    }

    /// Starts serving on sockets, unless their address is being served already.
    pub(crate) fn serve(&self, listeners: Vec<HeldListener>) -> Reply {
        for listener in listeners {
            if let Err(error) = self.serve_one(listener) {
                return Reply::Error { message: error.to_string() };
            }
        }
        Reply::Ok
    }

    fn serve_one(&self, listener: HeldListener) -> io::Result<()> {
        if listener.info.kind != ListenerKind::Http {
            return self.dns.adopt(listener);
        }
        let mut served = self.listeners.borrow_mut();
        if served.iter().any(|known| known.info == listener.info) {
            return Ok(());
        }
        for worker in self.hub.acceptors() {
            let socket = OwnedFd::from(listen::tcp(&listener.socket)?);
            worker.send(Command::Serve(socket)).ok();
        }
        served.push(listener);
        Ok(())
    }

    fn take_listeners(&self) -> io::Result<Answer> {
        let (listeners, sockets) = announced(self.http_duplicates()?);
        Ok((Reply::Listeners { listeners }, sockets))
    }

    async fn take_over(&self, session: &mut Session) -> io::Result<Answer> {
        let services = self.hub.registry.shared.services();
        if let Some(held) = services.values().find(|service| service.gate.is_some()) {
            // Those who wait at the gate could only be let through by changing the routes here.
            let message =
                format!("requests for `{}` are held: release them first", held.spec.service);
            return Err(io::Error::other(message));
        }
        if session.taking_over.is_none() {
            session.taking_over = Some(Arc::clone(&self.changes).write_owned().await);
        }
        let mut all = self.http_duplicates()?;
        all.extend(self.dns.duplicates()?);
        let (listeners, sockets) = announced(all);
        let services = self.hub.registry.shared.services();
        let health = services.values().flat_map(|service| {
            let key = &service.spec.service;
            service.targets.iter().map(|target| (key.clone(), target.id.clone(), target.state()))
        });
        let health = health.collect();
        Ok((Reply::HandOver(Box::new(HandOver { listeners, health })), sockets))
    }

    fn http_duplicates(&self) -> io::Result<Vec<HeldListener>> {
        self.listeners.borrow().iter().map(HeldListener::try_clone).collect()
    }

    async fn lame_duck(
        &self,
        idle_grace: Duration,
        deadline: Duration,
        session: &Session,
    ) -> Reply {
        let quiet = self.begin_lame_duck(idle_grace, deadline);
        if session.taking_over.is_none() {
            return Reply::Ok;
        }
        wait_quiet(quiet).await;
        Reply::Quiet
    }

    /// Tells every worker to end. The receiver is closed when no new request can begin.
    pub(crate) fn begin_lame_duck(
        &self,
        idle_grace: Duration,
        deadline: Duration,
    ) -> mpsc::Receiver<()> {
        let (quiet, told) = mpsc::channel(1);
        self.hub.lame.store(true, Ordering::Relaxed);
        self.listeners.borrow_mut().clear();
        self.dns.stop();
        for worker in self.hub.acceptors() {
            let quiet = quiet.clone();
            worker.send(Command::LameDuck { idle_grace, deadline, quiet }).ok();
        }
        told
    }
}

/// What to say about sockets, and the sockets. Of too many, the last DNS sockets are left out: the
/// receiver binds their addresses itself, as soon as they are free.
fn announced(mut all: Vec<HeldListener>) -> (Vec<ListenerInfo>, Vec<OwnedFd>) {
    all.truncate(wire::MAX_SOCKETS);
    all.into_iter().map(|listener| (listener.info, listener.socket)).unzip()
}

/// Waits until every worker has dropped its sender.
async fn wait_quiet(mut quiet: mpsc::Receiver<()>) {
    while quiet.recv().await.is_some() {}
}

fn refused(error: io::Error) -> Answer {
    (Reply::Error { message: error.to_string() }, Vec::new())
}
