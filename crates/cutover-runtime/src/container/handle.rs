//! [`Container`]: what can be done with one container.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::paths::{Paths, Places};
use super::session::Connection;
use super::spawn::{Program, spawn};
use super::{
    ContainerConfig, Error, ExecOptions, ExitStatus, Id, Result, Session, State, clock, files,
    lock, reconcile, remove,
};
use crate::cgroup::Cgroup;
use crate::logs::{Entry, LogOptions};
use crate::shim::protocol::{Reply, Request};

/// How long the end of an earlier shim is waited for: it cleans up after it reported the exit.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container that exists. Holds no lock; what it was may have changed when it is asked.
#[derive(Clone, Debug)]
pub struct Container {
    places: Places,
    paths: Paths,
    program: Program,
    config: ContainerConfig,
}

impl Container {
    pub(super) fn new(places: Places, program: Program, config: ContainerConfig) -> Self {
        let paths = places.container(&config.id);
        Self { places, paths, program, config }
    }

    pub fn id(&self) -> &Id {
        &self.config.id
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn config(&self) -> &ContainerConfig {
        &self.config
    }

    /// What is true of it now.
    pub fn state(&self) -> Result<State> {
        reconcile::reconcile(&self.places, &self.config).map_err(|error| self.gone(error))
    }

    /// Starts it in the background; returns after its program was executed, or with why not.
    /// Its supervisor outlives the caller.
    pub fn start(&self) -> Result<()> {
        self.launch(&Request::Start { attach: false, stdin: false, size: None }).map(drop)
    }

    /// Starts it with the caller attached from the first byte on. With `stdin`, the caller's input is
    /// the container's; its end closes it. `size`: rows and columns of the terminal.
    pub fn start_attached(&self, stdin: bool, size: Option<(u16, u16)>) -> Result<Session> {
        let connection = self.launch(&Request::Start { attach: true, stdin, size })?;
        Ok(Session::new(connection, stdin, self.config.terminal, self.clone()))
    }

    /// Attaches to a running container.
    pub fn attach(&self, stdin: bool) -> Result<Session> {
        let connection = self.ask(&Request::Attach { stdin }, "be attached to")?;
        Ok(Session::new(connection, stdin, self.config.terminal, self.clone()))
    }

    /// Blocks until it is not running; at once when it is not.
    pub fn wait(&self) -> Result<ExitStatus> {
        match self.ask(&Request::Wait, "be waited for") {
            Ok(connection) => self.await_exit(connection),
            Err(Error::Status { .. }) => Ok(self.state()?.exit.unwrap_or_default()),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to process 1.
    pub fn kill(&self, signal: i32) -> Result<()> {
        self.ask(&Request::Kill { signal }, "be killed").map(drop)
    }

    /// Stop signal, then SIGKILL after the timeout (`None`: the container's own). Returns when it
    /// ended; goes on without the caller. Fine when it is not running.
    pub fn stop(&self, timeout: Option<Duration>) -> Result<()> {
        let timeout_ms =
            timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        match self.ask(&Request::Stop { timeout_ms }, "be stopped") {
            Ok(connection) => self.await_exit(connection).map(drop),
            Err(Error::Status { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes it, with its anonymous volumes if `volumes`. A running one only by `force`; then it is also
    /// fine when it is gone already.
    pub fn remove(&self, force: bool, volumes: bool) -> Result<()> {
        let mut attempts = if force { 3 } else { 1 };
        loop {
            attempts -= 1;
            let removed = self.try_remove(force, volumes);
            match removed {
                // Somebody was starting it at this moment.
                Err(Error::Status { .. }) if attempts > 0 => {}
                // As one with `--rm` removes itself.
                Err(Error::NotFound(_)) if force => return Ok(()),
                result => return result,
            }
        }
    }

    fn try_remove(&self, force: bool, volumes: bool) -> Result<()> {
        if force && self.state()?.status.is_live() {
            self.stop(Some(Duration::ZERO))?;
        }
        let _lock = self.take_lock("be removed")?;
        let state = files::read_state(&self.paths.state()).map_err(|error| self.gone(error))?;
        if !state.status.can_remove() {
            return Err(self.status_error(&state, "be removed"));
        }
        remove::remove_directory(&self.places, &self.config, volumes)
    }

    /// Hands the entries of its log to `sink`, oldest first, until there are no more (or, following,
    /// until it stops). An error of `sink` ends it: `BrokenPipe` silently.
    pub fn logs(
        &self,
        options: &LogOptions,
        sink: &mut dyn FnMut(&Entry) -> io::Result<()>,
    ) -> Result<()> {
        // Connected before the first read, so that no end can be missed.
        let shim = match options.follow {
            true => self.ask(&Request::Follow, "be followed").ok().map(Connection::into_stream),
            false => None,
        };
        super::follow::follow(&self.paths.log(), options, shim, sink)
    }

    /// Runs one more process in it. 126 and 127 are [`Error::Exec`].
    pub fn exec(&self, options: &ExecOptions) -> Result<Session> {
        let connection = self.ask(&Request::Exec(options.clone()), "execute a command")?;
        Ok(Session::new(connection, options.stdin, options.terminal, self.clone()).of_exec())
    }

    /// Stops all its processes where they are.
    pub fn pause(&self) -> Result<()> {
        self.ask(&Request::Pause, "be paused").map(drop)
    }

    pub fn unpause(&self) -> Result<()> {
        self.ask(&Request::Unpause, "be unpaused").map(drop)
    }

    /// What it uses.
    pub fn stats(&self) -> Result<crate::cgroup::Stats> {
        let stats = Cgroup::open(self.config.id.as_str()).and_then(|cgroup| cgroup.stats());
        stats.map_err(|error| Error::Shim {
            name: self.config.name.clone(),
            reason: error.to_string(),
        })
    }

    /// Its processes, as the host numbers them.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let status = self.state()?.status;
        if !status.is_live() {
            let name = self.config.name.clone();
            return Err(Error::Status { name, status, operation: "show its processes" });
        }
        let pids = Cgroup::open(self.config.id.as_str()).and_then(|cgroup| cgroup.pids());
        pids.map_err(|error| Error::Shim {
            name: self.config.name.clone(),
            reason: error.to_string(),
        })
    }

    /// The directory that holds what it wrote into its root.
    pub fn upper(&self) -> PathBuf {
        self.paths.upper()
    }

    fn launch(&self, request: &Request) -> Result<Connection> {
        let lock = self.take_lock("be started")?;
        let state = files::read_state(&self.paths.state()).map_err(|error| self.gone(error))?;
        if !state.status.can_start() {
            return Err(self.status_error(&state, "be started"));
        }
        let stream = spawn(&self.program, &self.places, &self.config.id, lock, request)?;
        let mut connection = Connection::new(stream);
        match connection.reply() {
            Ok(Reply::Ok) => Ok(connection),
            Ok(Reply::Failed { code, reason }) => {
                Err(Error::Start { name: self.config.name.clone(), code, reason })
            }
            Ok(Reply::Refused { reason }) => Err(self.refused("be started", reason)),
            Err(error) => Err(self.shim_error(self.why_shim_died(&error))),
        }
    }

    /// Sends a request to the shim and takes its answer.
    fn ask(&self, request: &Request, operation: &'static str) -> Result<Connection> {
        let stream = match crate::shim::connect(&self.paths) {
            Ok(stream) => stream,
            Err(error) => return Err(self.unreachable(operation, &error)?),
        };
        let mut connection = Connection::new(stream);
        match connection.request(request).and_then(|()| connection.reply()) {
            Ok(Reply::Ok) => Ok(connection),
            Ok(Reply::Failed { code, reason }) => {
                Err(Error::Exec { name: self.config.name.clone(), code, reason })
            }
            Ok(Reply::Refused { reason }) => Err(self.refused(operation, reason)),
            // It ended at this moment, or was killed.
            Err(error) => Err(self.unreachable(operation, &error)?),
        }
    }

    /// Nobody listens: the container is not running. If its state says otherwise, its shim has just been
    /// killed, and the kernel is about to give up its lock.
    fn unreachable(&self, operation: &'static str, error: &io::Error) -> Result<Error> {
        let end = clock::monotonic() + Duration::from_secs(2);
        loop {
            let state = self.state()?;
            if !state.status.is_live() {
                return Ok(self.status_error(&state, operation));
            }
            if clock::monotonic() >= end {
                return Ok(self.shim_error(error.to_string()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn await_exit(&self, mut connection: Connection) -> Result<ExitStatus> {
        match connection.exit() {
            Ok(exit) => Ok(exit),
            // The shim was killed while we waited: so was the container.
            Err(_) => {
                wait_for_unlock(&self.paths)?;
                Ok(self.state()?.exit.unwrap_or_default())
            }
        }
    }

    /// The lock, for starting and removing. Waits for a shim that is only cleaning up.
    fn take_lock(&self, operation: &'static str) -> Result<File> {
        // Sets right what a killed shim left, which frees the lock's meaning.
        self.state()?;
        let end = clock::monotonic() + PATIENCE;
        let lock = lock::lock(&self.paths.lock(), || {
            let state = files::read_state(&self.paths.state())?;
            match state.status.is_live() || clock::monotonic() >= end {
                true => Err(self.status_error(&state, operation)),
                false => Ok(()),
            }
        })
        .map_err(|error| self.gone(error))?;
        // Left by a shim that was killed before it had said that the container runs.
        reconcile::sweep_if_left(&self.places, &self.config);
        Ok(lock)
    }

    fn why_shim_died(&self, error: &io::Error) -> String {
        let log = fs_err::read_to_string(self.paths.shim_log()).unwrap_or_default();
        match log.lines().last() {
            Some(line) => line.to_owned(),
            None => format!("it ended before it answered ({error})"),
        }
    }

    fn status_error(&self, state: &State, operation: &'static str) -> Error {
        Error::Status { name: self.config.name.clone(), status: state.status, operation }
    }

    fn refused(&self, operation: &'static str, reason: String) -> Error {
        Error::Refused { name: self.config.name.clone(), operation, reason }
    }

    pub(super) fn shim_error(&self, reason: String) -> Error {
        Error::Shim { name: self.config.name.clone(), reason }
    }

    fn gone(&self, error: Error) -> Error {
        match error {
            Error::Io(source) if source.kind() == io::ErrorKind::NotFound => {
                Error::NotFound(self.config.name.as_str().into())
            }
            other => other,
        }
    }
}

/// A killed shim's lock is free as soon as the kernel has closed its descriptors.
fn wait_for_unlock(paths: &Paths) -> Result<()> {
    let end = clock::monotonic() + PATIENCE;
    let held = lock::lock(&paths.lock(), || match clock::monotonic() < end {
        true => Ok(()),
        false => Err(io::Error::from(io::ErrorKind::TimedOut)),
    });
    match held {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
