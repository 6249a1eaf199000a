//! [`Restart`]: whether and when an exited container is started again. Pure; docker's rules.
//!
//! The delay doubles from 100 ms to one minute and begins anew after a run of ten seconds (moby's
//! `restartmanager`).

use std::time::Duration;

use crate::container::{ExitStatus, RestartPolicy};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(60);
/// A run at least this long was a good one.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// The restart policy of one container at work, for as long as its shim lives.
#[derive(Clone, Debug)]
pub struct Restart {
    policy: RestartPolicy,
    delay: Duration,
    count: u32,
}

/// How a run ended, as far as restarting is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub exit: ExitStatus,
    pub stopped_by_user: bool,
    pub ran_for: Duration,
}

/// What follows a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stay,
    Again { after: Duration },
}

impl Restart {
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, delay: Duration::ZERO, count: 0 }
    }

    /// How often it was started again.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Decides about a run that ended.
    pub fn on_exit(&mut self, ended: Ended) -> Verdict {
        if ended.ran_for >= GOOD_RUN {
            self.delay = Duration::ZERO;
        }
        self.delay = match self.delay.is_zero() {
            true => FIRST_DELAY,
            false => (self.delay * 2).min(MAX_DELAY),
        };
        // A user's stop ends every policy until the next start.
        let again = !ended.stopped_by_user
            && match self.policy {
                RestartPolicy::No => false,
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
                RestartPolicy::OnFailure(max) => {
                    !ended.exit.success() && max.is_none_or(|max| max == 0 || self.count < max)
                }
            };
        if !again {
            return Verdict::Stay;
        }
        self.count += 1;
        Verdict::Again { after: self.delay }
    }
}

/// A container that an agent finds not running.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub exit: ExitStatus,
    pub stopped_by_user: bool,
    /// It did not end by itself: its shim was killed, or the machine went down.
    pub interrupted: bool,
    /// It last ran before the machine was started.
    pub rebooted: bool,
}

/// Whether an agent starts it again. Docker's rule with the machine in the daemon's place: a
/// restart of the agent is nothing to a container, so only a reboot brings back what a user
/// stopped under `always`.
pub fn starts_on_recovery(policy: RestartPolicy, found: Found) -> bool {
    let ended_from_outside = found.interrupted || found.rebooted;
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always => found.rebooted || (found.interrupted && !found.stopped_by_user),
        RestartPolicy::UnlessStopped => ended_from_outside && !found.stopped_by_user,
        RestartPolicy::OnFailure(_) => {
            found.interrupted && !found.stopped_by_user && !found.exit.success()
        }
    }
}

#[cfg(test)]
mod tests;
