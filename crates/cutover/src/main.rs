//! `cutover`: build, release, switch and go back, in one binary.
//!
//! `main` only dispatches: the shim first (it must stay tiny, so nothing is set up before it),
//! then the OCI runtime, then the command line. Each command lives in a file of its own under [`cli`].

mod agent;
mod cli;
mod clock;
mod drift;
mod durable;
mod exchange;
mod failure;
mod identity;
mod paths;
mod project;
mod pull;
mod secrets;
mod transfer;
mod ui;
mod wiring;

pub(crate) use crate::identity::who;

use std::process::ExitCode;

use cutover_build::provision::enter as provision;

/// musl's allocator costs the proxy 15–22 % CPU; mimalloc is at glibc's level.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let first = args.next().unwrap_or_default();
    if first == "shim" {
        return cutover_runtime::shim::main(args);
    }
    if first == provision::ENTER {
        return provision::enter(args);
    }
    if first == provision::OUTSIDE {
        return provision::outside(args);
    }
    if cli::runtime::is_called(&name, &first) {
        return cli::runtime::main();
    }
    cli::main()
}
