//! What people read: a plan before it is carried out, its progress, and how it ended.
//!
//! Plain lines without colour, each true on its own. After any failure the lines say which release
//! serves. Nothing here decides; nothing here prints.

use std::time::Duration;

use cutover_core::units::format_duration;

use crate::facts::{Instance, Kind, Releases};
use crate::journal::{Entry, Failure, Outcome};
use crate::plan::{Plan, PlanError};
use crate::revert::is_undo;
use crate::step::{Action, Standby};

/// The end of a deployment, told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The first says what happened; for a failure the reason and the evidence follow.
    pub lines: Vec<String>,
    /// What serves and what to do next.
    pub hint: Option<String>,
}

/// What is about to happen, in a few lines.
pub fn intro(plan: &Plan, releases: &Releases) -> Vec<String> {
    let digest = |number: u64| {
        releases.get(&number).map_or(String::new(), |it| format!(" ({})", it.digest.short()))
    };
    let app = &plan.app;
    let title = match (plan.kind, plan.from, plan.to) {
        (Kind::Deploy, None, Some(to)) => format!("deploy `{app}` release {to}{}", digest(to)),
        (Kind::Deploy, Some(from), Some(to)) if from == to => {
            format!("deploy `{app}` release {to}{} again", digest(to))
        }
        (Kind::Deploy, Some(from), Some(to)) => {
            format!("deploy `{app}` release {to}{} in place of release {from}", digest(to))
        }
        (Kind::Rollback, _, Some(to)) => {
            format!("roll `{app}` back to release {to}{}", digest(to))
        }
        (Kind::Replace, _, Some(to)) => format!("replace instances of `{app}` release {to}"),
        (Kind::Repair, _, Some(to)) => format!("repair `{app}` release {to}"),
        (_, Some(from), None) => format!("take down `{app}`, of which release {from} serves"),
        (_, _, _) => format!("take down `{app}`"),
    };
    std::iter::once(title).chain(plan.notes.iter().map(|note| format!("  {note}"))).collect()
}

/// The whole plan, step by step, for `--plan`.
pub fn plan(plan: &Plan, releases: &Releases) -> Vec<String> {
    let mut lines = intro(plan, releases);
    let width = plan.steps.len().to_string().len();
    for (index, step) in plan.steps.iter().enumerate() {
        lines.push(format!("{:>width$}. {}", index + 1, action(&step.action)));
    }
    lines
}

/// One step in words.
pub fn action(action: &Action) -> String {
    match action {
        Action::PrepareImage { service, image } => {
            format!("prepare image {} of `{service}`", image.short())
        }
        Action::EnsureNetwork { name } => format!("make sure of network `{name}`"),
        Action::EnsureVolume { name } => format!("make sure of volume `{name}`"),
        Action::RunHook { service, index, replica: None, .. } => {
            format!("run pre_start {} of `{service}` once", index + 1)
        }
        Action::RunHook { index, replica: Some(id), .. } => {
            format!("run pre_start {} for `{id}`", index + 1)
        }
        Action::Start { instance } => format!("start `{}`", instance.id),
        Action::AwaitHealthy { instance, timeout } => {
            format!("wait until `{}` is healthy, at most {}", instance.id, span(*timeout))
        }
        Action::AwaitCompleted { instance, .. } => {
            format!("wait until `{}` has completed", instance.id)
        }
        Action::Verify { instance } => format!("verify `{}`", instance.id),
        Action::VerifyCommand { service, index, .. } => {
            format!("verify `{service}` by command {}", index + 1)
        }
        Action::Pause { duration } => format!("pause for {}", span(*duration)),
        Action::Hold { services, limit, .. } => {
            format!("hold requests to {}, at most {}", names(services), span(*limit))
        }
        Action::Unhold { services } => format!("let requests to {} through", names(services)),
        Action::Announce { service, instances } if instances.is_empty() => {
            format!("forget the name `{service}`")
        }
        Action::Announce { service, instances } => {
            format!("let the name `{service}` mean {}", ids(instances))
        }
        Action::Switch { release: None, .. } => "take all traffic away".to_owned(),
        Action::Switch { release: Some(release), targets, .. } => {
            let targets: Vec<_> = targets.values().map(|all| ids(all)).collect();
            format!("SWITCH all traffic to release {release}: {}", targets.join(", "))
        }
        Action::Monitor(monitor) => format!("watch for {}", span(monitor.window)),
        Action::Drain { instances, timeout, .. } => {
            format!("drain {}, at most {}", ids(instances), span(*timeout))
        }
        Action::Stop { instance } => format!("stop `{}`", instance.id),
        Action::Standby { instance, mode } => {
            let mode = match mode {
                Standby::Running => "running",
                Standby::Frozen => "frozen",
                Standby::Stopped => "stopped",
            };
            format!("keep `{}` {mode} for a rollback", instance.id)
        }
        Action::Remove { instance } => format!("remove `{}`", instance.id),
        Action::RemoveNetwork { name } => format!("remove network `{name}`"),
        Action::RemoveVolume { name } => format!("remove volume `{name}`"),
        Action::Collect { releases } if releases.is_empty() => "clean up".to_owned(),
        Action::Collect { releases } => {
            let numbers: Vec<_> = releases.iter().map(ToString::to_string).collect();
            format!("clean up and forget release {}", numbers.join(", "))
        }
    }
}

