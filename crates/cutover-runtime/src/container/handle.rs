//! [`Container`]: what can be done with one container.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{ContainerConfig, ExecOptions, ExitStatus, Id, Result, Session, State};
use crate::logs::{Entry, LogOptions};

/// A container that exists. Holds no lock; what it was may have changed when it is asked.
#[derive(Clone, Debug)]
pub struct Container {
    config: ContainerConfig,
}

impl Container {
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
        todo!()
    }

    /// Starts it in the background; returns after its program was executed, or with why not.
    /// Its supervisor outlives the caller.
    pub fn start(&self) -> Result<()> {
        todo!()
    }

    /// Starts it with the caller attached from the first byte on.
    /// With `stdin`, the caller's input is the container's; its end closes it.
    pub fn start_attached(&self, stdin: bool) -> Result<Session> {
        let _ = stdin;
        todo!()
    }

    /// Attaches to a running container.
    pub fn attach(&self, stdin: bool) -> Result<Session> {
        let _ = stdin;
        todo!()
    }

    /// Blocks until it is not running; at once when it is not.
    pub fn wait(&self) -> Result<ExitStatus> {
        todo!()
    }

    /// Sends a signal to process 1.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let _ = signal;
        todo!()
    }

    /// Stop signal, then SIGKILL after the timeout (`None`: the container's own). Returns when it
    /// ended; goes on without the caller. Fine when it is not running.
    pub fn stop(&self, timeout: Option<Duration>) -> Result<()> {
        let _ = timeout;
        todo!()
    }

    /// Removes it, with its anonymous volumes if `volumes`. A running one only by `force`.
    pub fn remove(&self, force: bool, volumes: bool) -> Result<()> {
        let _ = (force, volumes);
        todo!()
    }

    /// Hands the entries of its log to `sink`, oldest first, until there are no more (or, following,
    /// until it stops). An error of `sink` ends it: `BrokenPipe` silently.
    pub fn logs(
        &self,
        options: &LogOptions,
        sink: &mut dyn FnMut(&Entry) -> io::Result<()>,
    ) -> Result<()> {
        let _ = (options, sink);
        todo!()
    }

    /// Runs one more process in it. 126 and 127 are [`super::Error::Exec`].
    pub fn exec(&self, options: &ExecOptions) -> Result<Session> {
        let _ = options;
        todo!()
    }

    /// Stops all its processes where they are.
    pub fn pause(&self) -> Result<()> {
        todo!()
    }

    pub fn unpause(&self) -> Result<()> {
        todo!()
    }

    /// What it uses.
    pub fn stats(&self) -> Result<crate::cgroup::Stats> {
        todo!()
    }

    /// The directory that holds what it wrote into its root.
    pub fn upper(&self) -> PathBuf {
        todo!()
    }
}
