//! Counters of one target: requests by outcome and a latency histogram.
//!
//! The hot path only adds to relaxed atomics; nothing here locks or allocates. A histogram bucket
//! `i` counts latencies below `2^i` microseconds (and not below `2^(i-1)`), so a quantile read from
//! it is at most a factor of two too high; for exact figures use [`crate::loadgen`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// 2^31 µs is about 36 minutes.
const BUCKETS: usize = 32;

/// Live counters of a target.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    by_class: [AtomicU64; 5],
    failed: AtomicU64,
    cut: AtomicU64,
    latency_micros: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

impl Stats {
    /// The target's response head came after `latency`.
    pub(crate) fn answered(&self, status: u16, latency: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.by_class[class].fetch_add(1, Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.fetch_add(micros, Relaxed);
        self.latency[bucket(micros)].fetch_add(1, Relaxed);
    }

    /// No response: the proxy answered 502 or 504 in the target's place.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// The response began and then broke off, by the target or at a drain deadline.
    pub(crate) fn cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> StatsSnapshot {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let by_class = std::array::from_fn(|class| load(&self.by_class[class]));
        StatsSnapshot {
            requests: by_class.iter().sum::<u64>() + load(&self.failed),
            by_class,
            failed: load(&self.failed),
            cut: load(&self.cut),
            latency_micros: load(&self.latency_micros),
            latency: self.latency.iter().map(load).collect(),
        }
    }
}

fn bucket(micros: u64) -> usize {
    let bits = 64 - micros.leading_zeros();
    usize::try_from(bits).map_or(BUCKETS - 1, |bits| bits.min(BUCKETS - 1))
}

/// Counters of a target at one moment. Two of them are compared by the caller's own subtraction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsSnapshot {
    /// All requests that ended with a response head or a failure.
    pub requests: u64,
    /// Responses of the target itself: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub by_class: [u64; 5],
    /// Requests that the proxy answered with 502 or 504 because the target did not.
    pub failed: u64,
    /// Responses that began and broke off.
    pub cut: u64,
    /// The sum of the times from sending a request to its response head.
    pub latency_micros: u64,
    /// `latency[i]`: responses whose head took less than `2^i` µs and not less than `2^(i-1)`.
    pub latency: Vec<u64>,
}

impl StatsSnapshot {
    /// The target's own 5xx and its failures.
    pub fn errors(&self) -> u64 {
        self.by_class[4] + self.failed
    }

    /// The upper bound of the bucket that holds the given quantile (0 to 1); zero without requests.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let total: u64 = self.latency.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a rank within a count of requests")]
        let rank = quantile.clamp(0.0, 1.0) * total as f64;
        let mut seen = 0;
        for (index, count) in self.latency.iter().enumerate() {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "a rank within a count of requests")]
            if *count > 0 && seen as f64 >= rank {
                return Duration::from_micros(1 << index);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_powers_of_two() {
        for (micros, expected) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1 << 40, BUCKETS - 1)] {
            assert_eq!(bucket(micros), expected, "{micros} µs");
        }
    }

    #[test]
    fn a_snapshot_counts_every_request_once() {
        let stats = Stats::default();
        stats.answered(200, Duration::from_micros(100));
        stats.answered(503, Duration::from_micros(100));
        stats.answered(999, Duration::from_micros(1000));
        stats.failed();
        stats.cut();
        let snapshot = stats.snapshot();
        assert_eq!(snapshot.requests, 4);
        assert_eq!(snapshot.by_class, [0, 1, 0, 0, 2]);
        assert_eq!((snapshot.errors(), snapshot.cut), (3, 1));
        assert_eq!(snapshot.quantile(0.5), Duration::from_micros(128));
        assert_eq!(snapshot.quantile(1.0), Duration::from_micros(1024));
        assert_eq!(StatsSnapshot::default().quantile(0.5), Duration::ZERO);
    }
}