/// The line to show for a journal entry, if it is worth one. `started` is when the deployment
/// was.
pub fn entry(plan: &Plan, entry: &Entry<'_>, started: Duration) -> Option<String> {
    let since = |at: Duration| {
        let seconds = at.saturating_sub(started).as_secs_f64();
        format!("{seconds:>6.2}s")
    };
    match entry {
        Entry::Started { step, at } => match &step.action {
            // all is done but this; who waits for the command should know what for
            Action::Monitor(monitor) => Some(format!(
                "{} traffic has moved; watching the new instances for {}",
                since(*at),
                span(monitor.window)
            )),
            _ => None,
        },
        Entry::Finished { step, at, note } => {
            let undo = if is_undo(&step.id) { "back: " } else { "" };
            let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
            Some(format!("{} {undo}{}{note}", since(*at), action(&step.action)))
        }
        Entry::Failed { step, at, error, tolerated } => {
            let end = if *tolerated { "; going on" } else { "" };
            let what = action(&step.action);
            Some(format!("{} FAILED {what}: {error}{end}", since(*at)))
        }
        Entry::Reverting { at, .. } => Some(match plan.from {
            Some(from) => format!("{} going back to release {from}", since(*at)),
            None => format!("{} undoing the deployment", since(*at)),
        }),
        Entry::Ended { at, outcome } => Some(format!("{} {}", since(*at), outcome.word())),
    }
}

/// How a deployment ended. `serving`: the release that serves now, as the ledger says.
pub fn outcome(plan: &Plan, releases: &Releases, outcome: &Outcome, serving: Option<u64>) -> Told {
    let app = &plan.app;
    let serves = self::serving(app, serving);
    match outcome {
        Outcome::Succeeded { left } => {
            let mut lines = vec![match plan.to {
                Some(to) => format!("release {to} of `{app}` serves all traffic"),
                None => format!("`{app}` is down"),
            }];
            if plan.steps.iter().any(|step| matches!(step.action, Action::Standby { .. }))
                && let (Some(from), Some(to)) = (plan.from, plan.to)
            {
                // without a number a rollback never goes forward
                let number = if from > to { format!(" {from}") } else { String::new() };
                lines.push(format!(
                    "release {from} waits; `cutover rollback{number}` goes back to it"
                ));
            }
            lines.extend(left.iter().map(|it| format!("left for later: {}", reason(it))));
            Told { lines, hint: None }
        }
        Outcome::Reverted { failure, left, kept } => {
            let mut lines = failed(plan, failure);
            lines.extend(left.iter().map(|it| format!("left for later: {}", reason(it))));
            Told { lines, hint: Some(format!("{serves}{}", remains(plan, left, kept))) }
        }
        Outcome::Paused { failure, .. } => {
            let next = match serving == plan.to {
                true => "it was left as it is: `cutover rollback` goes back, `cutover deploy` on",
                false => {
                    "its new instances were left for you to look at; the next deployment \
                          removes them"
                }
            };
            Told { lines: failed(plan, failure), hint: Some(format!("{serves}; {next}")) }
        }
        Outcome::Stuck { failure, revert, .. } => {
            let mut lines = failed(plan, failure);
            lines.push("going back failed too".to_owned());
            lines.push(reason(revert));
            lines.extend(evidence(revert));
            let logs = releases.get(&plan.to.unwrap_or_default()).and_then(|it| {
                let service = revert.service.as_ref().filter(|it_| it.services.contains_key(*it_));
                service.map(|service| format!("; see `cutover logs {service}`"))
            });
            let serves = serves.replace(" still ", " ");
            let logs = logs.unwrap_or_default();
            let hint = match serving {
                Some(_) => format!("{serves}, but may be degraded{logs}"),
                None => format!("{serves}; what is left runs on, see `cutover status`{logs}"),
            };
            Told { lines, hint: Some(hint) }
        }
    }
}

