//! Blocking, resetting and waiting for signals, without handlers. All fit for the child of `clone3`.

use std::mem::MaybeUninit;
use std::ptr;

/// A set of signals.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "the C type has none")]
pub struct SignalSet(libc::sigset_t);

fn full() -> SignalSet {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises what it is given.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised above.
    SignalSet(unsafe { set.assume_init() })
}

fn empty() -> SignalSet {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises what it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised above.
    SignalSet(unsafe { set.assume_init() })
}

/// Blocks everything in this thread; hands back what was blocked before.
pub fn block_all() -> SignalSet {
    let (all, mut before) = (full(), empty());
    // SAFETY: both point to valid sets.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all.0, &raw mut before.0) };
    before
}

/// Sets what is blocked in this thread.
pub fn restore(set: &SignalSet) {
    // SAFETY: the new set is valid, the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set.0, ptr::null_mut()) };
}

/// Default dispositions and nothing blocked: as a program expects it.
pub fn reset() {
    default_dispositions();
    restore(&empty());
}

/// Default dispositions: Rust ignores SIGPIPE, callers may ignore more.
pub fn default_dispositions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is a valid disposition; the kernel refuses those that cannot be changed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Takes the next pending signal, waiting for it. All signals must be blocked.
pub fn next() -> i32 {
    let all = full();
    // SAFETY: the set is valid and no details are asked for.
    unsafe { libc::sigwaitinfo(&raw const all.0, ptr::null_mut()) }
}
