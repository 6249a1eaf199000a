//! What a failure means: [`on_failure`] of a step, and [`Watch`] of the time after the switch.
//! Pure; the executor asks and obeys.
//!
//! As the Compose Deploy Specification says, `failure_action` is about tasks: instances that do
//! not start, get healthy, prove themselves or stay well. Up to `max_failure_ratio` of a service's
//! new instances may fail without an action; a failed one stays a target that the proxy's own
//! health check keeps traffic from. Everything else that fails before the switch (an image that
//! cannot be had, a hook, the switch itself) undoes the deployment whatever the file says, because
//! nothing is gained by waiting. Three rules protect whoever sends requests:
//!
//! - `pause` never leaves an app without a serving release: while requests are held or a stop-first
//!   service is away, it undoes instead;
//! - `continue` never switches to a service of which no new instance is well;
//! - a rollback that fails before the switch is undone, and after it is never rolled back itself:
//!   it pauses.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use cutover_core::service::FailureAction;

use crate::facts::{Health, Instance, InstanceId, Kind, State};
use crate::journal::{Failure, Progress, StepState};
use crate::plan::Plan;
use crate::policy::Policy;
use crate::step::{Action, Monitor, Step};
use crate::world::Reading;

/// Above this share of 5xx a service is broken even when there is nothing to compare it with.
pub const BROKEN_SHARE: f64 = 0.5;

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Note it and go on.
    Tolerate,
    /// Leave everything as it is and end.
    Pause,
    /// Undo the deployment.
    Revert,
}

/// What the failure of `step`, which is not yet in `progress`, means.
pub fn on_failure(plan: &Plan, progress: &Progress, step: &Step) -> Verdict {
    let position = plan.steps.iter().position(|other| other.id == step.id).unwrap_or(0);
    if position >= plan.point_of_no_return() {
        return Verdict::Tolerate;
    }
    let policy = step.action.service().and_then(|service| plan.policies.get(service));
    let Some(policy) = policy.filter(|_| is_of_an_instance(plan, &step.action)) else {
        // Removing what an earlier deployment left behind can wait.
        let stray = matches!(step.action, Action::Remove { .. });
        return if stray { Verdict::Tolerate } else { Verdict::Revert };
    };
    let mut failed = failed_instances(plan, progress);
    if let Some(instance) = failing_instance(plan, &step.action) {
        failed.insert(instance.id.clone());
    }
    let of_service = |id: &&InstanceId| new_instance(plan, id).as_deref() == step.action.service();
    let count = failed.iter().filter(of_service).count();
    let is_proof = matches!(step.action, Action::Verify { .. } | Action::VerifyCommand { .. });
    if !is_proof && count < policy.total && !exceeds(count, policy) {
        return Verdict::Tolerate;
    }
    act(plan, progress, policy.failure_action, count >= policy.total)
}

/// What a failure that the watch after the switch reports means.
pub fn on_watch(plan: &Plan, progress: &Progress, failure: &Failure) -> Verdict {
    let policy = failure.service.as_ref().and_then(|service| plan.policies.get(service));
    policy.map_or(Verdict::Revert, |policy| act(plan, progress, policy.failure_action, false))
}

fn act(plan: &Plan, progress: &Progress, action: FailureAction, all_failed: bool) -> Verdict {
    let switched = switch_begun(plan, progress);
    let at_stake = !switched && interrupted_service(plan, progress);
    match (plan.kind, action) {
        (Kind::Rollback, FailureAction::Continue) if !all_failed => Verdict::Tolerate,
        (Kind::Rollback, _) if switched => Verdict::Pause,
        (Kind::Rollback, _) => Verdict::Revert,
        (_, FailureAction::Continue) if !all_failed => Verdict::Tolerate,
        (_, FailureAction::Pause) if !at_stake => Verdict::Pause,
        _ => Verdict::Revert,
    }
}

/// `failure_action` counts for this action.
fn is_of_an_instance(plan: &Plan, action: &Action) -> bool {
    matches!(action, Action::VerifyCommand { .. }) || failing_instance(plan, action).is_some()
}

/// The new instance that has failed when this action fails.
fn failing_instance<'p>(plan: &'p Plan, action: &'p Action) -> Option<&'p Instance> {
    match action {
        Action::Start { instance }
        | Action::AwaitHealthy { instance, .. }
        | Action::Verify { instance } => Some(instance),
        Action::RunHook { replica: Some(id), .. } => {
            let starts = plan.steps.iter().filter_map(|step| match &step.action {
                Action::Start { instance } => Some(instance),
                _ => None,
            });
            starts.into_iter().find(|instance| instance.id == *id)
        }
        _ => None,
    }
}

fn new_instance(plan: &Plan, id: &InstanceId) -> Option<String> {
    let mut instances = plan.steps.iter().filter_map(|step| step.action.instance());
    instances.find(|instance| instance.id == *id).map(|instance| instance.service.clone())
}

/// The new instances that failed and were tolerated: no further step is taken for them.
pub fn failed_instances(plan: &Plan, progress: &Progress) -> BTreeSet<InstanceId> {
    let before = &plan.steps[..plan.point_of_no_return()];
    let failed = |step: &&Step| progress.state(&step.id) == Some(StepState::Tolerated);
    before
        .iter()
        .filter(failed)
        .filter_map(|step| failing_instance(plan, &step.action))
        .map(|instance| instance.id.clone())
        .collect()
}

