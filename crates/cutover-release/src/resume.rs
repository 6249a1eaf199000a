//! [`resume`]: a deployment whose executor died goes on or back. Pure.
//!
//! - It was being undone: go on undoing.
//! - The proxy has acknowledged the switch (its generation says so even when the ledger does not):
//!   the new release serves, so finish. The watch after the switch still may undo it.
//! - Before that: finish, if every new instance that had started is still what it was; otherwise
//!   undo. Nobody has seen the new release yet, so going back costs nothing.
//!
//! Either way the steps that were begun are performed again; they are idempotent.

use crate::facts::{Observed, State};
use crate::journal::{Course, Failure, Progress};
use crate::judge;
use crate::plan::Plan;
use crate::step::{Action, Step};

/// Decides how the execution of `plan` goes on.
pub fn resume(plan: &Plan, progress: &Progress, observed: &Observed) -> Course {
    if let Some(failure) = &progress.reverting {
        return Course::Revert(failure.clone());
    }
    let switch = plan.switch_at().map(|at| &plan.steps[at]);
    let generation = match switch.map(|step| &step.action) {
        Some(Action::Switch { generation, .. }) => *generation,
        _ => u64::MAX,
    };
    let recorded = switch.is_some_and(|step| progress.is_past(&step.id));
    if recorded || observed.routes.generation >= generation {
        return Course::Forward;
    }
    let failed = judge::failed_instances(plan, progress);
    let lost = plan.steps.iter().find_map(|step| lost(step, plan, progress, observed));
    match lost.filter(|id| !failed.contains(id)) {
        Some(id) => {
            let reason = format!("instance `{id}` did not survive the interruption");
            Course::Revert(Failure::because(reason))
        }
        None => Course::Forward,
    }
}

/// The instance that this finished step brought up, or saw well, and that is not up any more.
fn lost(
    step: &Step,
    plan: &Plan,
    progress: &Progress,
    observed: &Observed,
) -> Option<crate::facts::InstanceId> {
    let (Action::Start { instance } | Action::AwaitHealthy { instance, .. }) = &step.action else {
        return None;
    };
    if !progress.is_past(&step.id) {
        return None;
    }
    let fact = observed.instances.iter().find(|fact| fact.instance.id == instance.id);
    let is_job = plan.steps.iter().any(|other| match &other.action {
        Action::AwaitCompleted { instance: job, .. } => job.id == instance.id,
        _ => false,
    });
    let well = match fact.map(|fact| fact.state) {
        Some(State::Running) => true,
        Some(State::Completed) => is_job,
        _ => false,
    };
    (!well).then(|| instance.id.clone())
}
