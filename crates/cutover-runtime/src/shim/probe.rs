//! Running health checks: the effects behind [`crate::health`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::launch::chain;
use super::memory::for_children;
use super::streams::set_nonblocking;
use super::supervisor::Supervisor;
use crate::container::{ExecOptions, ExitStatus, Probe, clock};
use crate::health::{self, Action, Event};
use crate::init::{self, Io, Running};

/// A health check that is being run.
#[derive(Debug)]
pub(super) struct RunningProbe {
    pub(super) running: Running,
    pipe: Option<OwnedFd>,
    output: Vec<u8>,
    start: Timestamp,
}

impl RunningProbe {
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads once; `false` when there is nothing more now. Beyond the limit it is read and forgotten,
    /// so that a talkative probe does not stand still.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => self.pipe = None,
            Ok(read) => {
                let room = health::MAX_OUTPUT.saturating_sub(self.output.len());
                self.output.extend_from_slice(&buffer[..read.min(room)]);
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.pipe = None,
        }
        false
    }

    fn finish(mut self, exit: ExitStatus, end: Timestamp) -> Probe {
        let mut buffer = [0; 4096];
        while self.output.len() < health::MAX_OUTPUT && self.read(&mut buffer) {}
        let output = String::from_utf8_lossy(&self.output).into_owned();
        Probe { start: self.start, end, exit_code: exit.code, output }
    }
}

impl Supervisor {
    pub(super) fn on_health(&mut self, event: Event, now: Duration) {
        let Some(checks) = self.run.as_mut().and_then(|run| run.checks.as_mut()) else { return };
        for action in checks.on(event, now) {
            match action {
                Action::StartProbe => self.start_probe(now),
                Action::KillProbe => {
                    if let Some(probe) = &self.probe {
                        // Ended this very moment: then it is about to be reaped.
                        drop(probe.running.signal(9));
                    }
                }
                Action::Publish => self.publish_health(),
            }
        }
    }

    fn publish_health(&mut self) {
        let checks = self.run.as_ref().and_then(|run| run.checks.as_ref());
        self.state.health = checks.map(|checks| checks.health().clone());
        self.write_state();
    }

    fn start_probe(&mut self, now: Duration) {
        let start = clock::now();
        match self.spawn_probe() {
            Ok((running, pipe)) => {
                let pipe = Some(pipe);
                self.probe = Some(RunningProbe { running, pipe, output: Vec::new(), start });
            }
            Err(output) => {
                let probe = Probe { start, end: clock::now(), exit_code: -1, output };
                self.on_health(Event::Finished(probe), now);
            }
        }
    }

    fn spawn_probe(&self) -> Result<(Running, OwnedFd), String> {
        let (Some(run), Some(check)) = (&self.run, &self.config.healthcheck) else {
            return Err("the container is not running".to_owned());
        };
        let args = health::command(check, &self.config.shell);
        let spec = self.exec_spec(&ExecOptions { args, ..ExecOptions::default() });
        let (pipe, io) = probe_io().map_err(|error| error.to_string())?;
        let pidfd = run.running.pidfd.as_fd();
        let running = for_children(|| init::exec(&self.spec, pidfd, &spec, io))
            .map_err(|error| chain(&error))?;
        Ok((running, pipe))
    }

    pub(super) fn finish_probe(&mut self, exit: ExitStatus) {
        if let Some(probe) = self.probe.take() {
            let probe = probe.finish(exit, clock::now());
            self.on_health(Event::Finished(probe), clock::monotonic());
        }
    }
}

/// One pipe for both outputs, nothing to read.
fn probe_io() -> io::Result<(OwnedFd, Io)> {
    let (pipe, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    set_nonblocking(pipe.as_fd())?;
    let stdin = fs_err::File::open("/dev/null")?.into_parts().0.into();
    let stderr = stdout.try_clone()?;
    Ok((pipe, Io::Streams { stdin, stdout, stderr }))
}
