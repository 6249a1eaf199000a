//! [`Supervisor`]: the shim's state and its loop.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::client::{Client, Role};
use super::network::Leases;
use super::probe::RunningProbe;
use super::protocol::{self, Kind};
use super::streams::Streams;
use crate::cgroup::Cgroup;
use crate::container::clock;
use crate::container::files;
use crate::container::paths::{Paths, Places};
use crate::container::{ContainerConfig, ExitStatus, State, Status};
use crate::health::Checks;
use crate::init::Running;
use crate::logs::{Splitter, Stream, Writer, stamp};
use crate::restart::Restart;
use crate::spec::Spec;

/// Sockets that become readable when a signal came.
#[derive(Debug)]
pub(super) struct Wakeups {
    pub(super) children: UnixStream,
    pub(super) terminate: UnixStream,
}

pub(super) struct Supervisor {
    pub(super) places: Places,
    pub(super) paths: Paths,
    pub(super) config: ContainerConfig,
    /// Of the host, for containers on its network.
    pub(super) host_name: String,
    pub(super) state: State,
    pub(super) restart: Restart,
    /// What process 1 was made from; execs and probes share its walls.
    pub(super) spec: Spec,
    /// Process 1, from its start until its output was read to the end.
    pub(super) run: Option<Run>,
    pub(super) execs: BTreeMap<u32, Exec>,
    pub(super) probe: Option<RunningProbe>,
    pub(super) stop: Option<Stop>,
    pub(super) restart_at: Option<Duration>,
    /// Of the last run, to be removed at the end.
    pub(super) ended_cgroup: Option<Cgroup>,
    pub(super) clients: BTreeMap<u32, Client>,
    pub(super) leases: Leases,
    /// Given up last: whoever gets it may start or remove the container.
    pub(super) lock: Option<OwnedFd>,
    pub(super) listener: Option<UnixListener>,
    pub(super) log: Option<Writer>,
    lines: [Splitter; 2],
    wakeups: Wakeups,
    next_number: u32,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) running: Running,
    pub(super) cgroup: Cgroup,
    pub(super) streams: Streams,
    pub(super) started: Duration,
    pub(super) checks: Option<Checks>,
    /// Set when process 1 was reaped; what it wrote may still have to be read, until then.
    pub(super) ended: Option<(ExitStatus, Duration)>,
}

#[derive(Debug)]
pub(super) struct Exec {
    pub(super) running: Running,
    pub(super) streams: Streams,
    pub(super) client: Option<u32>,
}

/// A stop that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// When patience ends; `None` after the SIGKILL.
    pub(super) kill_at: Option<Duration>,
}

/// Which descriptor `poll` is about.
#[derive(Clone, Copy, Debug)]
enum Token {
    Listener,
    Children,
    Terminate,
    Client(u32),
    Output(usize),
    Input,
    ExecOutput(u32, usize),
    ExecInput(u32),
    Probe,
}