fn exceeds(failed: usize, policy: &Policy) -> bool {
    share(failed as u64, policy.total.max(1) as u64) > policy.max_failure_ratio
}

pub(crate) fn switch_begun(plan: &Plan, progress: &Progress) -> bool {
    let switch = plan.switch_at().map(|at| &plan.steps[at].id);
    switch.is_some_and(|id| progress.was_begun(id))
}

/// An old instance was stopped, or requests are held.
fn interrupted_service(plan: &Plan, progress: &Progress) -> bool {
    plan.steps.iter().filter(|step| progress.was_begun(&step.id)).any(|step| {
        matches!(&step.action, Action::Hold { .. } | Action::Stop { .. } | Action::Drain { .. })
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share of requests needs no 53 bits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The time after the switch: compares readings with the first.
#[derive(Clone, Debug)]
pub struct Watch<'p> {
    plan: &'p Plan,
    monitor: &'p Monitor,
    /// Failed before and tolerated: counted, not looked at.
    failed: BTreeSet<InstanceId>,
    first: BTreeMap<InstanceId, Reading>,
}

// === impl Watch ===

impl<'p> Watch<'p> {
    /// Begins with what the instances were like right after the switch.
    pub fn new(
        plan: &'p Plan,
        monitor: &'p Monitor,
        progress: &Progress,
        first: BTreeMap<InstanceId, Reading>,
    ) -> Self {
        Self { plan, monitor, failed: failed_instances(plan, progress), first }
    }

    /// The instances to look at.
    pub fn instances(monitor: &Monitor) -> Vec<&Instance> {
        monitor.new.values().chain(monitor.old.values()).flatten().collect()
    }

    /// The first thing that is wrong now.
    pub fn on(&self, now: &BTreeMap<InstanceId, Reading>) -> Option<Failure> {
        let services = self.monitor.new.iter();
        services
            .filter_map(|(service, new)| {
                self.died(service, new, now).or_else(|| self.errs(service, new, now))
            })
            .next()
    }

    /// More new instances of `service` are down than its policy allows.
    fn died(
        &self,
        service: &str,
        new: &[Instance],
        now: &BTreeMap<InstanceId, Reading>,
    ) -> Option<Failure> {
        let policy = self.plan.policies.get(service)?;
        let before = new.iter().filter(|one| self.failed.contains(&one.id)).count();
        let watched = new.iter().filter(|one| !self.failed.contains(&one.id));
        let down: Vec<_> = watched
            .filter_map(|one| Some((one, self.why_down(&one.id, now.get(&one.id)?)?)))
            .collect();
        let (instance, why) = down.first()?;
        if !exceeds(before + down.len(), policy) {
            return None;
        }
        let evidence = now.get(&instance.id).map(|reading| reading.evidence.clone());
        Some(Failure {
            step: None,
            service: Some(service.to_owned()),
            reason: format!("instance `{}` {why} after the switch", instance.id),
            evidence: evidence.unwrap_or_default(),
        })
    }

    fn why_down(&self, id: &InstanceId, reading: &Reading) -> Option<&'static str> {
        let restarts = self.first.get(id).map_or(0, |first| first.restarts);
        match (reading.state, reading.health) {
            (State::Running, _) if reading.restarts > restarts => Some("crashed"),
            (State::Running, Health::Unhealthy) => Some("turned unhealthy"),
            (State::Running, _) => None,
            (State::Dead | State::Completed, _) => Some("ended"),
            (State::Frozen | State::Stopped, _) => Some("was stopped"),
        }
    }

    /// The new instances of `service` answer with clearly more 5xx than the old ones did.
    fn errs(
        &self,
        service: &str,
        new: &[Instance],
        now: &BTreeMap<InstanceId, Reading>,
    ) -> Option<Failure> {
        let (requests, errors) = self.since_switch(new, now);
        if requests < self.monitor.min_requests {
            return None;
        }
        let old = self.monitor.old.get(service).map(Vec::as_slice).unwrap_or_default();
        let (requests_before, errors_before) = total(old, now);
        let limit = if requests_before < self.monitor.min_requests {
            BROKEN_SHARE
        } else {
            share(errors_before, requests_before) + self.monitor.max_error_increase
        };
        (share(errors, requests) > limit).then(|| Failure {
            step: None,
            service: Some(service.to_owned()),
            reason: format!(
                "{errors} of {requests} requests to `{service}` were answered with 5xx after the \
                 switch, {errors_before} of {requests_before} before it"
            ),
            evidence: new
                .iter()
                .filter_map(|one| now.get(&one.id))
                .flat_map(|reading| reading.evidence.iter().cloned())
                .collect(),
        })
    }

    fn since_switch(&self, new: &[Instance], now: &BTreeMap<InstanceId, Reading>) -> (u64, u64) {
        let (requests, errors) = total(new, now);
        let (requests_then, errors_then) = total(new, &self.first);
        (requests.saturating_sub(requests_then), errors.saturating_sub(errors_then))
    }
}

fn total(instances: &[Instance], readings: &BTreeMap<InstanceId, Reading>) -> (u64, u64) {
    let readings = instances.iter().filter_map(|one| readings.get(&one.id));
    readings.fold((0, 0), |(requests, errors), reading| {
        (requests + reading.requests, errors + reading.errors)
    })
}
