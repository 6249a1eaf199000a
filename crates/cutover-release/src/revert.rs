//! [`revert`]: how to undo a deployment from wherever it got to. Pure: from the plan and what was
//! begun, so it is the same list after a crash in its middle.
//!
//! Order matters, and is the mirror of the plan's:
//! 1. bring back what serves: stop the new instances of exclusive services (with requests held),
//!    start the old ones, see that they are well, switch back with a higher generation, let
//!    requests through. These steps are *critical*: when one fails, the rest of them and all
//!    clean-up are skipped, because the new instances may be all that is left;
//! 2. clean up: the new instances go, woken ones wait again as they did, and networks and volumes
//!    that were made for the new release go too. A volume that a release served from, be it for a
//!    moment, may hold what users wrote: it stays.
//!
//! When a critical step fails for good, [`rescue`] starts again what the revert itself had stopped
//! and lets requests through: a release that was about to be undone is better than none. What then
//! serves is a mixture, by name; the next deployment sorts it out.
//! Data written by migrations or by a new database version is not undone; nothing here could.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::facts::{Instance, State};
use crate::journal::Progress;
use crate::plan::{Deck, Plan};
use crate::policy::{ALIVE_TIMEOUT, MIN_HEALTH_TIMEOUT};
use crate::step::{Action, Standby, Step, StepId};

/// The steps that undo a deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Revert {
    pub steps: Vec<Step>,
    /// How many of them, from the first, must succeed for the release before to serve again.
    pub critical: usize,
    /// Volumes that the deployment made and that stay, because they may hold what users wrote.
    pub kept: Vec<String>,
}

/// Decides how to undo `plan`, of which `progress` was begun.
pub fn revert(plan: &Plan, progress: &Progress) -> Revert {
    let undo = Undo::new(plan, progress);
    let mut deck = Deck::with_prefix("undo ");
    undo.restore(&mut deck);
    let critical = deck.len();
    undo.clean_up(&mut deck);
    let kept = if undo.switched { undo.volumes.into_iter().collect() } else { Vec::new() };
    Revert { steps: deck.into_steps(), critical, kept }
}

/// What is left to do when the release before cannot be brought back.
pub fn rescue(plan: &Plan, progress: &Progress) -> Vec<Step> {
    let undo = Undo::new(plan, progress);
    let mut deck = Deck::with_prefix("rescue ");
    for service in &undo.away {
        let new: Vec<_> = undo.started.iter().filter(|one| one.service == *service).collect();
        deck.extend(new.iter().map(|one| Action::Start { instance: (**one).clone() }));
        let instances = new.into_iter().cloned().collect();
        deck.push(Action::Announce { service: service.clone(), instances });
    }
    if !undo.switched && undo.away.iter().any(|service| plan.found.routed.contains(service)) {
        undo.switch_to(&mut deck, 3, |service| {
            let new = undo.started.iter().filter(|one| one.service == *service);
            if undo.away.contains(service) { new.cloned().collect() } else { undo.alive(service) }
        });
    }
    let services: Vec<_> = undo.held().into_iter().collect();
    if !services.is_empty() {
        deck.push(Action::Unhold { services });
    }
    deck.into_steps()
}

/// What was begun, sorted by what undoing it takes.
struct Undo<'p> {
    plan: &'p Plan,
    switched: bool,
    /// New or woken instances that may be up.
    started: Vec<Instance>,
    /// Instances that served, and were stopped or drained before the switch.
    stopped: Vec<Instance>,
    drained: bool,
    /// Services held and not let go.
    holding: BTreeSet<String>,
    announced: BTreeSet<String>,
    /// Exclusive services whose old instances were stopped: theirs and new ones take turns.
    away: BTreeSet<String>,
    /// Made by this deployment, as far as is known.
    networks: BTreeSet<String>,
    volumes: BTreeSet<String>,
}

impl<'p> Undo<'p> {
    fn new(plan: &'p Plan, progress: &Progress) -> Self {
        let mut undo = Self {
            plan,
            switched: false,
            started: Vec::new(),
            stopped: Vec::new(),
            drained: false,
            holding: BTreeSet::new(),
            announced: BTreeSet::new(),
            away: BTreeSet::new(),
            networks: BTreeSet::new(),
            volumes: BTreeSet::new(),
        };
        let end = plan.point_of_no_return();
        for step in plan.steps[..end].iter().filter(|step| progress.was_begun(&step.id)) {
            undo.take(step, progress.is_past(&step.id));
        }
        undo
    }

    fn take(&mut self, step: &Step, past: bool) {
        match &step.action {
            Action::Start { instance } => self.started.push(instance.clone()),
            Action::Stop { instance } => {
                let policy = self.plan.policies.get(&instance.service);
                if policy.is_some_and(|policy| policy.exclusive) {
                    self.away.insert(instance.service.clone());
                }
                self.stopped.push(instance.clone());
            }
            Action::Drain { .. } => self.drained = true,
            Action::Hold { services, .. } => self.holding.extend(services.iter().cloned()),
            Action::Unhold { services } if past => {
                self.holding.retain(|name| !services.contains(name));
            }
            Action::Announce { service, .. } => {
                self.announced.insert(service.clone());
            }
            Action::Switch { .. } => self.switched = true,
            Action::EnsureNetwork { name } if self.plan.found.absent_networks.contains(name) => {
                self.networks.insert(name.clone());
            }
            Action::EnsureVolume { name } if self.plan.found.absent_volumes.contains(name) => {
                self.volumes.insert(name.clone());
            }
            _ => {}
        }
    }

