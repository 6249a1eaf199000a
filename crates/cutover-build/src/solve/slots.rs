//! [`Slots`]: how many steps may work at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

/// Steps at work at once on a machine with few processors: many a RUN waits for the network.
const LEAST: usize = 4;

/// Places for steps at work. Waiting for another stage takes none.
#[derive(Debug)]
pub(super) struct Slots {
    free: Mutex<usize>,
    changed: Condvar,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { free: Mutex::new(processors.max(LEAST)), changed: Condvar::new() }
    }

    pub(super) fn take(&self) -> Slot<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn places_are_given_back() {
        let slots = Slots { free: Mutex::new(1), changed: Condvar::new() };
        let order = Mutex::new(Vec::new());
        let first = slots.take();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _second = slots.take();
                order.lock().unwrap().push("second");
            });
            order.lock().unwrap().push("first");
            drop(first);
        });
        assert_eq!(order.into_inner().unwrap(), ["first", "second"]);
    }
}
