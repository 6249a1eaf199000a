//! Lame duck: how a worker ends without losing a connection.
//!
//! 1. It has stopped accepting; every response says `Connection: close`. An idle connection stays
//!    for a while, because its client may be sending a request at this very moment.
//! 2. After `idle_grace` idle connections are closed and the others end after their response: no
//!    new request can begin here. This is the moment that `quiet` tells.
//! 3. What is left ends by itself or is cut at the deadline.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Worker;

#[derive(Debug)]
pub(super) struct Duck {
    quiet_at: Instant,
    cut_at: Instant,
    /// Dropped when no new request can begin.
    quiet: Option<mpsc::Sender<()>>,
}

impl Duck {
    pub(super) fn new(
        now: Instant,
        idle_grace: Duration,
        deadline: Duration,
        quiet: mpsc::Sender<()>,
    ) -> Self {
        let cut_at = now + deadline;
        Self { quiet_at: (now + idle_grace).min(cut_at), cut_at, quiet: Some(quiet) }
    }

    /// Does what is due; true when nothing is left.
    pub(super) fn is_over(&mut self, worker: &Worker) -> bool {
        let now = Instant::now();
        if now >= self.cut_at {
            worker.each_conn(|conn| conn.drop_now());
        } else if now >= self.quiet_at && self.quiet.is_some() {
            worker.each_conn(|conn| conn.finish());
            self.quiet = None;
        }
        // Another worker that still accepts may still send us connections.
        let settled = worker.hub.accepting.load(Ordering::SeqCst) == 0;
        let over = settled && worker.is_empty();
        if over {
            self.quiet = None;
        }
        over
    }
}