    /// What is held at any time of the revert.
    fn held(&self) -> BTreeSet<String> {
        let away = self.away.iter().filter_map(|service| self.plan.policies.get(service));
        let again = away.flat_map(|policy| policy.hold.iter().cloned());
        self.holding.iter().cloned().chain(again).collect()
    }

    fn restore(&self, deck: &mut Deck) {
        let again: BTreeSet<String> = self.held();
        if !self.away.is_empty() && !again.is_empty() {
            let limit = self.hold_limit();
            let services = again.iter().cloned().collect();
            deck.push(Action::Hold { services, limit, drain: limit / 3 });
        }
        for service in &self.away {
            let new = self.started.iter().filter(|one| one.service == *service);
            deck.extend(new.map(|one| Action::Stop { instance: one.clone() }));
        }
        let back = self.to_bring_back();
        deck.extend(back.iter().map(|one| Action::Start { instance: one.clone() }));
        for instance in &back {
            let stopped = self.stopped.contains(instance);
            let timeout = if stopped { MIN_HEALTH_TIMEOUT * 3 } else { ALIVE_TIMEOUT };
            deck.push(Action::AwaitHealthy { instance: instance.clone(), timeout });
        }
        let renamed: BTreeSet<_> = self.announced.iter().collect();
        for service in renamed.into_iter().filter(|_| !self.switched && !self.drained) {
            deck.push(Action::Announce {
                service: service.clone(),
                instances: self.alive(service),
            });
        }
        if self.switched || self.drained {
            self.switch_to(deck, 2, |service| self.alive(service));
        }
        let services: Vec<_> = again.into_iter().collect();
        if !services.is_empty() {
            deck.push(Action::Unhold { services });
        }
    }

    /// Old instances that must be up before traffic can go back to them.
    fn to_bring_back(&self) -> Vec<Instance> {
        let Some(switch) = self.plan.switch_at().filter(|_| self.switched) else {
            return self.stopped.clone();
        };
        let Action::Switch { targets, .. } = &self.plan.steps[switch].action else {
            return self.stopped.clone();
        };
        let left = |one: &&Instance| {
            let now = targets.get(&one.service);
            self.was_alive(one) && now.is_none_or(|now| !now.contains(one))
        };
        self.plan.found.serving.values().flatten().filter(left).cloned().collect()
    }

    fn was_alive(&self, instance: &Instance) -> bool {
        self.plan.was_there(instance).is_some_and(|fact| fact.state.is_up())
    }

    /// The instances of `service` that served and were well.
    fn alive(&self, service: &str) -> Vec<Instance> {
        let served = self.plan.found.serving.get(service).into_iter().flatten();
        served.filter(|one| self.was_alive(one)).cloned().collect()
    }

    /// The release before, served by `instances` of each service.
    fn switch_to(&self, deck: &mut Deck, ahead: u64, instances: impl Fn(&String) -> Vec<Instance>) {
        let found = &self.plan.found;
        let services = found.serving.keys().filter(|_| self.plan.from.is_some());
        let targets = services.map(|service| (service.clone(), instances(service)));
        deck.push(Action::Switch {
            generation: found.generation + ahead,
            release: self.plan.from,
            targets: targets.filter(|(_, instances)| !instances.is_empty()).collect(),
        });
    }

    fn clean_up(&self, deck: &mut Deck) {
        for service in self.plan.routed.iter().filter(|_| self.switched) {
            let of_service = self.started.iter().filter(|one| one.service == *service);
            let instances: Vec<_> = of_service.cloned().collect();
            if let (false, Some(policy)) = (instances.is_empty(), self.plan.policies.get(service)) {
                let (service, timeout) = (service.clone(), policy.drain);
                deck.push(Action::Drain { service, instances, timeout });
            }
        }
        for instance in self.started.iter().rev() {
            let instance = instance.clone();
            let found = self.plan.was_there(&instance).map(|fact| fact.state);
            let mode = match found {
                None | Some(State::Dead | State::Completed) => None,
                Some(State::Running) => Some(Standby::Running),
                Some(State::Frozen) => Some(Standby::Frozen),
                Some(State::Stopped) => Some(Standby::Stopped),
            };
            deck.push(match mode {
                Some(mode) => Action::Standby { instance, mode },
                None => Action::Remove { instance },
            });
        }
        deck.push(Action::Collect { releases: Vec::new() });
        let volumes = self.volumes.iter().filter(|_| !self.switched).cloned();
        deck.extend(volumes.map(|name| Action::RemoveVolume { name }));
        let networks = self.networks.iter().cloned();
        deck.extend(networks.map(|name| Action::RemoveNetwork { name }));
    }

    /// The longest hold that the plan itself makes.
    fn hold_limit(&self) -> Duration {
        let limits = self.plan.steps.iter().filter_map(|step| match &step.action {
            Action::Hold { limit, .. } => Some(*limit),
            _ => None,
        });
        limits.max().unwrap_or_default()
    }
}

/// Whether this step is one of a revert or a rescue.
pub fn is_undo(step: &StepId) -> bool {
    step.0.starts_with("undo ") || step.0.starts_with("rescue ")
}
