//! What a run found, as figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Marked;
use crate::control::micros;

/// How many failures are told one by one.
const TOLD: usize = 20;

/// One request.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) start: Duration,
    pub(super) latency: Duration,
    /// The version that answered, or the failure's name.
    pub(super) outcome: Result<Option<Arc<str>>, String>,
    pub(super) keep_alive: bool,
    pub(super) repeated: bool,
}

/// The outcome of a run. All times count from [`super::Remote::new`].
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub requests: u64,
    pub ok: u64,
    pub failed: u64,
    /// Of all requests, how many were sent a second time ([`super::Options::repeat`]).
    pub repeated: u64,
    pub failures: BTreeMap<String, u64>,
    /// The first failures, one by one.
    pub first_failures: Vec<Failure>,
    /// Of requests that were answered, from connecting (if need be) to the last byte.
    pub latency: Latency,
    pub versions: BTreeMap<String, VersionSeen>,
    pub windows: Vec<Window>,
    /// The slowest ok request that touched no window.
    #[serde(serialize_with = "micros::serialize", rename = "slowest_outside_micros")]
    pub slowest_outside: Duration,
    #[serde(serialize_with = "micros::serialize", rename = "elapsed_micros")]
    pub elapsed: Duration,
    pub requests_per_second: f64,
}

/// One request that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    #[serde(serialize_with = "micros::serialize", rename = "at_micros")]
    pub at: Duration,
    pub kind: String,
    pub keep_alive: bool,
}

/// The spread of latencies.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    #[serde(serialize_with = "micros::serialize", rename = "p50_micros")]
    pub p50: Duration,
    #[serde(serialize_with = "micros::serialize", rename = "p99_micros")]
    pub p99: Duration,
    #[serde(serialize_with = "micros::serialize", rename = "max_micros")]
    pub max: Duration,
}

/// One version's share.
#[derive(Clone, Debug, Serialize)]
pub struct VersionSeen {
    pub requests: u64,
    /// When the first request it answered was begun.
    #[serde(serialize_with = "micros::serialize", rename = "first_micros")]
    pub first: Duration,
    /// When the last request it answered was begun.
    #[serde(serialize_with = "micros::serialize", rename = "last_micros")]
    pub last: Duration,
}

/// A stretch of time that someone marked, and the requests that touched it.
#[derive(Clone, Debug, Serialize)]
pub struct Window {
    pub name: String,
    #[serde(serialize_with = "micros::serialize", rename = "from_micros")]
    pub from: Duration,
    #[serde(serialize_with = "micros::serialize", rename = "to_micros")]
    pub to: Duration,
    pub requests: u64,
    pub failed: u64,
    #[serde(serialize_with = "micros::serialize", rename = "slowest_micros")]
    pub slowest: Duration,
}

impl Sample {
    fn touches(&self, window: &Window) -> bool {
        self.start <= window.to && self.start + self.latency >= window.from
    }
}

/// Adds everything up.
pub(super) fn summarise(
    mut samples: Vec<Sample>,
    marked: &[Marked],
    now: Duration,
    began: Duration,
) -> Summary {
    samples.sort_by_key(|sample| sample.start);
    let mut windows: Vec<_> = marked.iter().map(|one| Window::of(one, now)).collect();
    let mut failures = BTreeMap::new();
    let mut first_failures = Vec::new();
    let mut versions = BTreeMap::<String, VersionSeen>::new();
    let mut latencies = Vec::with_capacity(samples.len());
    let mut slowest_outside = Duration::ZERO;
    for sample in &samples {
        match &sample.outcome {
            Ok(version) => {
                latencies.push(sample.latency);
                if let Some(version) = version {
                    seen(&mut versions, version, sample.start);
                }
            }
            Err(kind) => {
                *failures.entry(kind.clone()).or_insert(0) += 1;
                if first_failures.len() < TOLD {
                    let (at, keep_alive) = (sample.start, sample.keep_alive);
                    first_failures.push(Failure { at, kind: kind.clone(), keep_alive });
                }
            }
        }
        let mut outside = true;
        for window in windows.iter_mut().filter(|window| sample.touches(window)) {
            window.add(sample);
            outside = false;
        }
        if outside && sample.outcome.is_ok() {
            slowest_outside = slowest_outside.max(sample.latency);
        }
    }
    let (requests, ok) = (samples.len() as u64, latencies.len() as u64);
    let elapsed = now.saturating_sub(began);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let requests_per_second = ok as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
    Summary {
        requests,
        ok,
        failed: requests - ok,
        repeated: samples.iter().filter(|sample| sample.repeated).count() as u64,
        failures,
        first_failures,
        latency: Latency::of(latencies),
        versions,
        windows,
        slowest_outside,
        elapsed,
        requests_per_second,
    }
}

fn seen(versions: &mut BTreeMap<String, VersionSeen>, version: &str, at: Duration) {
    match versions.get_mut(version) {
        Some(seen) => {
            seen.requests += 1;
            seen.last = at;
        }
        None => {
            let seen = VersionSeen { requests: 1, first: at, last: at };
            versions.insert(version.to_owned(), seen);
        }
    }
}

impl Latency {
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let Some(max) = latencies.last().copied() else { return Self::default() };
        let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
        Self { p50: at(50), p99: at(99), max }
    }
}

impl Window {
    fn of(marked: &Marked, now: Duration) -> Self {
        let (name, from) = (marked.name.clone(), marked.from);
        let to = marked.to.unwrap_or(now);
        Self { name, from, to, requests: 0, failed: 0, slowest: Duration::ZERO }
    }

    fn add(&mut self, sample: &Sample) {
        self.requests += 1;
        self.failed += u64::from(sample.outcome.is_err());
        self.slowest = self.slowest.max(sample.latency);
    }
}
