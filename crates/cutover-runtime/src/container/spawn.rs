//! Starting a shim.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use fs_err as fs;

use super::Id;
use super::paths::{Paths, Places};
use crate::shim::ENVIRONMENT;
use crate::shim::protocol::{Kind, Request, put_json};
use crate::sys::own_exe;

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
    let child = Command::new(path)
        .arg("shim")
        .args([&places.root, &places.run])
        .arg(id.as_str())
        .stdin(OwnedFd::from(theirs))
        .stdout(OwnedFd::from(lock))
        .stderr(log.into_parts().0)
        .env_clear()
        .envs([ENVIRONMENT])
        .current_dir("/")
        .spawn()?;
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    Ok(ours)
}

/// Collects shims that have ended.
pub(crate) fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}
