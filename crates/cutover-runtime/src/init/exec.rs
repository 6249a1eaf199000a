//! One more process in a running container.
//!
//! The joining child stays in the host's process id namespace, where the container cannot see it, until it has
//! entered everything else and given up everything; only then a sibling is forked inside, which becomes the program.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::child::{connect, join};
use super::create::{common_subject, not_executed, sockets};
use super::plan::{invalid, walls};
use super::prepare::{self, Process, failed};
use super::program::{Finish, Join, Launch, Streams};
use super::report::{self, At, Failure, Message, Step};
use super::{CreateError, Io, Running, StartError, finish, terminal, user};
use crate::cgroup::Cgroup;
use crate::spec::{ExecSpec, Spec};
use crate::sys::{clone, own_exe, process};

/// What the joining child works on.
struct Visit<'a> {
    init: BorrowedFd<'a>,
    join: Join,
    streams: Streams,
    finish: Finish,
}

/// Everything that a container may have of its own; what it shares is joined too, which changes nothing.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// See [`super::exec`].
pub(super) fn exec(
    spec: &Spec,
    init: BorrowedFd<'_>,
    wanted: &ExecSpec,
    io: Io,
) -> Result<Running, StartError> {
    if !own_exe::is_protected() {
        return Err(CreateError::Unprotected.into());
    }
    let cgroup = Cgroup::open(&spec.cgroup).map_err(CreateError::from)?;
    if cgroup.frozen().unwrap_or(false) {
        // The process would freeze with the container, and we would wait for it.
        return Err(invalid("container", "it is paused").into());
    }
    let entrance = cgroup.entrance().map_err(CreateError::from)?;
    let (streams, is_terminal) = prepare::streams(io)?;
    let visit = Visit {
        init,
        join: Join {
            tasks: entrance.tasks,
            oom_score_adj: spec.oom_score_adj.map(|score| score.to_string().into_bytes()),
        },
        streams,
        finish: last_steps(spec, init, wanted, is_terminal)?,
    };
    let (ours, theirs) = sockets()?;
    let born_in = entrance.unified.as_ref().map(AsFd::as_fd);
    let joiner = clone::spawn(0, born_in, || run(&visit, theirs.as_fd())).map_err(|source| {
        CreateError::Prepare { what: "fork into", subject: spec.cgroup.clone(), source }
    })?;
    drop(theirs);
    let result = follow(&visit, wanted, ours.as_fd());
    // It ends by itself after its last word.
    drop(process::wait(joiner.pidfd.as_fd()));
    result
}

fn last_steps(
    spec: &Spec,
    init: BorrowedFd<'_>,
    wanted: &ExecSpec,
    terminal: bool,
) -> Result<Finish, CreateError> {
    let (passwd, group) = prepare::read_users(&root_of(init)?)?;
    let identity = user::resolve(&wanted.user, &wanted.additional_groups, &passwd, &group)
        .map_err(|reason| invalid("user", reason))?;
    let privileged = spec.privileged || wanted.privileged;
    let own = prepare::own_capabilities()?;
    prepare::finish(Process {
        args: &wanted.args,
        env: &wanted.env,
        cwd: &wanted.cwd,
        identity,
        walls: walls(&spec.capabilities, &spec.seccomp, privileged, own)?,
        no_new_privileges: spec.no_new_privileges && !privileged,
        parent_death_signal: wanted.parent_death_signal,
        limits: super::plan::limits(&spec.ulimits)?,
        umask: spec.umask,
        terminal,
        launch: Launch::Sibling,
    })
}

/// The container's root directory. The pid of a pidfd is its own as long as the process is not reaped, which is
/// checked after opening.
fn root_of(init: BorrowedFd<'_>) -> Result<OwnedFd, CreateError> {
    let gone = || invalid("container", "it is not running");
    let info = fs_err::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsRawFd::as_raw_fd(&init)
    ))
    .map_err(|source| CreateError::Prepare {
        what: "look at the",
        subject: "container's first process".to_owned(),
        source,
    })?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid: i32 = pid.and_then(|pid| pid.trim().parse().ok()).ok_or_else(gone)?;
    if pid <= 0 {
        return Err(gone());
    }
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(failed("open the root of the container", &path))?;
    process::signal(init, 0).map_err(|_why| gone())?;
    Ok(root)
}

