//! Keeping one proxy alive: adopt the one that runs, hold duplicates of its listening sockets, and
//! start a new one at once when it dies. Connections that arrive meanwhile wait in the sockets.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cutover_proxy::HeldListener;
use cutover_proxy::control::{Client, send_listeners};
use fs_err as fs;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tracing::{error, info, warn};

use crate::failure::{Context, Failure, Kind, Outcome};
use crate::paths::Paths;

/// A proxy that dies sooner than this after its start is started again more slowly.
const SHORT_LIFE: Duration = Duration::from_secs(2);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a proxy that is ending may take.
const LAME_PATIENCE: Duration = Duration::from_secs(10);
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The proxy of this root, and what is kept in case it dies.
#[derive(Debug)]
pub(crate) struct Proxy {
    paths: Paths,
    /// Where a proxy listens that finds no sockets of an earlier one.
    listen: Vec<SocketAddr>,
    held: Mutex<Vec<HeldListener>>,
    /// Set once the proxy is meant to end: it is not started again.
    ending: AtomicBool,
}

impl Proxy {
    pub(crate) fn new(paths: &Paths, listen: Vec<SocketAddr>) -> Self {
        Self {
            paths: paths.clone(),
            listen,
            held: Mutex::new(Vec::new()),
            ending: AtomicBool::new(false),
        }
    }

    /// Adopts the running proxy or starts one; holds its sockets. Returns what ends with it.
    pub(crate) fn ensure(&self) -> Outcome<OwnedFd> {
        match Client::connect(&self.paths.proxy_socket()) {
            Ok(mut client) => match is_lame(&mut client)? {
                false => self.adopt(&mut client)?,
                true => {
                    // It accepts nobody any more and is about to end.
                    end_by_force(&self.paths, LAME_PATIENCE)?;
                    self.start()?;
                }
            },
            Err(_) => self.start()?,
        }
        self.pidfd()
    }

