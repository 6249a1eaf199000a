//! The parent's part in making a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::prepare::{self, failed};
use super::program::{Attached, Finish, Join, Program};
use super::report::{self, Failure, Message, Step};
use super::{
    CreateError, Created, ExitStatus, Io, Running, StartError, child, devices, finish, plan,
};
use crate::cgroup::Cgroup;
use crate::spec::Spec;
use crate::sys::{clone, own_exe, process};

/// A child that waits: dropping it ends and reaps it.
#[derive(Debug)]
pub(super) struct Held {
    /// `None` once it has been let go.
    socket: Option<OwnedFd>,
    pidfd: OwnedFd,
    program: String,
    limits: Vec<String>,
    sysctls: Vec<String>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.socket.is_some() {
            // Errors mean that it has ended already, which is what is wanted.
            drop(process::signal(self.pidfd.as_fd(), libc::SIGKILL));
            drop(process::wait(self.pidfd.as_fd()));
        }
    }
}

/// Removes the groups unless the container came to be.
struct CgroupGuard(Option<Cgroup>);

impl Drop for CgroupGuard {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.0 {
            // The first error is the one to report.
            drop(cgroup.kill_all());
            drop(cgroup.remove());
        }
    }
}

/// See [`super::create`].
pub(super) fn create(spec: &Spec, io: Io) -> Result<Created, CreateError> {
    if !own_exe::is_protected() {
        return Err(CreateError::Unprotected);
    }
    let plan = plan::plan(spec, prepare::own_capabilities()?)?;
    let namespaces = plan.namespaces;
    let (_, devices) = devices::nodes(spec)?;
    let mut program = prepare::program(spec, plan, io)?;
    let cgroup = Cgroup::create(&spec.cgroup, &spec.resources, devices.as_deref())?;
    let mut guard = CgroupGuard(Some(cgroup.clone()));
    let mut entrance = cgroup.entrance()?;
    prepare::join_cgroup(&mut program, &mut entrance)?;

    let (mut ours, theirs) = sockets()?;
    let born_in = entrance.unified.as_ref().map(AsFd::as_fd);
    let child = clone::spawn(namespaces, born_in, || {
        // The child's copy of our end would keep it from ever hearing that we are gone.
        let closed = rustix::io::dup3(&theirs, &mut ours, rustix::io::DupFlags::CLOEXEC);
        if closed.is_err() { 255 } else { child::run(&program, theirs.as_fd()) }
    })
    .map_err(|source| CreateError::Prepare {
        what: "create the namespaces of",
        subject: spec.cgroup.clone(),
        source,
    })?;
    drop(theirs);
    let held = hold(&program, ours, &child)?;
    let console = wait_until_ready(&held, &program)?;
    let netns = network_of(&child)?;
    guard.0 = None;
    Ok(Created { pid: child.pid, pidfd: child.pidfd, netns, console, cgroup, held })
}

/// Connected, close-on-exec, and above the standard streams.
pub(super) fn sockets() -> Result<(OwnedFd, OwnedFd), CreateError> {
    let pair = || {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((ours, rustix::io::fcntl_dupfd_cloexec(&theirs, 3)?))
    };
    pair().map_err(failed("create a", "socket"))
}

fn hold(program: &Program, socket: OwnedFd, child: &clone::Child) -> Result<Held, CreateError> {
    let pidfd = child.pidfd.try_clone().map_err(|source| CreateError::Prepare {
        what: "duplicate a",
        subject: "pidfd".to_owned(),
        source,
    })?;
    let name = program.finish.args.first();
    let limits = program.finish.limits.iter().map(|limit| limit.name.clone()).collect();
    let sysctls =
        program.sysctls.iter().map(|(path, _)| path.to_string_lossy().into_owned()).collect();
    Ok(Held { socket: Some(socket), pidfd, program: name, limits, sysctls })
}

fn wait_until_ready(held: &Held, program: &Program) -> Result<Option<OwnedFd>, CreateError> {
    let Some(socket) = &held.socket else { return Ok(None) };
    match report::receive(socket.as_fd()) {
        Ok(Some((Message::Ready, console))) => Ok(console),
        Ok(Some((Message::Failed(failure), _))) => Err(inside(failure, subject(failure, program))),
        Ok(Some(_)) => Err(failed("understand the", "child")(rustix::io::Errno::PROTO)),
        Ok(None) => Err(died(held.pidfd.as_fd())),
        Err(errno) => Err(failed("hear from the", "child")(errno)),
    }
}

