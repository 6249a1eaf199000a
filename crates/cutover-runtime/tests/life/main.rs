//! Containers from creation to removal, with real processes: needs root and a static busybox.
//!
//! Not the standard harness: the shim is this very executable, run again with `shim` as its first
//! argument, which must be seen before anything else happens.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test harness talks")]
#![expect(clippy::unwrap_used, reason = "all of it is tests")]

mod exits;
mod figures;
mod harness;
mod logs;
mod mounts;
mod network;
mod once;
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
    if std::env::args().nth(1).as_deref() == Some(recovery::CREATOR) {
        return recovery::creator(std::env::args().skip(2).collect());
    }
    let suites = [
        exits::TESTS,
        figures::TESTS,
        logs::TESTS,
        mounts::TESTS,
        network::TESTS,
        once::TESTS,
        recovery::TESTS,
        restarts::TESTS,
        sessions::TESTS,
        stop::TESTS,
    ];
    harness::run(&suites.concat())
}
