//! System calls: the only `unsafe` code of the workspace, each function a safe front of one call or of a
//! few that belong together.
//!
//! What is called after `clone3` says so: it allocates nothing, takes no lock and cannot panic.

#![expect(unsafe_code, reason = "system calls that no safe crate offers")]

pub mod bpf;
pub mod clone;
pub mod exec;
pub mod mount;
pub(crate) mod netlink;
pub mod own_exe;
pub mod process;
pub mod seccomp;
pub mod signals;

use std::io;

use rustix::io::Errno;

/// The result of a raw call, −1 being `errno`. Fit for the child of `clone3`.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result == -1 { Err(last_errno()) } else { Ok(result) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
