//! [`Supervisor`]: the shim's state and its loop.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::client::{Client, Role};
use super::network::Leases;
use super::probe::RunningProbe;
use super::protocol;
use super::streams::Streams;
use crate::cgroup::Cgroup;
use crate::container::clock;
use crate::container::files;
use crate::container::paths::{Paths, Places};
use crate::container::{ContainerConfig, ExitStatus, State, Status};
use crate::health::Checks;
use crate::init::Running;
use crate::logs::{Splitter, Writer};
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
    pub(super) lines: [Splitter; 2],
    pub(super) wakeups: Wakeups,
    pub(super) next_number: u32,
    pub(super) buffer: Vec<u8>,
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

    pub(super) fn write_state(&mut self) {
        // A full disk must not end the supervision; the next change tries again.
        if let Err(error) = files::write_state(&self.paths.state(), &self.state) {
            super::complain(&format!("failed to write the state: {error}"));
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state.status == Status::Paused
    }
}

pub(super) fn is_attached(role: Role) -> bool {
    matches!(role, Role::Attached { .. })
}
