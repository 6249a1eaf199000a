//! [`Journal`]: what an execution writes down before and after each step, and [`Progress`]: the
//! same read back.
//!
//! Invariant: an entry is durable before `record` returns, and a step's `Started` is recorded
//! before it acts. So whatever may have happened is in the journal, and a restart needs no guess.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::step::{Step, StepId};
use crate::world::StepError;

/// Where an execution writes. Implemented by [`ledger::Writer`](crate::ledger::Writer); wrap it to
/// show progress.
pub trait Journal {
    /// Record all of `entries`, or none, durably.
    fn record(&mut self, entries: &[Entry<'_>]) -> Result<(), JournalError>;
}

/// Why an entry could not be recorded. The execution stops where it is: no step acts unrecorded.
#[derive(Debug, thiserror::Error)]
#[error("record the deployment's progress")]
pub struct JournalError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// One fact about an execution. Times are since 1970.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    Started {
        step: &'a Step,
        at: Duration,
    },
    Finished {
        step: &'a Step,
        at: Duration,
        note: Option<&'a str>,
    },
    /// `tolerated`: the execution goes on all the same.
    Failed {
        step: &'a Step,
        at: Duration,
        error: &'a StepError,
        tolerated: bool,
    },
    /// From here on the deployment is undone.
    Reverting {
        at: Duration,
        failure: &'a Failure,
    },
    Ended {
        at: Duration,
        outcome: &'a Outcome,
    },
}

/// What went wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `None`: no step failed; the deployment was cancelled or found broken after a crash.
    pub step: Option<StepId>,
    pub service: Option<String>,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// How a deployment ended. Which release serves is said with it, always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The new release serves. `left`: clean-up that failed and is done by the next deployment.
    Succeeded {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<Failure>,
    },
    /// It failed and everything is as it was before. `kept`: volumes that it made and that were
    /// served from.
    Reverted {
        failure: Failure,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<Failure>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<String>,
    },
    /// It failed and was left as it is, by `failure_action: pause`.
    Paused { failure: Failure, serving: Option<u64> },
    /// It failed and could not be undone either: a human must look.
    Stuck { failure: Failure, revert: Failure, serving: Option<u64> },
}

/// Which way a deployment goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    Forward,
    Revert(Failure),
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Started,
    Finished,
    Failed,
    /// Failed, and the execution went on.
    Tolerated,
}

/// A step as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    pub state: StepState,
    pub started: Duration,
    pub ended: Option<Duration>,
    pub note: Option<String>,
    pub error: Option<StepError>,
}

/// Everything recorded of one execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub steps: BTreeMap<StepId, StepRecord>,
    /// Set once the deployment is being undone; never unset.
    pub reverting: Option<Failure>,
}

// === impl Failure ===

impl Failure {
    pub fn at(step: &Step, error: &StepError) -> Self {
        Self {
            step: Some(step.id.clone()),
            service: step.action.service().map(str::to_owned),
            reason: error.reason.clone(),
            evidence: error.evidence.clone(),
        }
    }

    /// A failure that no step reported.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { step: None, service: None, reason: reason.into(), evidence: Vec::new() }
    }
}

// === impl Outcome ===

impl Outcome {
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded { .. })
    }

    /// One word, as listings and the ledger show it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Reverted { .. } => "reverted",
            Self::Paused { .. } => "paused",
            Self::Stuck { .. } => "stuck",
        }
    }

    /// Why it is not a success.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Succeeded { .. } => None,
            Self::Reverted { failure, .. }
            | Self::Paused { failure, .. }
            | Self::Stuck { failure, .. } => Some(failure),
        }
    }
}

// === impl Progress ===

impl Progress {
    pub fn state(&self, step: &StepId) -> Option<StepState> {
        self.steps.get(step).map(|record| record.state)
    }

    /// Nothing more to do for this step.
    pub fn is_past(&self, step: &StepId) -> bool {
        matches!(self.state(step), Some(StepState::Finished | StepState::Tolerated))
    }

    /// It may have had an effect.
    pub fn was_begun(&self, step: &StepId) -> bool {
        self.steps.contains_key(step)
    }

    /// Takes in one entry, as a reader of the journal would.
    pub fn apply(&mut self, entry: &Entry<'_>) {
        match *entry {
            Entry::Started { step, at } => {
                let started = StepRecord {
                    state: StepState::Started,
                    started: at,
                    ended: None,
                    note: None,
                    error: None,
                };
                self.steps.insert(step.id.clone(), started);
            }
            Entry::Finished { step, at, note } => {
                self.end(step, at, StepState::Finished, note.map(str::to_owned), None);
            }
            Entry::Failed { step, at, error, tolerated } => {
                let state = if tolerated { StepState::Tolerated } else { StepState::Failed };
                self.end(step, at, state, None, Some(error.clone()));
            }
            Entry::Reverting { failure, .. } => self.reverting = Some(failure.clone()),
            Entry::Ended { .. } => {}
        }
    }

    fn end(
        &mut self,
        step: &Step,
        at: Duration,
        state: StepState,
        note: Option<String>,
        error: Option<StepError>,
    ) {
        let started = self.steps.get(&step.id).map_or(at, |record| record.started);
        let record = StepRecord { state, started, ended: Some(at), note, error };
        self.steps.insert(step.id.clone(), record);
    }
}
