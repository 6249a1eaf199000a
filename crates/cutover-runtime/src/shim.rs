//! The process that supervises one container.

use std::env::ArgsOs;
use std::process::ExitCode;

/// `cutover shim …`, dispatched first thing in `main`; `args` is what follows `shim`.
pub fn main(args: ArgsOs) -> ExitCode {
    let _ = args;
    todo!()
}
