//! Small calls on processes: waiting and signalling by pidfd, and what the child needs before `execve`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::check;
use crate::init::ExitStatus;

/// Waits for the end and reaps.
pub fn wait(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(exit_status(&status)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reaps if it has ended.
pub fn try_wait(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
    Ok(status.as_ref().map(exit_status))
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Exited(code),
        (None, Some(signal)) => ExitStatus::Signaled(signal),
        (None, None) => ExitStatus::Exited(255),
    }
}

/// Sends a signal (real-time ones too); never to another process that got the same pid.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no details are passed along, so no memory is read.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0usize, 0)
    })?;
    Ok(())
}

/// Sends a signal by pid. Only for process 1 of a container, to its own child that it has not reaped.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: touches no memory.
    unsafe { libc::kill(pid, signal) };
}

/// Reaps any one child: its pid and wait status. Fit for the child of `clone3`.
pub fn reap_any() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a live integer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// The exit code that shells report for a wait status.
pub fn code_of(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Signal to this process when its parent thread dies; 0 for none. Fit for the child of `clone3`.
pub fn set_parent_death_signal(signal: i32) -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, signal.unsigned_abs().into())
}

/// Whether other processes may read this one's memory and follow its `/proc` links. Fit for the child of `clone3`.
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

fn prctl(option: i32, value: u64) -> Result<(), Errno> {
    // SAFETY: the options used here take a plain number.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, value, 0, 0, 0) }).map(drop)
}

/// Leaves the caller's session keyring for a fresh one. Fit for the child of `clone3`.
pub fn new_session_keyring() -> Result<(), Errno> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name means an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0usize) }).map(drop)
}

/// Really closes every descriptor from `first` on. Fit for the child of `clone3`, when none of them is used again.
pub fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: the caller runs no destructor of these descriptors any more, as it is about to call `execve`.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Moves a descriptor to number 3 and closes everything after it; the streams 0…2 stay. Fit for the child of
/// `clone3`, when none of its other descriptors is used again.
pub fn keep_only(fd: BorrowedFd<'_>) -> Result<BorrowedFd<'static>, Errno> {
    const KEPT: i32 = 3;
    if fd.as_raw_fd() != KEPT {
        // SAFETY: number 3 belongs to nobody who uses it again, as documented.
        check(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), KEPT, libc::O_CLOEXEC) })?;
    }
    close_from(4)?;
    // SAFETY: number 3 stays open until `execve` or the end of the process.
    Ok(unsafe { BorrowedFd::borrow_raw(KEPT) })
}

/// Makes `fd` the standard stream `number` (0…2). Fit for the child of `clone3`.
pub fn set_stream(fd: BorrowedFd<'_>, number: i32) -> Result<(), Errno> {
    // SAFETY: the standard streams are owned by nobody.
    check(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), number, 0) }).map(drop)
}

/// Removes from the bounding set what is not in `keep`, also what only newer kernels know. Fit for the child of
/// `clone3`.
pub fn drop_bounding_set(keep: u64) -> Result<(), Errno> {
    for capability in 0..64 {
        if keep >> capability & 1 == 0 {
            match prctl(libc::PR_CAPBSET_DROP, capability) {
                // Past the last capability of this kernel.
                Err(Errno::INVAL) => return Ok(()),
                result => result?,
            }
        }
    }
    Ok(())
}

/// Sets the supplementary groups of this thread. Fit for the child of `clone3`.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the array is live and of the given length.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Whether the working directory is below the root: otherwise the kernel's path does not start with `/`.
/// Fit for the child of `clone3`.
pub fn cwd_is_inside() -> Result<bool, Errno> {
    let mut path = [0u8; 4096];
    // SAFETY: the buffer is live and of the given length.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })?;
    Ok(path[0] == b'/')
}

/// One resource limit of this process. Fit for the child of `clone3`.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is live; the old value is not asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, 0usize) })
        .map(drop)
}

/// Joins namespaces of the process behind a pidfd. Fit for the child of `clone3`.
pub fn join_namespaces(pidfd: BorrowedFd<'_>, flags: i32) -> Result<(), Errno> {
    // SAFETY: touches no memory; the caller is single-threaded, being a child of `clone3`.
    check(unsafe { libc::syscall(libc::SYS_setns, pidfd.as_raw_fd(), flags) }).map(drop)
}

