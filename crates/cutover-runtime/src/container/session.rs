//! [`Session`]: a client attached to a container or to an exec.

mod connection;
mod detach;
mod signals;
mod terminal;

use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{Container, ExitStatus, Result};
use crate::shim::protocol::{self, CHUNK, Kind};
pub(super) use connection::Connection;
use detach::DetachKeys;
use signals::Signals;
use terminal::RawMode;

/// Input that the shim has not taken yet; beyond this the caller's input is not read.
const MAX_PENDING: usize = 64 << 10;
const SIGWINCH: i32 = 28;

/// An open connection to the shim that carries a process's streams.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    stdin: bool,
    terminal: bool,
    container: Container,
    /// Of the container itself; an exec gets no forwarded signals, as in docker.
    is_main: bool,
}

/// What a session is connected to on the caller's side.
#[expect(missing_debug_implementations, reason = "holds the caller's writers")]
pub struct SessionIo<'a> {
    /// Forwarded when the session was opened with stdin. If it and the process have a terminal, it
    /// is put in raw mode meanwhile and its size follows.
    pub stdin: Option<BorrowedFd<'a>>,
    pub stdout: &'a mut dyn Write,
    pub stderr: &'a mut dyn Write,
    /// Pass on the signals that the caller gets (`--sig-proxy`); not with a terminal. The third
    /// interrupt ends the session all the same.
    pub forward_signals: bool,
    /// Typed in a terminal, they end the session and leave the process running; docker's are
    /// ctrl-p ctrl-q, [`DOCKER_DETACH_KEYS`]. Empty: none.
    pub detach_keys: Vec<u8>,
}

/// ctrl-p ctrl-q.
pub const DOCKER_DETACH_KEYS: [u8; 2] = [0x10, 0x11];

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(ExitStatus),
    /// By the detach keys (or three interrupts): the process goes on.
    Detached,
}

impl Session {
    pub(super) fn new(
        connection: Connection,
        stdin: bool,
        terminal: bool,
        container: Container,
    ) -> Self {
        Self { connection, stdin, terminal, container, is_main: true }
    }

    pub(super) fn of_exec(self) -> Self {
        Self { is_main: false, ..self }
    }

    /// Leaves the process running and reads no more.
    pub fn detach(self) {}

    /// Carries bytes until the process ended and all its output was handed over.
    pub fn run(self, io: SessionIo<'_>) -> Result<Ended> {
        // Without stdin its keys go nowhere: then ctrl-c must keep its meaning.
        let raw = match (io.stdin, self.terminal && self.stdin) {
            (Some(stdin), true) if rustix::termios::isatty(stdin) => Some(RawMode::enter(stdin)?),
            _ => None,
        };
        let signals = match (&raw, io.forward_signals && self.is_main) {
            (Some(_), _) => Signals::of_terminal()?,
            (None, true) => Signals::to_forward()?,
            (None, false) => Signals::none()?,
        };
        let mut carrier = Carrier {
            stdin: io.stdin.filter(|_| self.stdin),
            keys: DetachKeys::new(if raw.is_some() { io.detach_keys } else { Vec::new() }),
            out: Vec::new(),
            signals,
            interrupts: 0,
            raw,
            session: self,
            stdout: io.stdout,
            stderr: io.stderr,
        };
        carrier.resize();
        carrier.run()
    }
}

/// A session at work.
struct Carrier<'a> {
    session: Session,
    stdin: Option<BorrowedFd<'a>>,
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    keys: DetachKeys,
    /// For the shim.
    out: Vec<u8>,
    signals: Signals,
    interrupts: u32,
    raw: Option<RawMode<'a>>,
}

