//! `--on-error=shell`: a shell where a step failed, on the terminal of this process.
//!
//! It is another container over the same files, with the same mounts, variables, directory and
//! user: what the step left behind is there, its processes are not.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};

use cutover_runtime::container::run_once;
use cutover_runtime::init::{Io, StartError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::{Failure, Places, RuntimeRunner, kill, leftovers, to_spec};
use crate::{Cancel, RunStep, RunStepError};

/// How often the size of the window is looked at, and whether the build was canceled.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl RuntimeRunner {
    pub(super) fn on_terminal(&self, step: &RunStep, cancel: &Cancel) -> Result<(), RunStepError> {
        let failed = |failure: Failure| RunStepError::Start(Box::new(failure));
        let name = leftovers::name();
        let places =
            Places::make(step, &self.scratch).map_err(|failure| failed(Failure::Mount(failure)))?;
        let (sender, console) = channel();
        std::thread::scope(|scope| {
            let contained = scope.spawn(|| self.contain_shell(step, &name, &places, sender));
            // Without one the container did not come up, and says why.
            if let Ok(console) = console.recv() {
                let _raw = Raw::enter();
                relay(&console, cancel, &|| kill(&name));
            }
            match contained.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(()) => Ok(()),
                Err(Failure::Start(StartError::NotFound { program, .. })) => {
                    Err(RunStepError::NotFound { command: program })
                }
                Err(failure) => Err(failed(failure)),
            }
        })
    }

    /// On the thread that the container dies with; hands its terminal over.
    fn contain_shell(
        &self,
        step: &RunStep,
        name: &str,
        places: &Places,
        console: Sender<OwnedFd>,
    ) -> Result<(), Failure> {
        let _mark = leftovers::Mark::new(&self.marks, name).map_err(Failure::Scratch)?;
        let etc = tempfile::Builder::new().prefix("etc-").tempdir_in(&self.scratch);
        let etc = etc.map_err(Failure::Scratch)?;
        let mut spec = to_spec(step, name, etc.path(), places.mounts(step))?;
        // Orphans of commands that are tried are reaped.
        spec.init = true;
        places.enter(step)?;
        let size = tcgetwinsize(rustix::stdio::stdin());
        let (rows, columns) = size.map_or((0, 0), |size| (size.ws_row, size.ws_col));
        let mut attached = None;
        let ended = run_once(&spec, Io::Terminal { rows, columns }, |created| {
            attached = self.attach(step, name, created)?;
            let terminal = created.console.as_ref().map(OwnedFd::try_clone).transpose();
            if let Some(terminal) = terminal.map_err(Failure::Scratch)? {
                // Nobody listens only when the whole build is over.
                drop(console.send(terminal));
            }
            Ok::<(), Failure>(())
        });
        if let Some(attached) = attached
            && let Err(error) = self.networks.release(attached)
        {
            tracing::warn!(%error, "cannot release the network of a shell");
        }
        ended.map(drop)
    }
}

/// The caller's terminal in raw mode until it is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Self {
        let before = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _unchanged = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs no restoring.
            let _gone = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Carries keys to the container's terminal and what it shows back, until nobody has it open.
fn relay(console: &OwnedFd, cancel: &Cancel, kill: &dyn Fn()) {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let (mut typing, mut size) = (true, tcgetwinsize(stdin).ok());
    loop {
        if cancel.is_raised() {
            kill();
        }
        let now = tcgetwinsize(stdin).ok();
        if now.map(|now| (now.ws_row, now.ws_col)) != size.map(|size| (size.ws_row, size.ws_col)) {
            size = now;
            let _unchanged = now.map(|now| tcsetwinsize(console, now));
        }
        let mut fds = vec![PollFd::new(console, PollFlags::IN)];
        if typing {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, Some(&LOOK)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        // The other side of a terminal is gone: an error, not an end.
        if ready[0] && !carry(console.as_fd(), stdout).unwrap_or(false) {
            return;
        }
        if ready.get(1) == Some(&true) {
            typing = carry(stdin, console.as_fd()).unwrap_or(false);
        }
    }
}

/// Carries what is there; false at the end.
fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0; 8 << 10];
    let count = match rustix::io::read(from, &mut buffer) {
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        read => read?,
    };
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(count > 0)
}
