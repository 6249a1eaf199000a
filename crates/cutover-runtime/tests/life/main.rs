//! Containers from creation to removal, with real processes: needs root and a static busybox.
//!
//! Not the standard harness: the shim is this very executable, run again with `shim` as its first
//! argument, which must be seen before anything else happens.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test harness talks")]

mod exits;
mod harness;
mod logs;
mod mounts;
mod network;
mod recovery;
mod restarts;
mod sessions;
mod stop;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|arg| arg == "shim") {
        cutover_runtime::sys::own_exe::accept_unprotected();
        return cutover_runtime::shim::main(args);
    }
    let suites = [
        exits::TESTS,
        logs::TESTS,
        mounts::TESTS,
        network::TESTS,
        recovery::TESTS,
        restarts::TESTS,
        sessions::TESTS,
        stop::TESTS,
    ];
    harness::run(&suites.concat())
}
