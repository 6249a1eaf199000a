//! Whether a target gets requests: a state machine without clock or sockets.
//!
//! `adding` until the first verdict, then `healthy` and `unhealthy` by runs of probe results, and
//! `draining` for good once the target is no target any more. Probing never stops before that: a
//! target that was healthy once may fall ill. The driver ([`crate::prober`]) does what
//! [`Health::on`] returns and feeds back what happened.

use std::time::{Duration, Instant};

use crate::control::TargetState;

/// When to probe and how many equal results make a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rhythm {
    pub(crate) interval: Duration,
    pub(crate) healthy_after: u32,
    pub(crate) unhealthy_after: u32,
}

/// One target's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    rhythm: Rhythm,
    state: TargetState,
    /// Equal results in a row: positive for successes, negative for failures.
    run: i64,
    last_failure: Option<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The target is to be watched from now on.
    Start,
    ProbePassed,
    /// Why, in words.
    ProbeFailed(String),
    /// The target gets no new requests any more.
    Drain,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Publish(TargetState),
    ProbeAt(Instant),
    StopProbing,
}

impl Health {
    /// Starts from what is known: `adding`, or a state that someone proved.
    pub(crate) fn new(state: TargetState, rhythm: Rhythm) -> Self {
        Self { rhythm, state, run: 0, last_failure: None }
    }

    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        use TargetState::{Draining, Healthy, Unhealthy};
        if self.state == Draining {
            return Vec::new();
        }
        let next = now + self.rhythm.interval;
        match event {
            Event::Drain => vec![self.enter(Draining), Action::StopProbing],
            Event::Start => vec![Action::ProbeAt(now)],
            Event::ProbePassed => {
                self.run = self.run.max(0) + 1;
                self.last_failure = None;
                let verdict = self.run >= self.rhythm.healthy_after.max(1).into();
                self.turn(verdict.then_some(Healthy), next)
            }
            Event::ProbeFailed(why) => {
                self.run = self.run.min(0) - 1;
                self.last_failure = Some(why);
                let verdict = -self.run >= self.rhythm.unhealthy_after.max(1).into();
                self.turn(verdict.then_some(Unhealthy), next)
            }
        }
    }

    /// The last failure, until a probe passes.
    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    fn turn(&mut self, to: Option<TargetState>, next: Instant) -> Vec<Action> {
        let publish = to.filter(|to| *to != self.state).map(|to| self.enter(to));
        publish.into_iter().chain([Action::ProbeAt(next)]).collect()
    }

    fn enter(&mut self, state: TargetState) -> Action {
        self.state = state;
        Action::Publish(state)
    }
}

#[cfg(test)]
mod tests;
