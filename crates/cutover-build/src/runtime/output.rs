//! The pipes of a step's process, read until nobody can write any more.

use std::io;
use std::os::fd::OwnedFd;

use cutover_runtime::init::Io;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{Cancel, Stream};

/// How often somebody looks whether the build was canceled.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The reading ends.
#[derive(Debug)]
pub(super) struct Pipes {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Pipes {
    /// Also the writing ends, with nothing to read for the process.
    pub(super) fn open() -> io::Result<(Self, Io)> {
        let (stdout, out) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, err) = pipe_with(PipeFlags::CLOEXEC)?;
        let stdin = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok((Self { stdout, stderr }, Io::Streams { stdin, stdout: out, stderr: err }))
    }

    /// Hands over what comes, until the last writer is gone. Once `cancel` is raised, `kill` is
    /// called again and again: a container that is about to start has nothing to kill yet.
    pub(super) fn read(
        self,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
        kill: &dyn Fn(),
    ) -> io::Result<()> {
        let mut open = vec![(Stream::Stdout, self.stdout), (Stream::Stderr, self.stderr)];
        let mut buffer = vec![0_u8; 32 * 1024];
        while !open.is_empty() {
            let mut fds: Vec<_> =
                open.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)).collect();
            if cancel.is_raised() {
                kill();
            }
            match poll(&mut fds, Some(&LOOK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let mut index = 0;
            let mut failed = None;
            open.retain(|(stream, fd)| {
                index += 1;
                if !ready[index - 1] {
                    return true;
                }
                match rustix::io::read(fd, buffer.as_mut_slice()) {
                    Ok(0) => false,
                    Ok(length) => {
                        output(*stream, &buffer[..length]);
                        true
                    }
                    Err(Errno::INTR) => true,
                    Err(errno) => {
                        failed = Some(errno);
                        false
                    }
                }
            });
            if let Some(errno) = failed {
                return Err(errno.into());
            }
        }
        Ok(())
    }
}