    fn adopt(&self, client: &mut Client) -> Outcome {
        let listeners = client.take_listeners().or_fail(Kind::Internal, "adopt the proxy")?;
        for addr in &self.listen {
            if !listeners.iter().any(|held| held.info.addr == *addr) {
                let request = cutover_proxy::control::Request::Listen { addr: *addr };
                client.call(&request).or_fail(Kind::Internal, format!("listen on {addr}"))?;
            }
        }
        let listeners = client.take_listeners().or_fail(Kind::Internal, "adopt the proxy")?;
        *self.held() = listeners;
        Ok(())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<HeldListener>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn start(&self) -> Outcome {
        let mut child = self.spawn()?;
        let deadline = Instant::now() + START_TIMEOUT;
        let mut client = loop {
            match Client::connect(&self.paths.proxy_socket()) {
                Ok(client) => break client,
                Err(error) => {
                    if let Some(status) = child.try_wait()? {
                        return Err(self.died(&status.to_string()));
                    }
                    if Instant::now() >= deadline {
                        return Err(error).or_fail(Kind::Internal, "reach the new proxy");
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        self.adopt(&mut client)?;
        // reaps it when it ends
        std::thread::spawn(move || child.wait());
        info!("started the proxy");
        Ok(())
    }

    fn spawn(&self) -> Outcome<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.paths.proxy_log())?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("cutover").arg("--root").arg(&self.paths.root).arg("proxy");
        command.stdout(log.file().try_clone()?).stderr(log.into_file());
        match self.sockets()? {
            Some(sockets) => command.arg("--sockets-on-stdin").stdin(OwnedFd::from(sockets)),
            None => command.stdin(Stdio::null()),
        };
        // its allocator would ask for huge pages: 6 MiB that a small process never uses
        command.env("MIMALLOC_ALLOW_THP", "0").current_dir("/").process_group(0);
        let proxy = command.spawn().or_fail(Kind::Internal, "start the proxy")?;
        cutover_runtime::cgroup::outlive(proxy.id());
        Ok(proxy)
    }

    /// A socket in which those wait that are held, so that a new proxy serves at once.
    fn sockets(&self) -> Outcome<Option<UnixStream>> {
        let held = self.held();
        if held.is_empty() {
            return Ok(None);
        }
        let (ours, theirs) = UnixStream::pair()?;
        send_listeners(&ours, &held).or_fail(Kind::Internal, "give the proxy its sockets")?;
        Ok(Some(theirs))
    }

    fn died(&self, status: &str) -> Failure {
        let log = self.paths.proxy_log();
        let tail = fs::read_to_string(&log).unwrap_or_default();
        let last = tail.lines().last().unwrap_or("it wrote nothing").to_owned();
        Failure::msg(Kind::Internal, format!("the proxy ended at once ({status}): {last}"))
            .hint(format!("see `{}`", log.display()))
    }

    /// The proxy's process, by who answers on its socket.
    fn pidfd(&self) -> Outcome<OwnedFd> {
        let stream = UnixStream::connect(self.paths.proxy_socket())
            .or_fail(Kind::Internal, "reach the proxy")?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        Ok(pidfd_open(
            Pid::from_raw(peer.pid.as_raw_nonzero().get()).unwrap_or(peer.pid),
            PidfdFlags::empty(),
        )?)
    }

    /// From now on a proxy that ends is not started again.
    pub(crate) fn keep_ended(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// Ends the proxy for good.
    pub(crate) fn end(&self) {
        self.keep_ended();
        self.held().clear();
        let (grace, deadline) = (Duration::from_millis(100), Duration::from_secs(10));
        let asked = Client::connect(&self.paths.proxy_socket())
            .and_then(|mut client| client.lame_duck(grace, deadline));
        if let Err(error) = asked {
            warn!("cannot end the proxy: {error}");
        }
    }

    /// Starts the proxy again whenever it dies, until [`Proxy::end`].
    pub(crate) fn watch(&self, mut alive: OwnedFd) {
        let mut backoff = Duration::ZERO;
        loop {
            let since = Instant::now();
            wait_for_end(&alive);
            if self.ending.load(Ordering::SeqCst) {
                return;
            }
            warn!("the proxy is gone; starting it again");
            if since.elapsed() < SHORT_LIFE {
                std::thread::sleep(backoff);
                backoff = (backoff * 2).clamp(Duration::from_millis(50), MAX_BACKOFF);
            } else {
                backoff = Duration::ZERO;
            }
            alive = loop {
                match self.ensure() {
                    Ok(alive) => break alive,
                    Err(failure) => {
                        error!("{}", failure.to_string().trim_end());
                        backoff = (backoff * 2).clamp(Duration::from_millis(50), MAX_BACKOFF);
                        std::thread::sleep(backoff);
                    }
                }
            };
        }
    }
}

/// Whether a proxy only finishes what it has.
fn is_lame(client: &mut Client) -> Outcome<bool> {
    let listing = client.list().or_fail(Kind::Internal, "ask the proxy how it is")?;
    Ok(listing.proxy.lame_duck)
}

/// Waits until the proxy of this root is gone, and kills it when that takes longer than `patience`.
pub(crate) fn end_by_force(paths: &Paths, patience: Duration) -> Outcome {
    let Ok(stream) = UnixStream::connect(paths.proxy_socket()) else { return Ok(()) };
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    let Ok(process) = pidfd_open(peer.pid, PidfdFlags::empty()) else { return Ok(()) };
    drop(stream);
    let timeout = rustix::event::Timespec::try_from(patience).ok();
    let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    if matches!(poll(&mut fds, timeout.as_ref()), Ok(0)) {
        warn!("the proxy does not end; killing it");
        rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL)?;
        wait_for_end(&process);
    }
    Ok(())
}

fn wait_for_end(process: &OwnedFd) {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => return,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                error!("cannot watch the proxy: {errno}");
                return;
            }
        }
    }
}
