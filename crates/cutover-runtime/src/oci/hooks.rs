//! Programs that take part: run one after the other, with the container's state on their standard input.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::config::Hook;
use super::error::{Error, Result};

/// How much of a failed hook's words is told.
const WORDS: u64 = 2048;

/// Runs them in order; the first that fails ends it.
pub(super) fn run(kind: &'static str, hooks: &[Hook], state: &[u8]) -> Result<()> {
    hooks.iter().try_for_each(|hook| one(kind, hook, state))
}

/// Runs them all; what failed is handed back.
pub(super) fn run_all(kind: &'static str, hooks: &[Hook], state: &[u8]) -> Vec<Error> {
    hooks.iter().filter_map(|hook| one(kind, hook, state).err()).collect()
}

fn one(kind: &'static str, hook: &Hook, state: &[u8]) -> Result<()> {
    let failed =
        |reason: String| Error::Hook { kind, path: hook.path.display().to_string(), reason };
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    command.env_clear();
    command.envs(hook.env.iter().filter_map(|pair| pair.split_once('=')));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|error| failed(format!("could not be run: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read is none the worse for it.
        drop(stdin.write_all(state));
    }
    let status = wait(&mut child, hook.timeout).map_err(|error| failed(error.to_string()))?;
    let Some(status) = status else {
        drop(child.kill());
        drop(child.wait());
        return Err(failed(format!("took longer than {} s", hook.timeout.unwrap_or_default())));
    };
    if status.success() {
        return Ok(());
    }
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What it left behind may still hold the pipe: only what is there is read.
        let _nonblocking = rustix::io::ioctl_fionbio(&stderr, true);
        drop(stderr.take(WORDS).read_to_end(&mut words));
    }
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    };
    Err(failed(if words.is_empty() { how } else { format!("{how}: {words}") }))
}

/// `None` when it takes too long.
fn wait(
    child: &mut Child,
    timeout: Option<i64>,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let Some(seconds) = timeout else { return child.wait().map(Some) };
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let mut ready = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    loop {
        match poll(&mut ready, Some(&limit)) {
            Ok(0) => return Ok(None),
            Ok(_) => return child.wait().map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
