//! Reading a container's log to its end, or as it grows.

use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::{Result, clock};
use crate::logs::{Entry, LogOptions, Reader};

/// Hands entries to `sink`. `shim`: a connection that ends when the log will not grow any more; without
/// one, what is there now is all.
pub(super) fn follow(
    dir: &Path,
    options: &LogOptions,
    shim: Option<UnixStream>,
    sink: &mut dyn FnMut(&Entry) -> io::Result<()>,
) -> Result<()> {
    let mut growth = match shim {
        Some(shim) => Some(Growth::watch(dir, shim)?),
        None => None,
    };
    let mut reader = Reader::open(dir, options)?;
    loop {
        // Asked before reading: what is written between reading and asking must not be missed.
        let ended = growth.as_mut().is_none_or(|growth| growth.ended());
        while let Some(entry) = reader.next()? {
            match sink(&entry) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => result?,
            }
        }
        match &mut growth {
            Some(growth) if !ended && !options.is_past(clock::now()) => {
                growth.wait(options.until.map(|until| left(clock::now(), until)))?;
            }
            _ => return Ok(()),
        }
    }
}

fn left(now: Timestamp, until: Timestamp) -> Timespec {
    // Rounded up, so that it is past when this is over.
    let seconds = until.duration_since(now).as_secs().max(0) + 1;
    Timespec { tv_sec: seconds, tv_nsec: 0 }
}

/// Wakes when a log may have grown.
struct Growth {
    changes: OwnedFd,
    shim: UnixStream,
    has_ended: bool,
}

impl Growth {
    fn watch(dir: &Path, shim: UnixStream) -> io::Result<Self> {
        use inotify::{CreateFlags, WatchFlags};
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&changes, dir, flags)?;
        shim.set_nonblocking(true)?;
        Ok(Self { changes, shim, has_ended: false })
    }

    fn ended(&mut self) -> bool {
        let mut byte = [0];
        let gone = match self.shim.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        self.has_ended |= gone;
        self.has_ended
    }

    fn wait(&mut self, timeout: Option<Timespec>) -> io::Result<()> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.changes.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shim.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut events = inotify::Reader::new(&self.changes, &mut buffer);
        while events.next().is_ok() {}
        Ok(())
    }
}
