//! The first process of a container: made, held before `execve`, started; and one more process joined to it.
//!
//! The order is what makes hostile images harmless: every file system is created detached, then the root is
//! pivoted, and only then is anything attached, by file descriptor, below the new root. The host's files are
//! unreachable while image paths are resolved.
//!
//! Invariants:
//! - The caller may have threads. The child of `clone3` shares no lock with them: it allocates nothing,
//!   panics nowhere and only makes system calls on data that was prepared before ([`plan`]).
//! - Nothing of the host stays open in the program: descriptors are closed, not only marked.
//! - The caller's own executable is reached only through a read-only mount ([`crate::sys::own_exe`]), so a
//!   container cannot overwrite it (CVE-2019-5736); `create` and `exec` refuse otherwise.
//! - A child that is not started dies with its [`Created`].

mod attach;
mod child;
mod create;
mod devices;
mod exec;
mod filesystems;
mod finish;
mod plan;
mod prepare;
mod program;
mod reaper;
mod report;
pub(crate) mod target;
pub(crate) mod terminal;
pub(crate) mod user;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::cgroup::{Cgroup, CgroupError};
use crate::spec::{ExecSpec, Spec};

/// The standard streams of a first process.
#[derive(Debug)]
pub enum Io {
    /// Three descriptors, given away.
    Streams {
        /// Its descriptor 0.
        stdin: OwnedFd,
        /// Its descriptor 1.
        stdout: OwnedFd,
        /// Its descriptor 2.
        stderr: OwnedFd,
    },
    /// A pseudo-terminal made inside the container; the other end is handed back as `console`.
    Terminal {
        /// Lines, 0 for unknown.
        rows: u16,
        /// Columns, 0 for unknown.
        columns: u16,
    },
}

/// A container that is complete but has not run its program: attach the network, then [`Created::start`].
/// Dropping it kills the child (the control group is left to its owner).
#[derive(Debug)]
pub struct Created {
    /// Process id on the host.
    pub pid: i32,
    /// The process; readable when it ends.
    pub pidfd: OwnedFd,
    /// Its network namespace.
    pub netns: OwnedFd,
    /// The controlling end of the terminal.
    pub console: Option<OwnedFd>,
    /// Its control group.
    pub cgroup: Cgroup,
    held: create::Held,
}

/// A process whose program runs.
#[derive(Debug)]
pub struct Running {
    /// Process id on the host.
    pub pid: i32,
    /// The process; readable when it ends.
    pub pidfd: OwnedFd,
    /// The controlling end of the terminal.
    pub console: Option<OwnedFd>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

impl ExitStatus {
    /// The code that shells and docker report: 128 + signal for a killed process.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// Why a container could not be made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The spec asks for something that cannot be.
    #[error("invalid `{field}`: {reason}")]
    Invalid {
        /// Which field of the spec.
        field: &'static str,
        /// What is wrong, naming the value.
        reason: String,
    },
    /// The caller's executable could be overwritten from inside a container.
    #[error("this program does not run from a read-only mount of its executable")]
    Unprotected,
    /// Something on the host was not there or not usable.
    #[error("{what} `{subject}`")]
    Prepare {
        /// The operation.
        what: &'static str,
        /// A path or name.
        subject: String,
        /// Why.
        source: io::Error,
    },
    /// The control group failed.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A step inside the container failed.
    #[error("{step} `{subject}`")]
    Inside {
        /// Which step.
        step: &'static str,
        /// The path or setting it was about; may be empty.
        subject: String,
        /// Why.
        source: io::Error,
    },
    /// The child vanished without a word (killed, out of memory).
    #[error("the container's first process died while being set up ({status})")]
    Died {
        /// How it ended.
        status: ExitStatus,
    },
}

/// Why the program did not run. The child is gone and reaped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No such program in `PATH`, or its interpreter is missing.
    #[error("program `{program}` not found in the container")]
    NotFound {
        /// As given in `args[0]`.
        program: String,
        /// The system's word.
        source: io::Error,
    },
    /// It is there but cannot be run.
    #[error("program `{program}` cannot be executed")]
    NotExecutable {
        /// As given in `args[0]`.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Making or joining failed before the program's turn.
    #[error(transparent)]
    Setup(#[from] CreateError),
}

impl StartError {
    /// Docker's exit code for it: 127 not found, 126 not executable, 125 everything else.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Setup(_) => 125,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// The kernel's number of a resource limit, if its bounds can be.
pub(crate) fn limit(ulimit: &crate::spec::Ulimit) -> Result<u32, CreateError> {
    plan::limits(std::slice::from_ref(ulimit))
        .map(|limits| limits.first().map_or(0, |limit| limit.resource))
}

/// Makes everything but runs nothing: the child waits before `execve`, the network is down.
pub fn create(spec: &Spec, io: Io) -> Result<Created, CreateError> {
    create::create(spec, io)
}

impl Created {
    /// Lets the program run; returns after `execve` succeeded.
    pub fn start(self) -> Result<Running, StartError> {
        create::start(self)
    }
}

/// Runs one more process in the container whose process 1 is `init` (a pidfd) and which was made from `spec`.
/// Returns after `execve` succeeded. The new process is a child of the caller.
pub fn exec(
    spec: &Spec,
    init: BorrowedFd<'_>,
    exec: &ExecSpec,
    io: Io,
) -> Result<Running, StartError> {
    exec::exec(spec, init, exec, io)
}

impl Running {
    /// Waits for the end and reaps.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        crate::sys::process::wait(self.pidfd.as_fd())
    }

    /// Reaps if it has ended.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        crate::sys::process::try_wait(self.pidfd.as_fd())
    }

    /// Sends a signal; never to another process that got the same pid.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        crate::sys::process::signal(self.pidfd.as_fd(), signal)
    }
}
