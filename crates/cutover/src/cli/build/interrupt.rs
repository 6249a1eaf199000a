//! Ctrl-C in a build: the first asks it to stop and to clean up, the second ends it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cutover_build::Cancel;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What shells say of a program that SIGINT ended.
pub(super) const STATUS: u8 = 130;

/// Signals raise [`Interrupt::cancel`] until this is dropped.
pub(super) struct Interrupt {
    flag: Arc<AtomicBool>,
    ids: Vec<SigId>,
}

impl Interrupt {
    pub(super) fn listen() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let mut ids = Vec::new();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag down.
            let again = Arc::clone(&flag);
            ids.push(signal_hook::flag::register_conditional_shutdown(
                signal,
                STATUS.into(),
                again,
            )?);
            ids.push(signal_hook::flag::register(signal, Arc::clone(&flag))?);
        }
        Ok(Self { flag, ids })
    }

    pub(super) fn cancel(&self) -> Cancel {
        Cancel::with_flag(Arc::clone(&self.flag))
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
