//! `init: true`: a process 1 that forwards signals to the program, reaps orphans, and ends as the program ends.

use crate::sys::{process, signals};

/// Serves until `child` ends; the exit code. All signals are blocked since the fork, so none is lost.
///
/// This is a copy of our own process, not a program of the container: it holds no descriptor but the standard
/// streams, and nobody inside may look into its memory.
pub(super) fn run(child: i32, parent_death_signal: Option<i32>) -> i32 {
    signals::block_all();
    signals::default_dispositions();
    let death = process::set_parent_death_signal(parent_death_signal.unwrap_or(0));
    if death.is_err() || process::close_from(3).is_err() || process::set_dumpable(false).is_err() {
        return 125;
    }
    let _cosmetic = rustix::thread::set_name(c"init");
    loop {
        match signals::next() {
            libc::SIGCHLD => {
                while let Some((pid, status)) = process::reap_any() {
                    if pid == child {
                        return process::code_of(status);
                    }
                }
            }
            signal if signal > 0 => process::kill(child, signal),
            _ => {}
        }
    }
}
