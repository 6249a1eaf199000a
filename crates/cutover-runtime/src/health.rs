//! [`Checks`]: a container's health as a state machine. Pure; docker's rules.
//!
//! The driver (the shim) runs the probe when told, kills it when told, and reports its end; timers
//! are asked for with [`Checks::deadline`]. Times are a monotonic clock's, since any fixed point.

use std::time::Duration;

use cutover_core::oci::Healthcheck;

use crate::container::{Health, HealthStatus, Probe};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: u64 = 3;
/// How many probes are kept.
const LOG_LENGTH: usize = 5;
/// How much of a probe's output is kept.
pub const MAX_OUTPUT: usize = 4096;

/// One container's health from start to exit.
#[derive(Clone, Debug)]
pub struct Checks {
    timing: Timing,
    started: Duration,
    phase: Phase,
    health: Health,
}

#[derive(Clone, Copy, Debug)]
struct Timing {
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting {
        due: Duration,
    },
    Probing {
        begun: Duration,
    },
    /// The probe took too long; its end is still to be reported.
    Killing {
        begun: Duration,
    },
}

/// What happened to the container's probe.
#[derive(Clone, Debug)]
pub enum Event {
    /// The deadline passed.
    Tick,
    /// The probe ended, or could not be run (then with exit code -1).
    Finished(Probe),
}

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    StartProbe,
    KillProbe,
    /// The health is another one: write it down.
    Publish,
}

impl Checks {
    /// Health checks of a container that was started at `now`.
    pub fn new(check: &Healthcheck, now: Duration) -> Self {
        let timing = Timing::from(check);
        let health = Health { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() };
        let mut checks = Self { timing, started: now, phase: Phase::Waiting { due: now }, health };
        checks.phase = Phase::Waiting { due: now + checks.interval(now) };
        checks
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    /// When [`Event::Tick`] is due; `None` while a killed probe is waited for.
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { due } => Some(due),
            Phase::Probing { begun } => Some(begun + self.timing.timeout),
            Phase::Killing { .. } => None,
        }
    }

    /// Decides what follows an event. A tick before its time does nothing.
    pub fn on(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match (event, self.phase) {
            (Event::Tick, Phase::Waiting { due }) if now >= due => {
                self.phase = Phase::Probing { begun: now };
                vec![Action::StartProbe]
            }
            (Event::Tick, Phase::Probing { begun }) if now >= begun + self.timing.timeout => {
                self.phase = Phase::Killing { begun };
                vec![Action::KillProbe]
            }
            (Event::Tick, _) | (Event::Finished(_), Phase::Waiting { .. }) => Vec::new(),
            (Event::Finished(probe), Phase::Probing { begun }) => {
                self.finish(probe, begun, now);
                vec![Action::Publish]
            }
            (Event::Finished(mut probe), Phase::Killing { begun }) => {
                probe.exit_code = -1;
                let late = format!("health check exceeded its timeout ({:?})", self.timing.timeout);
                probe.output = match probe.output.is_empty() {
                    true => late,
                    false => format!("{late}: {}", probe.output),
                };
                self.finish(probe, begun, now);
                vec![Action::Publish]
            }
        }
    }

    fn finish(&mut self, probe: Probe, begun: Duration, now: Duration) {
        if probe.exit_code == 0 {
            self.health.failing_streak = 0;
            self.health.status = HealthStatus::Healthy;
        } else if !self.is_forgiven(begun) {
            self.health.failing_streak += 1;
            if u64::from(self.health.failing_streak) >= self.timing.retries {
                self.health.status = HealthStatus::Unhealthy;
            }
        }
        if self.health.log.len() == LOG_LENGTH {
            self.health.log.remove(0);
        }
        self.health.log.push(probe);
        self.phase = Phase::Waiting { due: now + self.interval(now) };
    }

    /// Until the first success, failures within the start period do not count.
    fn is_forgiven(&self, begun: Duration) -> bool {
        self.health.status == HealthStatus::Starting
            && begun.saturating_sub(self.started) < self.timing.start_period
    }

    fn interval(&self, now: Duration) -> Duration {
        let in_start_period = now.saturating_sub(self.started) < self.timing.start_period;
        match in_start_period && self.health.status == HealthStatus::Starting {
            true => self.timing.start_interval,
            false => self.timing.interval,
        }
    }
}

impl From<&Healthcheck> for Timing {
    fn from(check: &Healthcheck) -> Self {
        let or = |nanos: u64, default: Duration| match nanos {
            0 => default,
            nanos => Duration::from_nanos(nanos),
        };
        Self {
            interval: or(check.interval, DEFAULT_INTERVAL),
            timeout: or(check.timeout, DEFAULT_TIMEOUT),
            start_period: Duration::from_nanos(check.start_period),
            start_interval: or(check.start_interval, DEFAULT_START_INTERVAL),
            retries: if check.retries == 0 { DEFAULT_RETRIES } else { check.retries },
        }
    }
}

/// The command line of a probe; `shell` is the image's, `/bin/sh -c` when empty.
pub fn command(check: &Healthcheck, shell: &[String]) -> Vec<String> {
    match check.test.split_first() {
        Some((kind, rest)) if kind == "CMD-SHELL" => {
            let mut args = match shell.is_empty() {
                true => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                false => shell.to_vec(),
            };
            args.extend(rest.iter().cloned());
            args
        }
        Some((_, rest)) => rest.to_vec(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