/// Leaves the shared control group namespace, or the file system and mount namespaces of the caller's threads.
/// Fit for the child of `clone3`.
pub fn unshare(flags: i32) -> Result<(), Errno> {
    // SAFETY: only namespace and fs flags are used; descriptors stay shared.
    check(unsafe { libc::syscall(libc::SYS_unshare, flags) }).map(drop)
}

/// Lets go of the pages of code that were needed so far; those that are needed again are read again
/// from the page cache. A shim that is left alone then holds its data and little else.
pub fn forget_code() {
    let Ok(maps) = fs_err::read_to_string("/proc/self/maps") else { return };
    for line in maps.lines().filter(|line| line.contains(" r-xp ") && line.contains('/')) {
        let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
        let Some((from, to)) = range else { continue };
        let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
        else {
            continue;
        };
        let address = std::ptr::without_provenance_mut(from);
        // SAFETY: the mapping is private, of a file and never written, so its contents come back
        // unchanged on the next access (madvise(2), MADV_DONTNEED). A failure changes nothing.
        unsafe { libc::madvise(address, to - from, libc::MADV_DONTNEED) };
    }
}

/// Which kind of namespace (`CLONE_NEW…`) a descriptor is.
pub fn namespace_kind(fd: BorrowedFd<'_>) -> Result<i32, Errno> {
    const NS_GET_NSTYPE: libc::c_int = 0xb703;
    // SAFETY: this request takes no argument and touches no memory.
    let kind = check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), NS_GET_NSTYPE) })?;
    i32::try_from(kind).map_err(|_why| Errno::OVERFLOW)
}

/// One resource limit of another process.
pub fn set_limit_of(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is live; the old value is not asked for.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, 0usize) })
        .map(drop)
}

/// Closes one descriptor by number, for a child that got a copy of what its maker owns.
pub fn close_one(number: i32) -> Result<(), Errno> {
    // SAFETY: the owner's destructor runs in the maker only; the child does not use the number again.
    check(unsafe { libc::syscall(libc::SYS_close, number) }).map(drop)
}

/// Moves a descriptor to number `at` and closes everything after it; what is below `at` stays. Fit for the child of
/// `clone3`, when none of its other descriptors is used again.
pub fn keep_at(fd: BorrowedFd<'_>, at: i32) -> Result<BorrowedFd<'static>, Errno> {
    if fd.as_raw_fd() != at {
        // SAFETY: what had this number is not used again, as documented.
        check(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), at, libc::O_CLOEXEC) })?;
    }
    close_from(at.unsigned_abs() + 1)?;
    // SAFETY: the number stays open until `execve` or the end of the process.
    Ok(unsafe { BorrowedFd::borrow_raw(at) })
}

/// Execution domain: 0 is Linux, 8 is 32-bit Linux.
pub fn set_personality(domain: u64) -> Result<(), Errno> {
    // SAFETY: takes a plain number.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}

/// Raises one capability in the ambient set.
pub fn raise_ambient(capability: u32) -> Result<(), Errno> {
    const RAISE: libc::c_int = 2;
    // SAFETY: takes plain numbers.
    check(unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, RAISE, u64::from(capability), 0, 0)
    })
    .map(drop)
}

/// Disk scheduling of a process: class and level in one number.
pub fn set_io_priority(pid: i32, priority: i32) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, pid, priority) }).map(drop)
}

/// `struct sched_attr`, version 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedulerAttributes {
    /// Of this structure; set by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_OTHER`…
    pub policy: u32,
    /// `SCHED_FLAG_…`
    pub flags: u64,
    /// For ordinary policies.
    pub nice: i32,
    /// For real-time policies.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub period: u64,
}

/// CPU scheduling of a process.
pub fn set_scheduler(pid: i32, mut attributes: SchedulerAttributes) -> Result<(), Errno> {
    attributes.size = u32::try_from(size_of::<SchedulerAttributes>()).unwrap_or(0);
    // SAFETY: the structure is live and says its size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0) })
        .map(drop)
}