impl Supervisor {
    pub(super) fn new(
        places: Places,
        paths: Paths,
        lock: OwnedFd,
        listener: UnixListener,
        wakeups: Wakeups,
    ) -> io::Result<Self> {
        let mut config = files::read_config(&paths.config()).map_err(io::Error::other)?;
        let state = files::read_state(&paths.state()).map_err(io::Error::other)?;
        let log = Writer::open(&paths.log(), config.log)?;
        // Labels and the like are read from the file by whoever wants them.
        config.labels.clear();
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self {
            restart: Restart::new(config.restart),
            leases: Leases::new(&places),
            places,
            paths,
            config,
            host_name,
            state,
            spec: Spec::default(),
            run: None,
            execs: BTreeMap::new(),
            probe: None,
            stop: None,
            restart_at: None,
            ended_cgroup: None,
            clients: BTreeMap::new(),
            lock: Some(lock),
            listener: Some(listener),
            log: Some(log),
            lines: Default::default(),
            wakeups,
            next_number: 0,
            buffer: vec![0; protocol::CHUNK],
        })
    }

    /// Serves until the container has ended for good and everybody was told.
    pub(super) fn run(mut self, starter: UnixStream) -> io::Result<()> {
        if self.start(starter)? {
            while self.is_supervising() {
                self.turn()?;
            }
            self.finish();
        }
        self.linger()
    }

    fn is_supervising(&self) -> bool {
        self.run.is_some() || self.restart_at.is_some()
    }

    /// Tells the last words to clients that are slow to listen. The container is cleaned up by now, and a
    /// client that stands still (ctrl-z) is not waited for without end.
    fn linger(&mut self) -> io::Result<()> {
        let end = clock::monotonic() + Duration::from_secs(60);
        self.clients.retain(|_, client| client.has_pending());
        while !self.clients.is_empty() && clock::monotonic() < end {
            self.turn()?;
            self.clients.retain(|_, client| client.has_pending());
        }
        Ok(())
    }

    /// One round: waits for something to happen, then reacts to all that did.
    fn turn(&mut self) -> io::Result<()> {
        for token in self.wait()? {
            self.react(token)?;
        }
        self.serve_clients();
        self.reap();
        self.on_timers(clock::monotonic());
        self.settle();
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<Token>> {
        let mut tokens = Vec::with_capacity(8);
        let mut fds = Vec::with_capacity(8);
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        self.each_interest(&mut add);
        let timeout = self.next_timer().map(|at| until(at, clock::monotonic()));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = fds.iter().zip(&tokens).filter(|(fd, _)| !fd.revents().is_empty());
        // Later descriptors first: reading one to its end takes it out of its list.
        let mut ready: Vec<Token> = ready.map(|(_, token)| *token).collect();
        ready.reverse();
        Ok(ready)
    }

    fn each_interest<'a>(&'a self, add: &mut impl FnMut(Token, BorrowedFd<'a>, PollFlags)) {
        const IN: PollFlags = PollFlags::IN;
        const OUT: PollFlags = PollFlags::OUT;
        if let Some(listener) = &self.listener {
            add(Token::Listener, listener.as_fd(), IN);
        }
        add(Token::Children, self.wakeups.children.as_fd(), IN);
        add(Token::Terminate, self.wakeups.terminate.as_fd(), IN);
        for (id, client) in &self.clients {
            let reads = if self.takes_input_of(client) { IN } else { PollFlags::empty() };
            let writes = if client.has_pending() { OUT } else { PollFlags::empty() };
            add(Token::Client(*id), client.stream().as_fd(), reads | writes);
        }
        if let Some(run) = &self.run {
            if !self.clients.values().any(|c| is_attached(c.role) && c.is_full()) {
                for (at, source) in run.streams.sources.iter().enumerate() {
                    add(Token::Output(at), source.fd.as_fd(), IN);
                }
            }
            if let Some(fd) = run.streams.blocked_sink() {
                add(Token::Input, fd, OUT);
            }
        }
        for (id, exec) in &self.execs {
            let client = exec.client.and_then(|client| self.clients.get(&client));
            if !client.is_some_and(Client::is_full) {
                for (at, source) in exec.streams.sources.iter().enumerate() {
                    add(Token::ExecOutput(*id, at), source.fd.as_fd(), IN);
                }
            }
            if let Some(fd) = exec.streams.blocked_sink() {
                add(Token::ExecInput(*id), fd, OUT);
            }
        }
        if let Some(output) = self.probe.as_ref().and_then(RunningProbe::output) {
            add(Token::Probe, output, IN);
        }
    }

    fn react(&mut self, token: Token) -> io::Result<()> {
        let now = clock::monotonic();
        match token {
            Token::Listener => self.accept(),
            Token::Children => drain(&mut self.wakeups.children),
            Token::Terminate => {
                drain(&mut self.wakeups.terminate);
                self.on_terminate(now);
            }
            Token::Client(id) => {
                let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
                if !client.flush(now) || !client.read(&mut self.buffer) {
                    self.drop_client(id);
                }
            }
            Token::Output(at) => self.pump(at),
            Token::Input => {
                if let Some(run) = &mut self.run {
                    run.streams.flush();
                }
            }
            Token::ExecOutput(id, at) => {
                self.pump_exec(id, at);
            }
            Token::ExecInput(id) => {
                if let Some(exec) = self.execs.get_mut(&id) {
                    exec.streams.flush();
                }
            }
            Token::Probe => {
                if let Some(probe) = &mut self.probe {
                    probe.read(&mut self.buffer);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        // Whoever hung up before we looked is nobody.
        let Ok((stream, _)) = listener.accept() else { return };
        let own = rustix::process::geteuid();
        let peer = rustix::net::sockopt::socket_peercred(&stream);
        let allowed = peer.is_ok_and(|peer| peer.uid == own || peer.uid.is_root());
        if let Ok(client) = Client::new(stream, Role::New)
            && allowed
        {
            self.add_client(client);
        }
    }

    pub(super) fn add_client(&mut self, client: Client) -> u32 {
        let id = self.number();
        self.clients.insert(id, client);
        id
    }

    pub(super) fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    /// Reads the container's output once and hands it to the log and to who is attached.
    fn pump(&mut self, at: usize) {
        let Some(run) = &mut self.run else { return };
        let Some(stream) = run.streams.sources.get(at).map(|source| source.stream) else { return };
        let Some(read) = run.streams.read(at, &mut self.buffer) else { return };
        let now = clock::now();
        let time = stamp(now);
        let Some(log) = &mut self.log else { return };
        let lines = &mut self.lines[stream as usize];
        let mut add = |line: &[u8]| log.add(stream, &time, line);
        match read {
            0 => lines.finish(&mut add),
            read => lines.push(&self.buffer[..read], &mut add),
        }
        log.flush(now);
        let (monotonic, kind) = (clock::monotonic(), kind_of(stream));
        for client in self.clients.values_mut().filter(|c| read > 0 && is_attached(c.role)) {
            client.send(kind, &self.buffer[..read]);
            // A client that is gone is noticed when its socket is read.
            client.flush(monotonic);
        }
    }

    /// Logs what is left of a line that was never ended.
    pub(super) fn finish_output(&mut self) {
        let now = clock::now();
        let time = stamp(now);
        let Some(log) = &mut self.log else { return };
        for (lines, stream) in self.lines.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            lines.finish(&mut |line| log.add(stream, &time, line));
        }
        log.flush(now);
    }

    /// Reads an exec's output once and hands it to its client. `false`: there is none now.
    pub(super) fn pump_exec(&mut self, id: u32, at: usize) -> bool {
        let Some(exec) = self.execs.get_mut(&id) else { return false };
        let Some(stream) = exec.streams.sources.get(at).map(|source| source.stream) else {
            return false;
        };
        let Some(read) = exec.streams.read(at, &mut self.buffer) else { return false };
        if let Some(client) = exec.client.and_then(|client| self.clients.get_mut(&client))
            && read > 0
        {
            client.send(kind_of(stream), &self.buffer[..read]);
            client.flush(clock::monotonic());
        }
        read > 0
    }

    pub(super) fn write_state(&mut self) {
        // A full disk must not end the supervision; the next change tries again.
        if let Err(error) = files::write_state(&self.paths.state(), &self.state) {
            tracing::warn!(container = %self.config.id, %error, "cannot write the state");
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state.status == Status::Paused
    }

    fn next_timer(&self) -> Option<Duration> {
        let run = self.run.as_ref();
        let health = run
            .filter(|run| run.ended.is_none() && !self.is_paused())
            .and_then(|run| run.checks.as_ref()?.deadline());
        let drain = run.and_then(|run| run.ended).map(|(_, until)| until);
        let kill = self.stop.and_then(|stop| stop.kill_at);
        // Whether a client is stuck is looked at once a second while one has not taken everything.
        let stuck = self.clients.values().any(Client::has_pending);
        let patience = stuck.then(|| clock::monotonic() + Duration::from_secs(1));
        [health, drain, kill, self.restart_at, patience].into_iter().flatten().min()
    }
}

pub(super) fn is_attached(role: Role) -> bool {
    matches!(role, Role::Attached { .. })
}

fn kind_of(stream: Stream) -> Kind {
    match stream {
        Stream::Stdout => Kind::Stdout,
        Stream::Stderr => Kind::Stderr,
    }
}

fn until(at: Duration, now: Duration) -> Timespec {
    // Rounded up: waking a moment too early would spin.
    let left = at.saturating_sub(now) + Duration::from_micros(100);
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}

fn drain(stream: &mut UnixStream) {
    let mut bytes = [0; 64];
    while stream.read(&mut bytes).is_ok_and(|read| read == bytes.len()) {}
}
