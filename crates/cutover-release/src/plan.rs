//! [`plan()`]: every choice of a deployment, made before anything happens.
//!
//! Pure. The result lists what will be done in order, so it can be shown, checked, stored, and
//! carried out by an executor that has nothing left to decide. What each part decides:
//!
//! - `change`: per service, which instances stay, wake, start fresh and go;
//! - [`crate::policy`]: start-first or stop-first, and what a failure means;
//! - `waves`: the order that `depends_on` asks for;
//! - `forward`: the steps up to and including the switch;
//! - `retire`: the steps after it.
//!
//! **Standby.** After a deployment from A to B the instances that only A wants wait in the state
//! that `x-cutover.standby` asks for. Two kinds always wait *stopped*: those of a stop-first
//! service (two copies must not run), and those of a service without routes, because a worker that
//! runs while it waits would work twice. A tainted instance never waits: it is not what was
//! sealed. What waited before (for a release before A) is removed once B has proved itself.
//!
//! **The fast way back.** In a rollback, when every routed service that changes has its instances
//! waiting in memory (running or frozen), the plan begins: thaw, "are they alive", switch. Services
//! without routes follow after the switch unless a routed one depends on them.

mod change;
mod deck;
mod error;
mod forward;
mod retire;
mod waves;

pub use error::PlanError;

use std::collections::{BTreeMap, BTreeSet};

use cutover_core::release::Release;
use serde::{Deserialize, Serialize};

use self::change::Change;
pub(crate) use self::deck::Deck;
use crate::facts::{Facts, Instance, InstanceFact, InstanceId, Kind, Wanted};
use crate::policy::{self, Policy};
use crate::step::{Action, Step};

/// The format that this version writes; a plan of a newer one is refused.
pub const VERSION: u32 = 1;

/// A deployment, decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    pub app: String,
    pub deployment: u64,
    pub kind: Kind,
    /// The release that serves before; `None`: nothing does.
    pub from: Option<u64>,
    /// The release that serves after; `None`: nothing will.
    pub to: Option<u64>,
    /// What was there when this was decided: what a revert restores.
    pub found: Found,
    /// The services that the proxy sends requests to afterwards.
    pub routed: BTreeSet<String>,
    pub steps: Vec<Step>,
    /// How each service that changes is replaced.
    pub policies: BTreeMap<String, Policy>,
    /// Choices worth telling the user, one line each.
    pub notes: Vec<String>,
}

/// The part of [`Observed`](crate::facts::Observed) that a plan keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub generation: u64,
    /// The release that waited for a rollback.
    pub standby: Option<u64>,
    /// What serves, by service, whatever its state.
    pub serving: BTreeMap<String, Vec<Instance>>,
    /// The services that the proxy sends requests to.
    pub routed: BTreeSet<String>,
    pub instances: Vec<InstanceFact>,
    /// Of what the steps make sure of, that which was not there: a revert removes it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absent_networks: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absent_volumes: BTreeSet<String>,
}

/// What is asked and what is there, looked up once.
#[derive(Clone, Debug)]
struct Aim<'a> {
    wanted: &'a Wanted,
    facts: &'a Facts,
    from: Option<&'a Release>,
    to: Option<&'a Release>,
    /// Serve now, whatever their state.
    serving: BTreeSet<&'a InstanceId>,
    /// Wait for a rollback to the standby release.
    waiting: BTreeSet<&'a InstanceId>,
}

/// Decides a deployment.
pub fn plan(wanted: &Wanted, facts: &Facts) -> Result<Plan, PlanError> {
    let aim = Aim::new(wanted, facts)?;
    let changes = change::all(&aim)?;
    let mut notes = Vec::new();
    let mut deck = Deck::default();
    match aim.to {
        Some(to) => {
            if !aim.moves() && changes.iter().all(Change::is_nothing) {
                return Err(PlanError::Nothing { app: wanted.app.clone(), release: to.number });
            }
            forward::steps(&aim, &changes, &mut deck);
            retire::steps(&aim, &changes, &mut deck);
            change::notes(&aim, &changes, &mut notes);
        }
        None => retire::down(&aim, &mut deck),
    }
    let steps = deck.into_steps();
    Ok(Plan {
        version: VERSION,
        app: wanted.app.clone(),
        deployment: wanted.deployment,
        kind: wanted.kind,
        from: aim.from.map(|release| release.number),
        to: aim.to.map(|release| release.number),
        found: aim.found(&steps),
        routed: aim.to.map(routed).unwrap_or_default(),
        steps,
        policies: changes
            .into_iter()
            .filter(|change| !change.is_nothing())
            .map(|change| (change.name.to_owned(), change.policy))
            .collect(),
        notes,
    })
}

