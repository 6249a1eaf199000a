//! A program in the foreground: signals go to it, a terminal is passed through, its exit code is ours.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use cutover_runtime::oci::Error;
use cutover_runtime::sys::process;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;

use super::Result;

/// From now on signals are kept for the program.
pub(super) fn listen() -> Result<Signals> {
    Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH])
        .map_err(Error::step("listen for", "signals"))
}

/// Until the process ends: its exit code.
pub(super) fn serve(
    mut signals: Signals,
    process: &OwnedFd,
    console: Option<OwnedFd>,
) -> Result<u8> {
    let console = console.map(Arc::new);
    let target = process.try_clone().map_err(Error::step("duplicate a", "pidfd"))?;
    let handle = signals.handle();
    let window = console.clone();
    let forwarder = std::thread::spawn(move || {
        for signal in signals.forever() {
            match (signal, &window) {
                (SIGWINCH, Some(console)) => resize(console),
                (SIGWINCH, None) => {}
                // It may have ended.
                _ => drop(process::signal(target.as_fd(), signal)),
            }
        }
    });
    let raw = console.as_ref().map(relay);
    let status = process::wait(process.as_fd()).map_err(Error::step("wait for", "the process"))?;
    if let Some((output, mode)) = raw {
        // What it wrote last is still to be read.
        drop(output.join());
        drop(mode);
    }
    handle.close();
    drop(forwarder.join());
    Ok(u8::try_from(status.code() & 0xff).unwrap_or(u8::MAX))
}

fn resize(console: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _unchanged = tcsetwinsize(console, size);
    }
}

/// The caller's terminal in raw mode until it is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Self {
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _unchanged = tcsetattr(stdin, OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _gone = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, before);
        }
    }
}

fn relay(console: &Arc<OwnedFd>) -> (std::thread::JoinHandle<()>, Raw) {
    let mode = Raw::enter();
    resize(console);
    let input = Arc::clone(console);
    // Ends with this program: nobody can interrupt a read of stdin.
    std::thread::spawn(move || copy(rustix::stdio::stdin(), input.as_fd()));
    let output = Arc::clone(console);
    let output = std::thread::spawn(move || copy(output.as_fd(), rustix::stdio::stdout()));
    (output, mode)
}

fn copy(from: std::os::fd::BorrowedFd<'_>, to: std::os::fd::BorrowedFd<'_>) {
    let mut buffer = [0; 16 << 10];
    loop {
        let count = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(errno) if io::Error::from(errno).kind() == io::ErrorKind::Interrupted => continue,
            // The other side of a terminal is gone.
            Err(_) => return,
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
