//! Starting a shim.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use fs_err as fs;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::Id;
use super::paths::{Paths, Places};
use crate::cgroup;
use crate::shim::ENVIRONMENT;
use crate::shim::protocol::{Kind, Request, put_json};
use crate::sys::clone::{self, Child};
use crate::sys::exec::{StringArray, execve};
use crate::sys::process::{set_stream, try_wait};
use crate::sys::{own_exe, signals};

/// The program that is the shim.
#[derive(Clone, Debug, Default)]
pub(crate) enum Program {
    /// This one, from behind a read-only mount of itself (CVE-2019-5736).
    #[default]
    Own,
    At(PathBuf),
}

/// Shims that this process started. A shim ends long after its starter stopped caring, but a
/// long-lived starter (the agent) must reap it.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Spawns the shim of a container with one end of a connection as its stdin, on which `request` is
/// waiting, and the container's lock as its stdout: what a child gets as its standard streams needs no
/// descriptor to be open across `execve`, which other threads could leak.
pub(crate) fn spawn(
    program: &Program,
    places: &Places,
    id: &Id,
    lock: File,
    request: &Request,
) -> io::Result<UnixStream> {
    reap();
    let paths: Paths = places.container(id);
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut bytes = Vec::new();
    put_json(&mut bytes, Kind::Request, request);
    ours.write_all(&bytes)?;
    let log = fs::OpenOptions::new().create(true).append(true).open(paths.shim_log())?;
    // Held open until the child has executed it.
    let (_held, path) = match program {
        Program::Own => {
            let exe = own_exe::protected()?;
            let path = PathBuf::from(format!("/proc/self/fd/{}", exe.as_raw_fd()));
            (Some(exe), path)
        }
        Program::At(path) => (None, path.clone()),
    };
    let args = [b"shim", places.root.as_os_str().as_bytes(), places.run.as_os_str().as_bytes()];
    let args =
        [path.as_os_str().as_bytes()].into_iter().chain(args).chain([id.as_str().as_bytes()]);
    let (name, value) = ENVIRONMENT;
    let launch = Launch {
        path: CString::new(path.as_os_str().as_bytes())?,
        args: StringArray::new(args.map(CString::new).collect::<Result<_, _>>()?),
        env: StringArray::new(vec![CString::new(format!("{name}={value}"))?]),
        streams: [theirs.as_fd(), lock.as_fd(), log.file().as_fd()],
    };
    let child = launch.run()?;
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    Ok(ours)
}

/// All that the child needs, made before the fork.
struct Launch<'a> {
    path: CString,
    args: StringArray,
    env: StringArray,
    streams: [BorrowedFd<'a>; 3],
}

impl Launch<'_> {
    /// Born in the group of what outlives its starter: in the one of the session or service that started it, it
    /// would end with that. By [`clone::spawn`], because moving it later would cost a grace period.
    fn run(&self) -> io::Result<Child> {
        let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
        let work = || {
            // Nothing of it may be allocated, see `clone::spawn`. The descriptor is closed by a successful `execve`.
            let errno = self.execute().raw_os_error();
            let _nobody_listens = rustix::io::write(&tell, &errno.to_ne_bytes());
            127
        };
        let child = match cgroup::host_group() {
            // Any trouble with the group must not keep the container from running.
            Some(group) => clone::spawn(0, Some(group.as_fd()), work)
                .or_else(|_refused| clone::spawn(0, None, work))?,
            None => clone::spawn(0, None, work)?,
        };
        drop(tell);
        let mut errno = [0; 4];
        match File::from(told).read_exact(&mut errno) {
            Ok(()) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
            Err(_executed) => Ok(child),
        }
    }

    /// In the child; returns only when it failed.
    fn execute(&self) -> Errno {
        for (fd, number) in self.streams.iter().zip(0..) {
            if let Err(errno) = set_stream(*fd, number) {
                return errno;
            }
        }
        if let Err(errno) = rustix::process::chdir(c"/") {
            return errno;
        }
        signals::reset();
        execve(&self.path, &self.args, &self.env)
    }
}

/// Collects shims that have ended.
pub(crate) fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain(|child| matches!(try_wait(child.pidfd.as_fd()), Ok(None)));
}
