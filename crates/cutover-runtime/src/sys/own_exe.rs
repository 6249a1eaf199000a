//! Keeping our own executable out of a container's reach (CVE-2019-5736).
//!
//! `/proc/PID/exe` of a process that joins a container leads to the host's file. The cure: run from a
//! read-only clone of the mount that holds the executable. The clone is detached, so nobody else sees it and
//! nobody can remount it; opening it for writing fails with `EROFS`.
//!
//! The shim is spawned through [`protected`], at no extra cost. A command that makes containers in its own
//! process (`build`) calls [`ensure`] first thing in `main`. Tests whose executable is worthless say
//! [`accept_unprotected`].

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use super::exec::{StringArray, fexecve};
use super::mount::{Attributes, READ_ONLY, set_attributes};

static ACCEPTED: AtomicBool = AtomicBool::new(false);

const SELF: &str = "/proc/self/exe";

/// Declares that this process's executable may be overwritten: only for test binaries.
pub fn accept_unprotected() {
    ACCEPTED.store(true, Ordering::Relaxed);
}

/// Whether containers may be made here: the executable cannot be written through `/proc/PID/exe`, or it does not matter.
pub fn is_protected() -> bool {
    ACCEPTED.load(Ordering::Relaxed) || unwritable().unwrap_or(false)
}

fn unwritable() -> io::Result<bool> {
    let exe = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let sealed =
        || rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    Ok(rustix::fs::fstatvfs(&exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) || sealed())
}

/// Our executable behind a detached read-only mount (or a sealed copy in memory, where the mount cannot be cloned).
/// Execute it as `/proc/self/fd/N` with N its number (close-on-exec is right), while it is open.
pub fn protected() -> io::Result<OwnedFd> {
    if unwritable()? {
        // A detached mount cannot be cloned again, and need not be.
        return Ok(rustix::fs::open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
    }
    read_only_clone().or_else(|_| sealed_copy())
}

fn read_only_clone() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, SELF, flags)?;
    let attributes =
        Attributes { set: READ_ONLY, propagation: libc::MS_PRIVATE, ..Attributes::default() };
    set_attributes(tree.as_fd(), false, attributes)?;
    Ok(tree)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = fs_err::File::from_parts(
        rustix::fs::memfd_create("cutover", flags)?.into(),
        "memory copy of the executable",
    );
    io::copy(&mut fs_err::File::open(SELF)?, &mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    // The writable descriptor would make `execve` fail with ETXTBSY: hand out a fresh read-only one.
    let (file, _) = copy.into_parts();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Runs this program again from behind the read-only mount, with the same arguments and environment, unless it is
/// already so. Call it before anything else: open files marked close-on-exec and threads are lost.
pub fn ensure() -> io::Result<()> {
    if is_protected() {
        return Ok(());
    }
    let exe = protected()?;
    let args = std::env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok());
    let env = std::env::vars_os().filter_map(|(key, value)| {
        let mut pair = key.into_vec();
        pair.push(b'=');
        pair.extend(value.into_vec());
        CString::new(pair).ok()
    });
    let (args, env) = (StringArray::new(args.collect()), StringArray::new(env.collect()));
    Err(fexecve(exe.as_fd(), &args, &env).into())
}
