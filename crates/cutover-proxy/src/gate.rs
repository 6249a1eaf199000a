//! [`Gate`]: where requests wait while a service has nothing to send them to.
//!
//! A stop-first service is replaced behind a gate: requests are held, not failed. Their number and
//! their waiting time are bounded; whoever comes on top of that or waits too long gets 503 with
//! `Retry-After`. A gate opens once and for good; a later hold is a new gate.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) timeout: Duration,
    pub(crate) limit: usize,
    waiting: AtomicUsize,
    open: watch::Sender<bool>,
}

/// Why a request did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// As many as may wait already do.
    Full,
    TimedOut,
}

impl Gate {
    pub(crate) fn new(timeout: Duration, limit: usize) -> Self {
        Self { timeout, limit, waiting: AtomicUsize::new(0), open: watch::Sender::new(false) }
    }

    /// Lets everyone through, now and later.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for the gate to open. Giving up (dropping the future) frees the place.
    pub(crate) async fn wait(&self) -> Result<(), Turned> {
        let _place = Place::take(self).ok_or(Turned::Full)?;
        let mut open = self.open.subscribe();
        let opened = open.wait_for(|open| *open);
        match tokio::time::timeout(self.timeout, opened).await {
            // The sender lives in `self`, so the channel cannot close while we wait.
            Ok(_) => Ok(()),
            Err(_elapsed) => Err(Turned::TimedOut),
        }
    }
}

/// One of the gate's `limit` places.
struct Place<'a>(&'a Gate);

impl<'a> Place<'a> {
    fn take(gate: &'a Gate) -> Option<Self> {
        let place = Self(gate);
        // Dropping `place` gives the number back also when it was one too many.
        (gate.waiting.fetch_add(1, Ordering::Relaxed) < gate.limit).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn an_open_gate_lets_through_at_once() {
        let gate = Gate::new(Duration::from_secs(60), 1);
        gate.open();
        assert_eq!(block_on(gate.wait()), Ok(()));
    }

    #[test]
    fn opening_frees_those_who_wait() {
        let gate = Gate::new(Duration::from_secs(60), 2);
        let (first, second, ()) = block_on(async {
            tokio::join!(gate.wait(), gate.wait(), async {
                assert_eq!(gate.waiting(), 2);
                gate.open();
            })
        });
        assert_eq!((first, second), (Ok(()), Ok(())));
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn one_too_many_is_turned_away_and_leaves_no_trace() {
        let gate = Gate::new(Duration::from_secs(60), 1);
        let (first, second, ()) = block_on(async {
            tokio::join!(biased; gate.wait(), gate.wait(), async { gate.open() })
        });
        assert_eq!((first, second), (Ok(()), Err(Turned::Full)));
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn nobody_waits_longer_than_the_timeout() {
        let gate = Gate::new(Duration::from_millis(1), 1);
        assert_eq!(block_on(gate.wait()), Err(Turned::TimedOut));
        assert_eq!(gate.waiting(), 0);
    }
}
