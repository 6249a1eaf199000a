//! [`Session`]: a client attached to a container or to an exec.

use std::io::Write;
use std::os::fd::BorrowedFd;

use super::{ExitStatus, Result};

/// An open connection to the shim that carries a process's streams.
#[derive(Debug)]
pub struct Session {}

/// What a session is connected to on the caller's side.
#[expect(missing_debug_implementations, reason = "holds the caller's writers")]
pub struct SessionIo<'a> {
    /// Forwarded when the session was opened with stdin. If it and the process have a terminal, it
    /// is put in raw mode meanwhile and its size follows.
    pub stdin: Option<BorrowedFd<'a>>,
    pub stdout: &'a mut dyn Write,
    pub stderr: &'a mut dyn Write,
    /// Pass on the signals that the caller gets (`--sig-proxy`); not with a terminal.
    pub forward_signals: bool,
    /// Typed in a terminal, they end the session and leave the process running (ctrl-p ctrl-q).
    pub detach_keys: Vec<u8>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(ExitStatus),
    /// By the detach keys: the process goes on.
    Detached,
}

impl Session {
    /// Carries bytes until the process ended and all its output was handed over.
    pub fn run(self, io: SessionIo<'_>) -> Result<Ended> {
        let _ = io;
        todo!()
    }

    /// Leaves the process running and reads no more.
    pub fn detach(self) {}
}