fn inside(failure: Failure, subject: String) -> CreateError {
    CreateError::Inside { step: failure.step.text(), subject, source: failure.errno.into() }
}

fn died(pidfd: BorrowedFd<'_>) -> CreateError {
    let status = process::wait(pidfd).unwrap_or(ExitStatus::Exited(255));
    CreateError::Died { status }
}

/// What a failed step was about.
fn subject(failure: Failure, program: &Program) -> String {
    let index = usize::from(failure.index);
    let found = match failure.step {
        Step::MakeFileSystem | Step::AttachFileSystem => {
            super::filesystems::NAMES.get(index).map(|&name| name.to_owned())
        }
        Step::MakeDevice => {
            program.nodes.get(index).map(|node| format!("/dev{}", node.target.display()))
        }
        Step::Mount => program.mounts.get(index).map(|mount| match mount.what {
            Attached::Tmpfs { .. } | Attached::Tree(_) | Attached::File { .. } => {
                mount.target.display().to_owned()
            }
        }),
        Step::Mask => program.masked.get(index).map(|hide| hide.display.clone()),
        Step::MakeReadOnly => program.read_only.get(index).map(|hide| hide.display.clone()),
        _ => common_subject(failure, &program.join, &program.finish),
    };
    found.unwrap_or_default()
}

/// What a failed step was about that also a joining process makes.
pub(super) fn common_subject(failure: Failure, join: &Join, finish: &Finish) -> Option<String> {
    let index = usize::from(failure.index);
    match failure.step {
        Step::MakeWorkingDirectory | Step::EnterWorkingDirectory => {
            Some(finish.cwd.display().to_owned())
        }
        Step::SetLimit => finish.limits.get(index).map(|limit| limit.name.clone()),
        Step::SetUser => Some(format!("{}:{}", finish.uid, finish.gid)),
        Step::SetOomScore => {
            join.oom_score_adj.as_ref().map(|score| String::from_utf8_lossy(score).into_owned())
        }
        _ => None,
    }
}

fn network_of(child: &clone::Child) -> Result<OwnedFd, CreateError> {
    // The child waits and is ours to reap, so the number cannot be somebody else's.
    let path = format!("/proc/{}/ns/net", child.pid);
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open the network namespace", &path))
}

/// See [`Created::start`].
pub(super) fn start(created: Created) -> Result<Running, StartError> {
    let Created { pid, pidfd, console, mut held, .. } = created;
    if let Some(socket) = held.socket.as_ref() {
        report::go(socket.as_fd()).map_err(|_why| died(pidfd.as_fd()))?;
        let answer = report::receive(socket.as_fd());
        outcome(answer, &held, pidfd.as_fd())?;
    }
    held.socket = None;
    Ok(Running { pid, pidfd, console })
}

type Answer = Result<Option<(Message, Option<OwnedFd>)>, rustix::io::Errno>;

fn outcome(answer: Answer, held: &Held, pidfd: BorrowedFd<'_>) -> Result<(), StartError> {
    match answer {
        // The socket is closed by `execve`, or by death.
        Ok(None) => Ok(()),
        Ok(Some((Message::NotExecuted(errno), _))) => Err(not_executed(&held.program, errno)),
        Ok(Some((Message::Failed(failure), _))) => {
            let index = usize::from(failure.index);
            let subject = match failure.step {
                Step::SetSysctl => held.sysctls.get(index).cloned(),
                Step::SetLimit => held.limits.get(index).cloned(),
                _ => None,
            };
            Err(inside(failure, subject.unwrap_or_default()).into())
        }
        Ok(Some(_)) | Err(_) => Err(died(pidfd).into()),
    }
}

/// The error for a program that could not be executed.
pub(super) fn not_executed(program: &str, errno: rustix::io::Errno) -> StartError {
    let (program, source) = (program.to_owned(), errno.into());
    if finish::is_missing(errno) {
        StartError::NotFound { program, source }
    } else {
        StartError::NotExecutable { program, source }
    }
}
