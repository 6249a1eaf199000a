//! [`World`]: the machine as the executor sees it. Implemented by the agent over the runtime and
//! the proxy, and by a fake in the tests.
//!
//! Calls are blocking and made one after another from one thread. What an action must do, and
//! what failing means, is the contract at each variant of [`Action`].

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::release::{Release, SealedService};
use serde::{Deserialize, Serialize};

use crate::facts::{Health, Instance, InstanceId, Releases, State};
use crate::plan::Plan;
use crate::step::Action;

/// What the executor needs of a machine.
pub trait World {
    /// Do it, and return once it holds. Never called for `Pause` and `Monitor`.
    ///
    /// An error means that the action may or may not have happened, except where its contract
    /// says "without effect"; the executor then undoes it as if it had. Blocking actions return
    /// [`StepError::interrupted`] soon after [`World::interrupt`] starts to answer `Some`.
    fn perform(&mut self, scene: &Scene<'_>, action: &Action) -> Result<Done, StepError>;

    /// What these instances are doing right now; one that does not exist is `Dead`. Counters are
    /// the proxy's, since the instance first became a target.
    fn observe(&mut self, instances: &[&Instance]) -> BTreeMap<InstanceId, Reading>;

    /// Let time pass; returns early when interrupted.
    fn wait(&mut self, duration: Duration);

    /// Time since 1970. Only ever recorded and subtracted; may jump.
    fn now(&self) -> Duration;

    /// Whether to stop what is under way. Asked between steps and while waiting.
    fn interrupt(&self) -> Option<Interrupt>;
}

/// Why an execution is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The user wants this deployment undone. Ignored once it is being undone, and once the old
    /// release's instances are being put away.
    Cancel,
    /// The agent is going down: leave everything as it is; a later `resume` goes on.
    Shutdown,
}

/// The deployment that an action belongs to: names and sealed specs.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub plan: &'a Plan,
    pub releases: &'a Releases,
    /// The deployment can still be undone: [`Interrupt::Cancel`] counts.
    pub cancellable: bool,
}

/// An action that holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// One line worth showing: `pulled 31 MB`, `cut 2 connections after 30s`.
    pub note: Option<String>,
}

/// Why an action does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct StepError {
    /// One line: lowercase, no dot, names in backticks: ``GET `/up` answered 503``.
    pub reason: String,
    /// What a human needs to see: status, headers, last log lines. Never a secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// It did not fail; it was told to stop.
    #[serde(default)]
    pub interrupted: bool,
    /// The service it is about, when the action does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// One instance, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub state: State,
    pub health: Health,
    /// How often its restart policy brought it back.
    pub restarts: u64,
    /// Requests answered.
    pub requests: u64,
    /// Those answered with 5xx, by the instance or by the proxy on its behalf.
    pub errors: u64,
    /// What a human needs to see when this reading is a failure: last log lines, exit code.
    pub evidence: Vec<String>,
}

// === impl Scene ===

impl<'a> Scene<'a> {
    pub fn app(&self) -> &'a str {
        &self.plan.app
    }

    pub fn to(&self) -> Option<&'a Release> {
        self.releases.get(&self.plan.to?)
    }

    pub fn from(&self) -> Option<&'a Release> {
        self.releases.get(&self.plan.from?)
    }

    /// Whether a blocking action gives up because of this answer of [`World::interrupt`].
    pub fn must_stop(&self, interrupt: Option<Interrupt>) -> bool {
        match interrupt {
            Some(Interrupt::Shutdown) => true,
            Some(Interrupt::Cancel) => self.cancellable,
            None => false,
        }
    }

    /// The sealed service that `instance` is made of: of the release moved to if it fits, else of
    /// the one left, else of any kept one with the same spec.
    pub fn sealed(&self, instance: &Instance) -> Option<&'a SealedService> {
        let near = self.to().into_iter().chain(self.from());
        near.chain(self.releases.values())
            .filter_map(|release| release.services.get(&instance.service))
            .find(|sealed| sealed.instance_digest() == instance.spec)
    }

    /// The sealed service of the release moved to: what hooks and verification run with.
    pub fn new_service(&self, service: &str) -> Option<&'a SealedService> {
        self.to()?.services.get(service)
    }
}

// === impl Done ===

impl Done {
    pub fn note(note: impl Into<String>) -> Self {
        Self { note: Some(note.into()) }
    }
}

// === impl StepError ===

impl StepError {
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), evidence: Vec::new(), interrupted: false, service: None }
    }

    pub fn interrupted() -> Self {
        Self { interrupted: true, ..Self::new("interrupted") }
    }

    #[must_use]
    pub fn with_evidence(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        self
    }
}

// === impl Reading ===

impl Reading {
    /// An instance that does not exist.
    pub fn gone() -> Self {
        Self {
            state: State::Dead,
            health: Health::Unknown,
            restarts: 0,
            requests: 0,
            errors: 0,
            evidence: Vec::new(),
        }
    }
}
