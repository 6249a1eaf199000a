//! From a fresh process to a supervisor.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fs_err as fs;
use rustix::fs::Mode;
use rustix::process::{getpid, set_child_subreaper, setsid, umask};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::memory::keep_small;
use super::supervisor::{Supervisor, Wakeups};
use crate::container::Id;
use crate::container::paths::{Paths, Places, SOCKET};

pub(super) fn boot(places: Places, id: &Id) -> io::Result<()> {
    // Fails only when this process leads its session already, which is as good.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    // Relative paths in the arguments would change their meaning below.
    let places =
        Places { root: std::path::absolute(&places.root)?, run: std::path::absolute(&places.run)? };
    rustix::process::chdir("/")?;
    umask(Mode::WGRP | Mode::WOTH);
    keep_small();
    // Among the last to be killed for memory. Needs a privilege that not every root has.
    fs::write("/proc/self/oom_score_adj", "-998").unwrap_or_default();
    let wakeups = wakeups()?;
    let starter = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let lock = rustix::stdio::stdout().try_clone_to_owned()?;
    let null = fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.file().as_fd())?;
    rustix::stdio::dup2_stdout(null.file().as_fd())?;
    drop(null);

    let paths = places.container(id);
    let listener = listen(&paths)?;
    Supervisor::new(places, paths, lock, listener, wakeups)?.run(starter)
}

fn wakeups() -> io::Result<Wakeups> {
    let (children, wake_children) = UnixStream::pair()?;
    let (terminate, wake_terminate) = UnixStream::pair()?;
    children.set_nonblocking(true)?;
    terminate.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, wake_children)?;
    signal_hook::low_level::pipe::register(SIGTERM, wake_terminate)?;
    // SIGPIPE is ignored by Rust's runtime already.
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(Wakeups { children, terminate })
}

/// Binds the socket in a directory of mode 0700. The path may be longer than an address can hold:
/// bound through the directory's descriptor.
fn listen(paths: &Paths) -> io::Result<UnixListener> {
    fs::create_dir_all(paths.run.parent().unwrap_or(&paths.run))?;
    match std::fs::DirBuilder::new().mode(0o700).create(&paths.run) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let socket = paths.run.join(SOCKET);
    // Left by a shim that was killed; the lock says that it is gone.
    fs::remove_file(&socket).unwrap_or_default();
    let dir = fs::File::open(&paths.run)?;
    let listener = UnixListener::bind(through(&dir))?;
    fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn through(dir: &fs::File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}/{SOCKET}", dir.file().as_raw_fd())
}

/// Connects to the shim's socket of a container.
pub(crate) fn connect(paths: &Paths) -> io::Result<UnixStream> {
    let dir = fs::File::open(&paths.run)?;
    UnixStream::connect(through(&dir))
}
