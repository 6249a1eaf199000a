//! [`Signals`]: the caller's signals as something to poll, while a session runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// Handlers are taken away again when it is dropped.
#[derive(Debug)]
pub(super) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// What can reach a foreground program: all that ctrl keys and `kill` commonly send.
    pub(super) fn to_forward() -> io::Result<Self> {
        Self::of(&[SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM])
    }

    /// Keys are typed into a raw terminal; these come from elsewhere.
    pub(super) fn of_terminal() -> io::Result<Self> {
        Self::of(&[SIGWINCH, SIGTERM, SIGHUP])
    }

    pub(super) fn none() -> io::Result<Self> {
        Self::of(&[])
    }

    fn of(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        Ok(Self(SignalDelivery::with_pipe(read, write, SignalOnly, signals)?))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }

    pub(super) fn pending(&mut self) -> Vec<i32> {
        // The bytes that woke us say nothing; without reading them `poll` would not sleep again.
        let mut bytes = [0; 64];
        while rustix::io::read(self.0.get_read(), &mut bytes).is_ok_and(|read| read == bytes.len())
        {
        }
        self.0.pending().collect()
    }
}
