//! The shim's ends of a process's standard streams.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::init::Io;
use crate::logs::Stream;

/// Input that the process has not taken yet; beyond this its client is not read.
const MAX_PENDING: usize = 64 << 10;

/// What is read from and written to one process.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) sources: Vec<Source>,
    sink: Option<Sink>,
    terminal: Option<OwnedFd>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
}

#[derive(Debug)]
struct Sink {
    fd: OwnedFd,
    pending: Vec<u8>,
    ending: bool,
}

/// What the process gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    /// Rows and columns; `None`: no terminal.
    pub(super) terminal: Option<(u16, u16)>,
}

impl Streams {
    /// Makes both ends: ours, and the process's.
    pub(super) fn open(wanted: Wanted) -> io::Result<(Self, Io)> {
        if let Some((rows, columns)) = wanted.terminal {
            return Ok((Self::default(), Io::Terminal { rows, columns }));
        }
        let (out, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdin, sink) = match wanted.stdin {
            true => {
                let (stdin, fd) = pipe_with(PipeFlags::CLOEXEC)?;
                set_nonblocking(fd.as_fd())?;
                (stdin, Some(Sink { fd, pending: Vec::new(), ending: false }))
            }
            false => (fs_err::File::open("/dev/null")?.into_parts().0.into(), None),
        };
        let source = |fd: OwnedFd, stream| {
            set_nonblocking(fd.as_fd())?;
            Ok::<_, io::Error>(Source { fd, stream })
        };
        let sources = vec![source(out, Stream::Stdout)?, source(err, Stream::Stderr)?];
        Ok((Self { sources, sink, terminal: None }, Io::Streams { stdin, stdout, stderr }))
    }

    /// Takes our end of the terminal, which exists only after the process does.
    pub(super) fn take_console(&mut self, console: OwnedFd, stdin: bool) -> io::Result<()> {
        set_nonblocking(console.as_fd())?;
        self.sources.push(Source { fd: console.try_clone()?, stream: Stream::Stdout });
        if stdin {
            let fd = console.try_clone()?;
            self.sink = Some(Sink { fd, pending: Vec::new(), ending: false });
        }
        self.terminal = Some(console);
        Ok(())
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal whose other end was just closed has no size that matters.
            let _ = tcsetwinsize(terminal, size);
        }
    }

    /// Whether a client's input may be taken now.
    pub(super) fn takes_input(&self) -> bool {
        self.sink.as_ref().is_none_or(|sink| sink.pending.len() < MAX_PENDING)
    }

    pub(super) fn input(&mut self, bytes: &[u8]) {
        if let Some(sink) = self.sink.as_mut().filter(|sink| !sink.ending) {
            sink.pending.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// No more input: closes stdin when what is pending was written. A terminal stays open, as
    /// whoever sits at it types ctrl-d for that.
    pub(super) fn end_input(&mut self) {
        if let Some(sink) = self.sink.as_mut().filter(|_| self.terminal.is_none()) {
            sink.ending = true;
            self.flush();
        }
    }

    /// The descriptor to wait on before [`Streams::flush`] can do more.
    pub(super) fn blocked_sink(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().filter(|sink| !sink.pending.is_empty()).map(|sink| sink.fd.as_fd())
    }

    /// Writes pending input as far as the process takes it.
    pub(super) fn flush(&mut self) {
        let Some(sink) = &mut self.sink else { return };
        while !sink.pending.is_empty() {
            match rustix::io::write(&sink.fd, &sink.pending) {
                Ok(written) => drop(sink.pending.drain(..written)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // It reads no more: what comes is thrown away.
                Err(_) => {
                    self.sink = None;
                    return;
                }
            }
        }
        if sink.ending {
            self.sink = None;
        }
    }

    /// Reads once from source `at`. `None`: nothing now. `Some(0)`: it ended and is gone from the list.
    pub(super) fn read(&mut self, at: usize, buffer: &mut [u8]) -> Option<usize> {
        match rustix::io::read(&self.sources[at].fd, buffer) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            // A terminal whose last process is gone fails with EIO instead of ending.
            Ok(0) | Err(_) => {
                self.sources.remove(at);
                Some(0)
            }
            Ok(read) => Some(read),
        }
    }
}

pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}
