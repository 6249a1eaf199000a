//! `exec`: one more process in a container.
//!
//! The joining child stays in the host's process id namespace, where the container cannot see it, until it has entered
//! everything else; only then a sibling is forked inside, which becomes the program.

use std::os::fd::{AsFd, OwnedFd};

use super::channel::{self, Said};
use super::config::{self, NamespaceKind, Process};
use super::create::{self, Options};
use super::error::{Error, Result};
use super::finish::{self, Last};
use super::state::{Status, Store};
use crate::cgroup::Cgroup;
use crate::init::terminal;
use crate::sys::{clone, own_exe, process};

/// A process that joined.
#[derive(Debug)]
pub struct Joined {
    /// On the host; a child of ours.
    pub pid: i32,
    /// The same.
    pub pidfd: OwnedFd,
    /// The terminal, unless it went to the console socket.
    pub console: Option<OwnedFd>,
    /// What was passed over and is worth a warning.
    pub warnings: Vec<String>,
}

struct Visit {
    init: OwnedFd,
    flags: i32,
    mapped: bool,
    root: Option<OwnedFd>,
    tasks: Vec<OwnedFd>,
    terminal: Option<(u16, u16)>,
    uid: u32,
    last: Last,
}

/// Runs a process; returns after `execve` succeeded. The caller must have one thread.
pub fn exec(
    store: &Store,
    id: &str,
    wanted: &Process,
    options: &Options,
    ignore_paused: bool,
) -> Result<Joined> {
    if !own_exe::is_protected() {
        return Err(Error::Unprotected);
    }
    config::check_process(wanted, "process")?;
    if options.console_socket.is_some() && !wanted.terminal {
        let reason = "there is a console socket, but no terminal is asked for";
        return Err(Error::invalid("--console-socket", reason));
    }
    let state = store.read(id)?;
    let status = store.status(&state);
    let runs = status == Status::Running
        || status == Status::Created
        || status == Status::Paused && ignore_paused;
    let init = state.process.and_then(super::state::ProcessId::find);
    let (true, Some(init), Some(first)) = (runs, init, state.process) else {
        let (id, status) = (id.to_owned(), status.to_string());
        return Err(Error::State { what: "exec in", id, status });
    };
    let config = store.config(id)?;
    let root = root_of(first.pid)?;
    let (last, unknown) = finish::last(wanted, &config, &root, options.extras)?;
    let cgroup = Cgroup::at(&state.cgroup)?;
    let mut entrance = cgroup.entrance()?;
    let size = wanted.console_size.unwrap_or_default();
    let visit = Visit {
        init,
        flags: create::separate(&config),
        mapped: config.linux.separate(NamespaceKind::User),
        // With the host's mounts, its root is not the container's.
        root: (!config.linux.separate(NamespaceKind::Mount)).then_some(root),
        tasks: std::mem::take(&mut entrance.tasks),
        terminal: wanted.terminal.then_some((size.height, size.width)),
        uid: wanted.user.uid,
        last,
    };
    // The pid was still the container's when its root was opened.
    if first.find().is_none() {
        let (id, status) = (id.to_owned(), Status::Stopped.to_string());
        return Err(Error::State { what: "exec in", id, status });
    }
    let (ours, theirs) = channel::pair()?;
    let born_in = entrance.unified.as_ref().map(AsFd::as_fd);
    let joiner = clone::spawn(0, born_in, || {
        let _closed = process::close_one(std::os::fd::AsRawFd::as_raw_fd(&ours));
        run(&visit, &theirs)
    })
    .map_err(Error::step("fork into", id))?;
    drop(theirs);
    let mut joined = follow(&ours, &joiner, wanted)?;
    joined.console = create::hand_over(joined.console.take(), options)?;
    joined.warnings = unknown.iter().map(|name| format!("unknown capability `{name}`")).collect();
    Ok(joined)
}

fn root_of(pid: i32) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).map_err(Error::step("open", path))
}

