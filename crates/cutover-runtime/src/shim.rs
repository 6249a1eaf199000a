//! The process that supervises one container: parent of its process 1, owner of its output, its exit
//! status and its restart policy.
//!
//! One thread, one `poll` loop, no runtime, little memory: hundreds of them run on a machine. It
//! does not die with its creator (own session), and its container dies with it (parent death signal), so
//! nothing runs unsupervised and unseen. What it decides is decided by the pure [`crate::restart`] and
//! [`crate::health`]; it only drives them.
//!
//! Invariants:
//! - It holds the container's lock from before its first act to after its last one.
//! - The exit status is in `state.json` before anyone is told; the slow parts of cleaning up come
//!   after everyone was told.
//! - No client can make it wait: every descriptor is non-blocking, every buffer bounded.

mod boot;
mod client;
mod launch;
mod memory;
mod network;
mod poll;
mod probe;
pub(crate) mod protocol;
mod pump;
mod reap;
mod requests;
mod streams;
mod supervisor;

pub(crate) use boot::connect;
pub(crate) use memory::ENVIRONMENT;

use std::env::ArgsOs;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::container::Id;
use crate::container::paths::Places;

/// `cutover shim ROOT RUN ID`, dispatched first thing in `main`; `args` is what follows `shim`.
/// Standard input is the starter's connection, standard output the container's lock.
pub fn main(mut args: ArgsOs) -> ExitCode {
    let (root, run) = (args.next().map(PathBuf::from), args.next().map(PathBuf::from));
    let id = args.next().and_then(|id| id.into_string().ok()?.parse::<Id>().ok());
    let (Some(root), Some(run), Some(id)) = (root, run, id) else {
        return ExitCode::from(2);
    };
    match boot::boot(Places { root, run }, &id) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error, which is the container's `shim.log`, what nobody is there to be told.
#[expect(clippy::print_stderr, reason = "it is a file, and the only one who listens")]
fn complain(what: &str) {
    eprintln!("{} {what}", crate::container::clock::now());
}
