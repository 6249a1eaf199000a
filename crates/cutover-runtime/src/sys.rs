//! System calls: the only `unsafe` code of the workspace, each function a safe front of one call or of a
//! few that belong together.
//!
//! What is called after `clone3` says so: it allocates nothing and takes no lock.

#![expect(unsafe_code, reason = "system calls that no safe crate offers")]

pub mod own_exe;
pub mod process;
