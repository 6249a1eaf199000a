//! `clone3` as a fork into new namespaces, and the plain fork inside a container.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::{check, signals};

/// A child that was just made.
#[derive(Debug)]
pub struct Child {
    /// In the caller's process id namespace.
    pub pid: i32,
    /// Close-on-exec.
    pub pidfd: OwnedFd,
}

/// `struct clone_args`, version 2 (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks into the namespaces of `flags` (`CLONE_NEW…`), born in the v2 control group `cgroup`, and runs `child` there;
/// the child ends with the code that it returns. All signals are blocked in the child and no handler is left.
///
/// The calling process may have other threads, which may hold any lock at this moment: `child` must not allocate,
/// take a lock or panic. It sees a copy of the caller's memory and descriptors.
pub fn spawn(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<Child> {
    let mut pidfd: libc::c_int = -1;
    let args = CloneArgs {
        flags: flags
            | CLONE_PIDFD
            | CLONE_CLEAR_SIGHAND
            | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd().unsigned_abs().into()),
        ..CloneArgs::default()
    };
    // A handler of the caller must not run in the child, on the caller's memory and descriptors.
    let blocked = signals::block_all();
    // SAFETY: `args` is a valid `clone_args` of the given size whose `pidfd` points to a live integer; without
    // CLONE_VM and a stack this is a fork, so both sides go on with memory of their own.
    let result =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) });
    if let Ok(0) = result {
        run(child);
    }
    signals::restore(&blocked);
    let pid = result?;
    let pid = i32::try_from(pid).map_err(|_why| Errno::OVERFLOW)?;
    // SAFETY: the kernel made this descriptor for us and nobody else has it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// A plain fork whose child runs `child`; for the child of [`spawn`], allocating nothing. With `sibling` the new
/// process has the same parent as the caller. Returns its pid as the caller sees it.
pub fn fork(sibling: bool, child: impl FnOnce() -> i32) -> Result<i32, Errno> {
    fork_into(0, sibling, child)
}

/// The same into new namespaces (`CLONE_NEW…`).
pub fn fork_into(
    namespaces: i32,
    sibling: bool,
    child: impl FnOnce() -> i32,
) -> Result<i32, Errno> {
    let flags = namespaces | if sibling { libc::CLONE_PARENT } else { 0 } | libc::SIGCHLD;
    // Not clone3: the container's filter, which is already in force, refuses it.
    // SAFETY: without CLONE_VM and a stack this is a fork; the four pointers are unused.
    let result = check(unsafe {
        libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0usize, 0usize, 0usize, 0usize)
    });
    match result? {
        0 => run(child),
        pid => i32::try_from(pid).map_err(|_why| Errno::OVERFLOW),
    }
}

fn run(child: impl FnOnce() -> i32) -> ! {
    /// A panic must never unwind into the frames of the caller, which exist twice now.
    struct Exit(i32);
    impl Drop for Exit {
        fn drop(&mut self) {
            // SAFETY: ends the process without running anything of the copied memory.
            unsafe { libc::_exit(self.0) }
        }
    }
    let mut exit = Exit(125);
    exit.0 = child();
    drop(exit);
    unreachable!("the process has ended")
}
