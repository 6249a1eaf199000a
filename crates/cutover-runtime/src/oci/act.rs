//! What is done with a container that exists: `start`, `kill`, `delete`, `pause`, `resume`, `update`.

use std::os::fd::AsFd;

use super::channel::{self, Said};
use super::config::{NamespaceKind, Resources};
use super::error::{Error, Result};
use super::hooks;
use super::state::{State, Status, Store, WAITING};
use crate::cgroup::{Cgroup, CgroupError};
use crate::sys::process;

/// Lets the program run; returns after `execve` succeeded.
pub fn start(store: &Store, id: &str) -> Result<()> {
    let locked = store.lock(id)?;
    let state = store.read(id)?;
    let status = store.status(&state);
    if status != Status::Created {
        return Err(wrong("start", id, status));
    }
    let socket = store.connect(id).map_err(Error::step("reach the container", id))?;
    channel::go(socket.as_fd());
    let outcome = follow(&socket);
    // Whatever came of it, nobody waits there any more.
    let waiting = locked.directory().join(WAITING);
    fs_err::remove_file(&waiting).map_err(Error::from_io("remove", &waiting))?;
    outcome?;
    let config = store.config(id)?;
    let pid = state.process.map(|process| process.pid);
    let facts = state.facts(&config).json("running", pid);
    if let Err(error) = hooks::run("poststart", &config.hooks.poststart, &facts) {
        drop(send(&state, libc::SIGKILL));
        return Err(error);
    }
    Ok(())
}

fn follow(socket: &std::os::fd::OwnedFd) -> Result<()> {
    let mut executing = false;
    loop {
        match channel::hear(socket.as_fd())? {
            Some((Said::Executing, _)) => executing = true,
            Some((Said::Failed(told), _)) => return Err(Error::Told(told)),
            Some(_) => {}
            None if executing => return Ok(()),
            None => return Err(Error::Died),
        }
    }
}

fn wrong(what: &'static str, id: &str, status: Status) -> Error {
    Error::State { what, id: id.to_owned(), status: status.to_string() }
}

/// Sends a signal to the first process, or to all.
pub fn kill(store: &Store, id: &str, signal: i32, all: bool) -> Result<()> {
    let state = store.read(id)?;
    let status = store.status(&state);
    if all {
        // Also what a first process that is gone left behind.
        return kill_group(&state, signal);
    }
    if matches!(status, Status::Stopped | Status::Creating) {
        return Err(wrong("kill", id, status));
    }
    send(&state, signal)?;
    // Without a process id namespace of its own, nothing ends with the first process.
    Ok(())
}

fn send(state: &State, signal: i32) -> Result<()> {
    let found = state.process.and_then(super::state::ProcessId::find);
    let Some(pidfd) = found else { return Err(wrong("kill", &state.id, Status::Stopped)) };
    process::signal(pidfd.as_fd(), signal).map_err(Error::step("signal", state.id.clone()))
}

fn kill_group(state: &State, signal: i32) -> Result<()> {
    let cgroup = Cgroup::at(&state.cgroup)?;
    if signal == libc::SIGKILL {
        return Ok(cgroup.kill_all()?);
    }
    for pid in cgroup.pids()? {
        let found = super::state::ProcessId::of(pid).ok().and_then(super::state::ProcessId::find);
        if let Some(pidfd) = found {
            // It may end meanwhile.
            drop(process::signal(pidfd.as_fd(), signal));
        }
    }
    Ok(())
}

/// Removes what is left of a container; with `force` a running one is killed first. What failed of the hooks is
/// handed back as warnings.
pub fn delete(store: &Store, id: &str, force: bool) -> Result<Vec<Error>> {
    let locked = match store.lock(id) {
        Err(Error::NoContainer(_)) if force => return Ok(Vec::new()),
        result => result?,
    };
    let Some(state) = locked.read()? else {
        // A `create` that was killed at once.
        locked.forget()?;
        return Ok(Vec::new());
    };
    let status = match store.status(&state) {
        // The lock is ours.
        Status::Creating => Status::Stopped,
        status => status,
    };
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        return Err(wrong("delete", id, status));
    }
    let cgroup = Cgroup::at(&state.cgroup)?;
    if status != Status::Stopped {
        drop(send(&state, libc::SIGKILL));
    }
    let config = store.config(id);
    let alone = config.as_ref().is_ok_and(|config| {
        let pid = config.linux.namespace(NamespaceKind::Pid);
        pid.is_some_and(|namespace| namespace.path.is_none())
    });
    if !alone {
        // More than the first process may be the container's: all that is in its group.
        cgroup.kill_all()?;
    } else if status == Status::Paused {
        // Version 1 lets nothing die that is frozen.
        cgroup.thaw()?;
    }
    if let Some(pidfd) = state.process.and_then(super::state::ProcessId::find) {
        wait_for_end(&pidfd);
    }
    match cgroup.remove() {
        // Somebody else was given the same group.
        Err(CgroupError::Busy { .. }) if alone => {}
        result => result?,
    }
    let warnings = match &config {
        Ok(config) => {
            state.unmount(config)?;
            let facts = state.facts(config).json("stopped", None);
            hooks::run_all("poststop", &config.hooks.poststop, &facts)
        }
        Err(_) => Vec::new(),
    };
    locked.forget()?;
    Ok(warnings)
}

/// Five seconds at most; it was killed.
fn wait_for_end(pidfd: &std::os::fd::OwnedFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
    let mut ready = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let _ended = poll(&mut ready, Some(&limit));
}

/// Stops all processes.
pub fn pause(store: &Store, id: &str) -> Result<()> {
    let state = store.read(id)?;
    match store.status(&state) {
        Status::Running | Status::Created => Ok(Cgroup::at(&state.cgroup)?.freeze()?),
        status => Err(wrong("pause", id, status)),
    }
}

/// Lets them go on.
pub fn resume(store: &Store, id: &str) -> Result<()> {
    let state = store.read(id)?;
    match store.status(&state) {
        Status::Paused => Ok(Cgroup::at(&state.cgroup)?.thaw()?),
        status => Err(wrong("resume", id, status)),
    }
}

/// Process ids on the host.
pub fn pids(store: &Store, id: &str) -> Result<Vec<i32>> {
    let state = store.read(id)?;
    if store.status(&state) == Status::Stopped {
        return Ok(Vec::new());
    }
    let mut pids = Cgroup::at(&state.cgroup)?.pids()?;
    pids.sort_unstable();
    Ok(pids)
}

/// Sets other limits.
pub fn update(store: &Store, id: &str, resources: &Resources) -> Result<()> {
    let state = store.read(id)?;
    let status = store.status(&state);
    if matches!(status, Status::Stopped | Status::Creating) {
        return Err(wrong("update", id, status));
    }
    Ok(Cgroup::at(&state.cgroup)?.limit(resources)?)
}