fn routed(release: &Release) -> BTreeSet<String> {
    let routed = |name: &&String| policy::is_routed(&release.services[*name].service);
    release.services.keys().filter(routed).cloned().collect()
}

// === impl Aim ===

impl<'a> Aim<'a> {
    fn new(wanted: &'a Wanted, facts: &'a Facts) -> Result<Self, PlanError> {
        let app = || wanted.app.clone();
        let from = match facts.serving {
            None => None,
            Some(release) => Some(
                facts
                    .releases
                    .get(&release)
                    .ok_or_else(|| PlanError::LostRelease { app: app(), release })?,
            ),
        };
        let to = match wanted.kind {
            Kind::Deploy | Kind::Rollback => {
                Some(wanted.release.as_ref().ok_or_else(|| PlanError::NoRelease { app: app() })?)
            }
            Kind::Replace | Kind::Repair => {
                Some(from.ok_or_else(|| PlanError::NotServing { app: app() })?)
            }
            Kind::Down if from.is_none() && !facts.is_anything_left() => {
                return Err(PlanError::NotServing { app: app() });
            }
            Kind::Down => None,
        };
        if let (Kind::Rollback, Some(from), Some(to)) = (wanted.kind, from, to)
            && from.digest == to.digest
        {
            return Err(PlanError::Nothing { app: app(), release: to.number });
        }
        let (serving, waiting) = (facts.serving_instances(), facts.waiting_instances());
        Ok(Self { wanted, facts, from, to, serving, waiting })
    }

    /// Whether another release serves afterwards.
    fn moves(&self) -> bool {
        self.from.map(|release| &release.digest) != self.to.map(|release| &release.digest)
    }

    fn instances(&self) -> impl Iterator<Item = &'a InstanceFact> {
        self.facts.observed.instances.iter()
    }

    fn is_serving(&self, fact: &InstanceFact) -> bool {
        self.serving.contains(&fact.instance.id)
    }

    fn is_waiting(&self, fact: &InstanceFact) -> bool {
        self.waiting.contains(&fact.instance.id)
    }

    /// The instances of `service` that serve now, whatever their state.
    fn serving(&self, service: &str) -> Vec<&'a InstanceFact> {
        let of = |fact: &&InstanceFact| fact.instance.service == service && self.is_serving(fact);
        self.instances().filter(of).collect()
    }

    fn found(&self, steps: &[Step]) -> Found {
        let observed = &self.facts.observed;
        let networks = steps.iter().filter_map(|step| match &step.action {
            Action::EnsureNetwork { name } => Some(name.clone()),
            _ => None,
        });
        let volumes = steps.iter().filter_map(|step| match &step.action {
            Action::EnsureVolume { name } => Some(name.clone()),
            _ => None,
        });
        let mut serving: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        for fact in self.instances().filter(|fact| self.is_serving(fact)) {
            serving.entry(fact.instance.service.clone()).or_default().push(fact.instance.clone());
        }
        Found {
            generation: self.facts.observed.routes.generation,
            standby: self.facts.standby,
            serving,
            routed: self.from.map(routed).unwrap_or_default(),
            instances: observed.instances.clone(),
            absent_networks: networks.filter(|name| !observed.networks.contains(name)).collect(),
            absent_volumes: volumes.filter(|name| !observed.volumes.contains(name)).collect(),
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Where the switch is.
    pub fn switch_at(&self) -> Option<usize> {
        self.steps.iter().position(|step| matches!(step.action, Action::Switch { .. }))
    }

    /// The first step after the switch that takes something away from the release before: until
    /// then all can be undone, from then on everything is clean-up.
    pub fn point_of_no_return(&self) -> usize {
        let after = self.switch_at().map_or(self.steps.len(), |at| at + 1);
        let takes = |step: &Step| {
            matches!(
                step.action,
                Action::Drain { .. }
                    | Action::Standby { .. }
                    | Action::Stop { .. }
                    | Action::Remove { .. }
                    | Action::Collect { .. }
            )
        };
        self.steps[after..].iter().position(takes).map_or(self.steps.len(), |at| after + at)
    }

    /// Whether this instance was there before the deployment.
    pub fn was_there(&self, instance: &Instance) -> Option<&InstanceFact> {
        self.found.instances.iter().find(|fact| fact.instance.id == instance.id)
    }

    /// Whether this instance served before the deployment.
    pub fn served(&self, instance: &Instance) -> bool {
        let serving = self.found.serving.get(&instance.service);
        serving.is_some_and(|all| all.iter().any(|one| one.id == instance.id))
    }
}