/// The joining child.
fn run(visit: &Visit<'_>, socket: BorrowedFd<'_>) -> i32 {
    match enter(visit, socket) {
        Ok(()) => finish::run(&visit.finish, socket),
        Err(failure) => finish::give_up(socket, Err::<Infallible, _>(failure)),
    }
}

fn enter(visit: &Visit<'_>, socket: BorrowedFd<'_>) -> Result<(), Failure> {
    join(&visit.join)?;
    // Nobody inside may look at this process, whose memory and executable are the host's.
    process::set_dumpable(false).at(Step::Isolate, 0)?;
    process::join_namespaces(visit.init, NAMESPACES).at(Step::JoinContainer, 0)?;
    match &visit.streams {
        Streams::Given(streams) => {
            connect(streams.each_ref().map(AsFd::as_fd), visit.finish.uid).at(Step::SetStreams, 0)
        }
        Streams::Terminal { rows, columns } => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let console = rustix::fs::open(c"/", flags, Mode::empty())
                .and_then(|root| {
                    terminal::open_more(root.as_fd(), (*rows, *columns), visit.finish.uid)
                })
                .at(Step::OpenTerminal, 0)?;
            terminal::connect(console.slave.as_fd()).at(Step::SetStreams, 0)?;
            report::send(socket, &Message::Ready, Some(console.master.as_fd()));
            Ok(())
        }
    }
}

/// Listens until the program runs or something failed.
fn follow(
    visit: &Visit<'_>,
    wanted: &ExecSpec,
    socket: BorrowedFd<'_>,
) -> Result<Running, StartError> {
    let (mut console, mut process) = (None, None);
    let result = loop {
        match report::receive(socket) {
            Ok(Some((Message::Ready, master))) => console = master,
            Ok(Some((Message::Forked(pid), _))) => process = Some(find(pid)?),
            Ok(Some((Message::NotExecuted(errno), _))) => {
                let name = wanted.args.first().map_or("", String::as_str);
                // Whether the sibling was announced before or will be: it is ours to reap.
                break Err(not_executed(name, errno));
            }
            Ok(Some((Message::Failed(failure), _))) => {
                let subject = common_subject(failure, &visit.join, &visit.finish);
                break Err(CreateError::Inside {
                    step: failure.step.text(),
                    subject: subject.unwrap_or_default(),
                    source: failure.errno.into(),
                }
                .into());
            }
            Ok(None) => break Ok(()),
            Err(errno) => break Err(failed("hear from the", "child")(errno).into()),
        }
    };
    match (result, process) {
        (Ok(()), Some((pid, pidfd))) => Ok(Running { pid, pidfd, console }),
        (Ok(()), None) => Err(failed("join the", "container")(Errno::SRCH).into()),
        (Err(error), process) => {
            let process = match process {
                Some(process) => Some(process),
                None => late(socket),
            };
            if let Some((_, pidfd)) = process {
                drop(process::wait(pidfd.as_fd()));
            }
            Err(error)
        }
    }
}

/// The sibling's failure may arrive before the word that it was forked.
fn late(socket: BorrowedFd<'_>) -> Option<(i32, OwnedFd)> {
    while let Ok(Some((message, _))) = report::receive(socket) {
        if let Message::Forked(pid) = message {
            return find(pid).ok();
        }
    }
    None
}

/// The sibling is our child that nobody has reaped, so its number is its own.
fn find(pid: i32) -> Result<(i32, OwnedFd), CreateError> {
    let number = Pid::from_raw(pid).ok_or_else(|| failed("find the", "child")(Errno::SRCH))?;
    let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(failed("find the", "child"))?;
    Ok((pid, pidfd))
}
