//! Starting process 1, the first time and again.

use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use fs_err as fs;

use super::client::{Client, Role};
use super::complain;
use super::memory::for_children;
use super::protocol::{Kind, Reply, Request};
use super::requests::adopt_console;
use super::streams::{Streams, Wanted};
use super::supervisor::{Run, Supervisor};
use crate::cgroup::Cgroup;
use crate::container::to_spec::{Surroundings, to_spec};
use crate::container::{ExitStatus, NetworkMode, Status, clock, etc, files};
use crate::health::Checks;
use crate::init::{self, Created};

/// Why a container could not be started.
#[derive(Debug)]
pub(super) struct Failure {
    /// docker's exit code.
    pub(super) code: i32,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn ours(error: &dyn std::error::Error) -> Self {
        Self { code: 125, reason: chain(error) }
    }
}

/// The terminal and input that the first start was asked for; later starts have the same.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    attach: bool,
    stdin: bool,
    size: Option<(u16, u16)>,
}

impl Supervisor {
    /// Starts the container and answers the starter. `false`: it did not start, and all was cleaned up.
    pub(super) fn start(&mut self, starter: UnixStream) -> io::Result<bool> {
        let mut client = Client::new(starter, Role::New)?;
        let asked = asked(&mut client)?;
        let launched = self.launch(asked.size);
        if asked.attach {
            client.role = Role::Attached { stdin: asked.stdin, starter: true };
        } else {
            client.role = Role::Leaving;
        }
        let id = self.add_client(client);
        match launched {
            Ok(()) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.send_json(Kind::Reply, &Reply::Ok);
                }
                self.serve_clients();
                // A container in the background is left alone for long; one that somebody waits
                // for may end at once, and reading the code again would cost it time.
                if !asked.attach {
                    crate::sys::process::forget_code();
                }
                Ok(true)
            }
            Err(Failure { code, reason }) => {
                self.record_failure(code, &reason);
                self.release_name();
                self.last_words(id, &Reply::Failed { code, reason });
                self.serve_clients();
                self.clean_up();
                Ok(false)
            }
        }
    }

    /// A failed restart is a run that ended at once, with docker's code for it.
    pub(super) fn relaunch(&mut self) -> Result<(), Failure> {
        self.launch(None)
    }

    pub(super) fn record_failure(&mut self, code: i32, reason: &str) {
        self.state.status = Status::Exited;
        self.state.pid = None;
        self.state.exit = Some(ExitStatus::exited(code));
        self.state.error = Some(reason.to_owned());
        self.state.finished_at = Some(clock::now());
        self.write_state();
    }

    fn launch(&mut self, size: Option<(u16, u16)>) -> Result<(), Failure> {
        let io_failure = |error: io::Error| Failure::ours(&error);
        self.state.addresses.clear();
        self.state.ports.clear();
        self.write_etc().map_err(io_failure)?;
        self.spec = self.make_spec()?;
        let terminal = self.config.terminal.then(|| size.unwrap_or((0, 0)));
        let (mut streams, io) =
            Streams::open(Wanted { stdin: self.config.stdin, terminal }).map_err(io_failure)?;
        let mut created =
            for_children(|| init::create(&self.spec, io)).map_err(|error| Failure::ours(&error))?;
        let console = created.console.take();
        let cgroup = created.cgroup.clone();
        let started = self.connect_and_start(created);
        let mut running = match started {
            Ok(running) => running,
            Err(failure) => {
                self.clean_up_run(&cgroup);
                return Err(failure);
            }
        };
        running.console = running.console.take().or(console);
        if let Err(error) = adopt_console(&mut streams, &mut running, self.config.stdin) {
            drop(cgroup.kill_all());
            self.clean_up_run(&cgroup);
            return Err(io_failure(error));
        }
        self.record_running(running.pid);
        let started = clock::monotonic();
        let checks = self.config.healthcheck.as_ref().map(|check| Checks::new(check, started));
        self.state.health = checks.as_ref().map(|checks| checks.health().clone());
        self.write_state();
        self.run = Some(Run { running, cgroup, streams, started, checks, ended: None });
        Ok(())
    }

    fn connect_and_start(&mut self, created: Created) -> Result<init::Running, Failure> {
        let connected = self.leases.attach(&self.config, created.netns.as_fd())?;
        (self.state.addresses, self.state.ports) = connected;
        if !self.state.addresses.is_empty() {
            self.write_hosts().map_err(|error| Failure::ours(&error))?;
        }
        created.start().map_err(|error| Failure { code: error.exit_code(), reason: chain(&error) })
    }

    fn record_running(&mut self, pid: i32) {
        let state = &mut self.state;
        state.status = Status::Running;
        state.pid = Some(pid);
        state.shim_pid = Some(rustix::process::getpid().as_raw_nonzero().get());
        state.boot_id = clock::boot_id();
        state.started_at = Some(clock::now());
        state.finished_at = None;
        state.error = None;
        state.stopped_by_user = false;
        state.interrupted = false;
        state.restart_count = self.restart.count();
        self.stop = None;
    }

    fn make_spec(&self) -> Result<crate::spec::Spec, Failure> {
        let shared_network = match &self.config.network {
            NetworkMode::Container(id) => Some(self.network_of(id)?),
            _ => None,
        };
        let at = Surroundings {
            root: &self.places.root,
            paths: &self.paths,
            host_name: &self.host_name,
            shared_network,
        };
        Ok(to_spec(&self.config, &at))
    }

    fn network_of(&self, other: &str) -> Result<PathBuf, Failure> {
        let state = other
            .parse()
            .ok()
            .and_then(|id| files::read_state(&self.places.container(&id).state()).ok());
        match state.filter(|state| state.status.is_live()).and_then(|state| state.pid) {
            Some(pid) => Ok(PathBuf::from(format!("/proc/{pid}/ns/net"))),
            None => Err(Failure {
                code: 125,
                reason: format!("container `{other}`, whose network it shares, is not running"),
            }),
        }
    }

    fn write_etc(&self) -> io::Result<()> {
        self.write_hosts()?;
        let host_name = self.config.hostname.as_deref().unwrap_or(&self.host_name);
        fs::write(self.paths.etc("hostname"), format!("{host_name}\n"))?;
        let own_network = self.config.network != NetworkMode::Host;
        let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let host = match own_network && etc::is_stub(&host) {
            true => fs::read_to_string("/run/systemd/resolve/resolv.conf").unwrap_or(host),
            false => host,
        };
        let text = etc::resolv_conf(&host, &self.config.dns, own_network);
        fs::write(self.paths.etc("resolv.conf"), text)
    }

    /// In place, not by rename: the container has this very file mounted.
    fn write_hosts(&self) -> io::Result<()> {
        let text = etc::hosts(&self.config, &self.host_name, &self.state);
        fs::write(self.paths.etc("hosts"), text)
    }

    /// Removes what a run left on the machine. Its state was written and its clients told before.
    pub(super) fn clean_up_run(&mut self, cgroup: &Cgroup) {
        for error in self.leases.release() {
            complain(&format!("failed to detach the network: {error}"));
        }
        if let Err(error) = cgroup.remove() {
            complain(&format!("failed to remove the control group: {}", chain(&error)));
        }
    }
}

/// The request that the starter wrote before it spawned us.
fn asked(client: &mut Client) -> io::Result<Asked> {
    let mut buffer = [0; 512];
    client.stream().set_nonblocking(false)?;
    loop {
        if let Some((Kind::Request, body)) = client.next_frame()? {
            client.stream().set_nonblocking(true)?;
            return match serde_json::from_slice(&body)? {
                Request::Start { attach, stdin, size } => Ok(Asked { attach, stdin, size }),
                _ => Err(io::Error::other("the starter asked for something else")),
            };
        }
        if !client.read(&mut buffer) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("a string takes all");
        cause = error.source();
    }
    text
}
