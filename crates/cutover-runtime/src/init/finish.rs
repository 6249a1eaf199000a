//! The last steps before the program: giving up everything that it must not have, in the one order that is safe.
//!
//! Descriptors are really closed before the working directory is entered (CVE-2024-21626), and it is entered by a
//! handle that was resolved inside the root. Without no_new_privs the filter needs a capability to load, so it goes
//! in before they are dropped; with it, last.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::program::{Finish, Launch};
use super::reaper;
use super::report::{self, At, Failure, Message, Step};
use crate::sys::{clone, exec, process, seccomp, signals};

/// Turns this process (or one it forks) into the program. Returns only on failure, or with the exit code of a
/// process whose work is done.
pub(super) fn run(finish: &Finish, socket: BorrowedFd<'_>) -> i32 {
    let (socket, result) = match process::keep_only(socket) {
        Ok(kept) => (kept, confine(finish)),
        Err(errno) => (socket, Err(errno).at(Step::Confine, 0)),
    };
    match result {
        Ok(()) => launch(finish, socket),
        Err(failure) => fail(socket, failure),
    }
}

fn fail(socket: BorrowedFd<'_>, failure: Failure) -> i32 {
    report::send(socket, &Message::Failed(failure), None);
    125
}

fn confine(finish: &Finish) -> Result<(), Failure> {
    for (index, limit) in finish.limits.iter().enumerate() {
        process::set_limit(limit.resource, limit.soft, limit.hard).at(Step::SetLimit, index)?;
    }
    match process::new_session_keyring() {
        // Kernels without keyrings have nothing to inherit.
        Ok(()) | Err(Errno::NOSYS) => {}
        Err(errno) => return Err(errno).at(Step::Confine, 0),
    }
    if finish.no_new_privileges {
        rustix::thread::set_no_new_privs(true).at(Step::Confine, 0)?;
    }
    enter_directory(finish).at(Step::EnterWorkingDirectory, 0)?;
    process::drop_bounding_set(finish.caps).at(Step::SetCapabilities, 0)?;
    if !finish.no_new_privileges {
        load_filter(finish)?;
    }
    change_user(finish).at(Step::SetUser, 0)?;
    drop_capabilities(finish).at(Step::SetCapabilities, 0)?;
    rustix::process::umask(Mode::from_raw_mode(finish.umask));
    if finish.no_new_privileges {
        load_filter(finish)?;
    }
    Ok(())
}

fn load_filter(finish: &Finish) -> Result<(), Failure> {
    match &finish.filter {
        Some(filter) => seccomp::load(filter).at(Step::LoadFilter, 0),
        None => Ok(()),
    }
}

fn enter_directory(finish: &Finish) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", flags, Mode::empty())?;
    let directory = finish.cwd.open(root.as_fd(), flags)?;
    rustix::process::fchdir(&directory)?;
    if process::cwd_is_inside()? { Ok(()) } else { Err(Errno::XDEV) }
}

fn change_user(finish: &Finish) -> Result<(), Errno> {
    rustix::thread::set_keep_capabilities(true)?;
    process::set_groups(&finish.groups)?;
    let (uid, gid) = (Uid::from_raw(finish.uid), Gid::from_raw(finish.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)
}

fn drop_capabilities(finish: &Finish) -> Result<(), Errno> {
    let keep = CapabilitySet::from_bits_retain(finish.caps);
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: keep,
            permitted: keep,
            // Never inherited across `execve` (CVE-2022-24769).
            inheritable: CapabilitySet::empty(),
        },
    )
}

fn launch(finish: &Finish, socket: BorrowedFd<'_>) -> i32 {
    match finish.launch {
        Launch::Here => become_program(finish, socket),
        Launch::UnderReaper => match clone::fork(false, || become_program(finish, socket)) {
            Ok(child) => reaper::run(child, finish.parent_death_signal),
            Err(errno) => fail(socket, Failure { step: Step::Fork, index: 0, errno }),
        },
        Launch::Sibling => match clone::fork(true, || become_program(finish, socket)) {
            Ok(pid) => {
                report::send(socket, &Message::Forked(pid), None);
                0
            }
            Err(errno) => fail(socket, Failure { step: Step::Fork, index: 0, errno }),
        },
    }
}

/// In the process that is to be the program.
fn become_program(finish: &Finish, socket: BorrowedFd<'_>) -> i32 {
    if let Err(failure) = settle(finish) {
        return fail(socket, failure);
    }
    if finish.parent_death_signal.is_some() && report::parent_is_gone(socket) {
        // It died before it could be told that its death matters.
        return 125;
    }
    let errno = execute(finish);
    report::send(socket, &Message::NotExecuted(errno), None);
    if is_missing(errno) { 127 } else { 126 }
}

fn settle(finish: &Finish) -> Result<(), Failure> {
    rustix::process::setsid().at(Step::Confine, 0)?;
    if finish.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).at(Step::OpenTerminal, 0)?;
    }
    // After the change of user, which clears it.
    process::set_parent_death_signal(finish.parent_death_signal.unwrap_or(0))
        .at(Step::Confine, 0)?;
    signals::reset();
    Ok(())
}

/// As a shell searches: what is missing is passed over, what may not be executed is remembered.
fn execute(finish: &Finish) -> Errno {
    let mut result = Errno::NOENT;
    for candidate in &finish.candidates {
        match exec::execve(candidate, &finish.args, &finish.env) {
            errno if is_missing(errno) => {}
            Errno::ACCESS => result = Errno::ACCESS,
            errno => return errno,
        }
    }
    result
}

/// Whether the program (or its interpreter) is not there at all.
pub(super) fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR)
}

/// Says why and ends: for steps before [`run`].
pub(super) fn give_up(socket: BorrowedFd<'_>, result: Result<Infallible, Failure>) -> i32 {
    match result {
        Ok(never) => match never {},
        Err(failure) => fail(socket, failure),
    }
}