impl Carrier<'_> {
    fn run(&mut self) -> Result<Ended> {
        self.session.connection.stream.set_nonblocking(true)?;
        let mut buffer = vec![0; CHUNK];
        // What came together with the answer to the request.
        if let Some(exit) = self.take_frames()? {
            return Ok(Ended::Exited(exit));
        }
        loop {
            let [shim, stdin, signals] = self.wait()?;
            if signals && self.on_signals() {
                return Ok(Ended::Detached);
            }
            if stdin && self.on_stdin(&mut buffer)? {
                self.flush()?;
                return Ok(Ended::Detached);
            }
            self.flush()?;
            if shim && let Some(exit) = self.on_shim(&mut buffer)? {
                return Ok(Ended::Exited(exit));
            }
        }
    }

    /// Waits until the shim, the caller's input or a signal can be read.
    fn wait(&self) -> Result<[bool; 3]> {
        const IN: PollFlags = PollFlags::IN;
        let writes = if self.out.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let stream = &self.session.connection.stream;
        let mut fds = vec![
            PollFd::from_borrowed_fd(stream.as_fd(), IN | writes),
            PollFd::from_borrowed_fd(self.signals.as_fd(), IN),
        ];
        if let Some(stdin) = self.stdin.filter(|_| self.out.len() < MAX_PENDING) {
            fds.push(PollFd::from_borrowed_fd(stdin, IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok([ready(0), ready(2), ready(1)])
    }

    /// `true`: the user has asked three times.
    fn on_signals(&mut self) -> bool {
        for signal in self.signals.pending() {
            if signal == SIGWINCH {
                self.resize();
                continue;
            }
            // The terminal's own: its owner is going away.
            if self.raw.is_some() {
                return true;
            }
            if matches!(signal, 2 | 15) {
                self.interrupts += 1;
            }
            // One that ended at this moment is about to say so.
            drop(self.session.container.kill(signal));
        }
        self.interrupts >= 3
    }

    /// `true`: the detach keys were typed.
    fn on_stdin(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let Some(stdin) = self.stdin else { return Ok(false) };
        let read = match rustix::io::read(stdin, &mut *buffer) {
            Ok(read) => read,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            // A terminal that hung up reads as an error.
            Err(Errno::IO) => 0,
            Err(errno) => return Err(io::Error::from(errno).into()),
        };
        if read == 0 {
            self.stdin = None;
            protocol::put(&mut self.out, Kind::StdinEnd, b"");
            return Ok(false);
        }
        let (bytes, detach) = self.keys.filter(&buffer[..read]);
        if !bytes.is_empty() {
            protocol::put(&mut self.out, Kind::Stdin, &bytes);
        }
        Ok(detach)
    }

    fn flush(&mut self) -> Result<()> {
        while !self.out.is_empty() {
            match self.session.connection.stream.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The shim reads no more; what it still says is to be read.
                Err(_) => {
                    self.out.clear();
                    self.stdin = None;
                }
            }
        }
        Ok(())
    }

    fn on_shim(&mut self, buffer: &mut [u8]) -> Result<Option<ExitStatus>> {
        let connection = &mut self.session.connection;
        match connection.stream.read(buffer) {
            Ok(0) => return self.lost().map(Some),
            Ok(read) => connection.frames.push(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(_) => return self.lost().map(Some),
        }
        self.take_frames()
    }

    fn take_frames(&mut self) -> Result<Option<ExitStatus>> {
        let (mut wrote_out, mut exit) = (false, None);
        while let Some((kind, body)) = self.session.connection.frames.next()? {
            match kind {
                Kind::Stdout => {
                    self.stdout.write_all(&body)?;
                    wrote_out = true;
                }
                Kind::Stderr => {
                    self.stderr.write_all(&body)?;
                    self.stderr.flush()?;
                }
                Kind::Exit => exit = Some(serde_json::from_slice(&body).map_err(io::Error::from)?),
                _ => {}
            }
        }
        if wrote_out {
            self.stdout.flush()?;
        }
        Ok(exit)
    }

    /// The connection ended without an exit status: the shim was killed.
    fn lost(&self) -> Result<ExitStatus> {
        let container = &self.session.container;
        match self.session.is_main {
            true => container.wait(),
            false => Err(container.shim_error("it was killed, with all that ran in it".to_owned())),
        }
    }

    fn resize(&mut self) {
        let Some(raw) = &self.raw else { return };
        if let Some((rows, columns)) = raw.size() {
            let [a, b] = rows.to_le_bytes();
            let [c, d] = columns.to_le_bytes();
            protocol::put(&mut self.out, Kind::Resize, &[a, b, c, d]);
        }
    }
}
