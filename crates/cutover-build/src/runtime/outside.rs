//! A step that a program of the host works on: the container waits, the program enters it as often
//! as it likes, and both end together.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use cutover_runtime::init::Io;
use cutover_runtime::spec::Spec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process_group};

use super::Failure;
use crate::provision::enter::{CONTAINER, Container, ENTER, OUTSIDE};
use crate::{Cancel, Outside};

/// How often somebody looks whether the program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The program, and the container's standard input, which ends with it.
#[derive(Debug)]
pub(super) struct Controller<'a> {
    outside: &'a Outside,
    output: Mutex<Option<(OwnedFd, OwnedFd)>>,
    hold: Mutex<Option<OwnedFd>>,
    running: Mutex<Option<Child>>,
}

impl<'a> Controller<'a> {
    /// Takes part in the container's streams: its input becomes ours to end.
    pub(super) fn of(outside: Option<&'a Outside>, io: Io) -> Result<(Option<Self>, Io), Failure> {
        let (Some(outside), Io::Streams { stdout, stderr, .. }) = (outside, &io) else {
            return Ok((None, io));
        };
        let make = || {
            let (stdin, hold) = pipe_with(PipeFlags::CLOEXEC)?;
            let output = Mutex::new(Some((stdout.try_clone()?, stderr.try_clone()?)));
            let (hold, running) = (Mutex::new(Some(hold)), Mutex::new(None));
            Ok((Self { outside, output, hold, running }, stdin))
        };
        let (controller, stdin) = make().map_err(Failure::Scratch)?;
        let Io::Streams { stdout, stderr, .. } = io else { return Ok((None, io)) };
        Ok((Some(controller), Io::Streams { stdin, stdout, stderr }))
    }

    /// Starts the program, on the thread that outlives it: it dies with that.
    pub(super) fn start(&self, spec: &Spec, pid: i32) -> Result<(), Failure> {
        let failed = |error| Failure::Outside(self.outside.program.clone(), error);
        self.describe(spec, pid).map_err(Failure::Scratch)?;
        let Some((out, err)) = lock(&self.output).take() else { return Ok(()) };
        let child = Command::new("/proc/self/exe")
            .arg(OUTSIDE)
            .arg(&self.outside.program)
            .args(&self.outside.args)
            .env_clear()
            .envs(self.outside.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.outside.cwd)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn();
        *lock(&self.running) = Some(child.map_err(failed)?);
        Ok(())
    }

    /// Writes the command that enters the container. Its directory is the builder's alone.
    fn describe(&self, spec: &Spec, pid: i32) -> io::Result<()> {
        let directory = &self.outside.directory;
        // Mounts are made, and some of them are secrets.
        let spec = Spec { mounts: Vec::new(), ..spec.clone() };
        let text = serde_json::to_vec(&Container { spec, pid }).map_err(io::Error::other)?;
        fs_err::write(directory.join(CONTAINER), text)?;
        let own = format!("/proc/{}/exe", std::process::id());
        let quoted = directory.display().to_string().replace('\'', "'\\''");
        let enter = directory.join("enter");
        fs_err::write(&enter, format!("#!/bin/sh\nexec {own} {ENTER} '{quoted}' \"$@\"\n"))?;
        fs_err::set_permissions(&enter, std::os::unix::fs::PermissionsExt::from_mode(0o700))
    }

    /// Waits for the program on another thread, then lets the container end. The exit code.
    pub(super) fn wait(&self, cancel: &Cancel) -> Result<i32, Failure> {
        loop {
            let over = lock(&self.hold).is_none();
            if let Some(child) = lock(&self.running).as_mut() {
                let failed = |error| Failure::Outside(self.outside.program.clone(), error);
                if let Some(status) = child.try_wait().map_err(failed)? {
                    self.release();
                    return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
                }
                if over || cancel.is_raised() {
                    kill(child);
                }
            } else if over {
                // It was never started.
                return Ok(125);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Lets the container's program end; what still runs of ours ends too.
    pub(super) fn release(&self) {
        lock(&self.hold).take();
    }
}

/// Kills the program with its children. It is not reaped, so its number is its own.
fn kill(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _gone = kill_process_group(pid, Signal::KILL);
    }
    drop(child.kill());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