/// The joining child.
fn run(visit: &Visit, socket: &OwnedFd) -> i32 {
    let enter = || -> Result<Option<OwnedFd>> {
        for tasks in &visit.tasks {
            rustix::io::write(tasks, b"0").map_err(Error::step("join", "the control group"))?;
        }
        // Nobody inside may look at this process, whose memory and executable are the host's.
        let step = |what: &'static str| Error::step::<rustix::io::Errno>(what, "the process");
        process::set_dumpable(false).map_err(step("hide the memory of"))?;
        let label = visit.last.label()?;
        process::join_namespaces(visit.init.as_fd(), visit.flags)
            .map_err(Error::step("join the namespaces of", "the container"))?;
        if let Some(root) = &visit.root {
            rustix::process::fchdir(root)
                .and_then(|()| rustix::process::chroot(c"."))
                .map_err(Error::step("enter the root of", "the container"))?;
        }
        if visit.mapped {
            use rustix::process::{Gid, Uid};
            rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
                .and_then(|()| rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))
                .map_err(step("become root of the user namespace:"))?;
        }
        Ok(label)
    };
    let label = match enter() {
        Ok(label) => label,
        Err(error) => return finish::give_up(socket.as_fd(), &error),
    };
    let forked = clone::fork_into(0, true, || inside(visit, socket, label));
    match forked {
        Ok(pid) => {
            channel::say(socket.as_fd(), &Said::Forked(pid), None);
            0
        }
        Err(errno) => {
            let error = Error::step("fork in", "the container")(errno);
            finish::give_up(socket.as_fd(), &error)
        }
    }
}

/// The sibling inside, which becomes the program.
fn inside(visit: &Visit, socket: &OwnedFd, label: Option<OwnedFd>) -> i32 {
    let terminal = || -> Result<Option<terminal::Console>> {
        let Some(size) = visit.terminal else { return Ok(None) };
        let flags =
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(c"/", flags, rustix::fs::Mode::empty())
            .and_then(|root| terminal::open_more(root.as_fd(), size, visit.uid))
            .and_then(|console| terminal::connect(console.slave.as_fd()).map(|()| Some(console)))
            .map_err(Error::step("open a terminal at", "/dev/pts"))
    };
    let console = match terminal() {
        Ok(console) => console,
        Err(error) => return finish::give_up(socket.as_fd(), &error),
    };
    let master = console.as_ref().map(|console| console.master.as_fd());
    channel::say(socket.as_fd(), &Said::Ready, master);
    if !channel::wait(socket.as_fd()) {
        return 125;
    }
    let code = visit.last.run(socket.as_fd(), label);
    // Closed by its numbers already.
    std::mem::forget(console);
    code
}

fn follow(socket: &OwnedFd, joiner: &clone::Child, wanted: &Process) -> Result<Joined> {
    let (mut forked, mut console, mut ready, mut executing) = (None, None, false, false);
    let failure = loop {
        match channel::hear(socket.as_fd()) {
            Ok(Some((Said::Forked(pid), _))) => forked = Some(find(pid)?),
            Ok(Some((Said::Ready, master))) => (console, ready) = (master, true),
            Ok(Some((Said::Executing, _))) => executing = true,
            Ok(Some((Said::Failed(told), _))) => break Some(Error::Told(told)),
            Ok(Some((Said::Isolated | Said::Made | Said::Source, _))) => {}
            Ok(None) if executing => break None,
            Ok(None) => break Some(Error::Died),
            Err(error) => break Some(error),
        }
        if let (true, Some((pid, _))) = (ready, &forked) {
            ready = false;
            if let Err(error) = create::settle(*pid, wanted) {
                break Some(error);
            }
            if let Some(score) = wanted.oom_score_adj {
                let path = format!("/proc/{pid}/oom_score_adj");
                if let Err(error) = fs_err::write(&path, score.to_string()) {
                    break Some(Error::step("write", path)(error));
                }
            }
            channel::go(socket.as_fd());
        }
    };
    drop(process::wait(joiner.pidfd.as_fd()));
    match (failure, forked) {
        (None, Some((pid, pidfd))) => Ok(Joined { pid, pidfd, console, warnings: Vec::new() }),
        (failure, forked) => {
            if let Some((_, pidfd)) = forked {
                drop(process::signal(pidfd.as_fd(), libc::SIGKILL));
                drop(process::wait(pidfd.as_fd()));
            }
            Err(failure.unwrap_or(Error::Died))
        }
    }
}

/// The sibling is our child that nobody has reaped, so its number is its own.
fn find(pid: i32) -> Result<(i32, OwnedFd)> {
    let number = rustix::process::Pid::from_raw(pid).ok_or(Error::Died)?;
    let flags = rustix::process::PidfdFlags::empty();
    rustix::process::pidfd_open(number, flags)
        .map(|pidfd| (pid, pidfd))
        .map_err(Error::step("find the", "child"))
}