/// What an undone deployment has left on the machine, and how to be rid of it.
fn remains(plan: &Plan, left: &[Failure], kept: &[String]) -> String {
    let volumes = match kept {
        [] => String::new(),
        kept => format!("; users may have written to {}, so it stays", names(kept)),
    };
    match (plan.from, left.is_empty() && kept.is_empty()) {
        (Some(_), _) => volumes,
        (None, true) => ", and nothing of this deployment is left".to_owned(),
        (None, false) => {
            let is_volume = |it: &Failure| {
                it.step.as_ref().is_some_and(|step| step.0.contains("remove volume"))
            };
            let is_any = !kept.is_empty() || left.iter().any(is_volume);
            let flag = if is_any { " -v" } else { "" };
            format!("{volumes}; `cutover down{flag}` removes what is left")
        }
    }
}

/// Which release serves: the question after every failure.
pub fn serving(app: &str, serving: Option<u64>) -> String {
    match serving {
        Some(release) => format!("release {release} of `{app}` still serves all traffic"),
        None => format!("nothing of `{app}` serves"),
    }
}

/// What to do when there is no plan.
pub fn plan_hint(error: &PlanError) -> Option<String> {
    Some(match error {
        PlanError::Nothing { .. } => {
            "for fresh instances of the same release use `cutover replace`".to_owned()
        }
        PlanError::NotServing { .. } => "deploy it first with `cutover deploy`".to_owned(),
        PlanError::NoRelease { .. } | PlanError::LostRelease { .. } => {
            "see `cutover releases` for those that are kept".to_owned()
        }
        PlanError::NoService { .. } => "see `cutover status` for its services".to_owned(),
        PlanError::Circle { .. } => "remove one of these from `depends_on`".to_owned(),
        PlanError::PortTakenByItself { .. } => {
            "remove `order`: the old one then makes room while requests are held; or use \
             `x-cutover.routes` instead of `ports`"
                .to_owned()
        }
        PlanError::PortOfMany { .. } => {
            "use `x-cutover.routes`, which sends requests to all of them".to_owned()
        }
    })
}

fn failed(plan: &Plan, failure: &Failure) -> Vec<String> {
    let what = match (plan.kind, plan.to) {
        (Kind::Rollback, Some(to)) => format!("roll back to release {to}"),
        (_, Some(to)) => format!("deploy release {to}"),
        (_, None) => "take down".to_owned(),
    };
    let first = format!("failed to {what} of `{}`", plan.app);
    [first, reason(failure)].into_iter().chain(evidence(failure)).collect()
}

/// What failed and why, in one line.
fn reason(failure: &Failure) -> String {
    match &failure.step {
        Some(step) => format!("{step}: {}", failure.reason),
        None => failure.reason.clone(),
    }
}

fn evidence(failure: &Failure) -> impl Iterator<Item = String> {
    failure.evidence.iter().map(|line| format!("  {line}"))
}

fn ids(instances: &[Instance]) -> String {
    let ids: Vec<_> = instances.iter().map(|one| format!("`{}`", one.id)).collect();
    ids.join(" ")
}

fn names(services: &[String]) -> String {
    let names: Vec<_> = services.iter().map(|name| format!("`{name}`")).collect();
    names.join(" ")
}

fn span(duration: Duration) -> String {
    format_duration(duration)
}
