//! [`check`]: the invariants of every plan, each a named function with its sentence.
//!
//! A plan is checked after it is made and before it is carried out, so a mistake of the planner is
//! an error message and not an outage. The functions look only at the plan, by replaying it on a
//! [`Model`] in which every step succeeds; what failures do is checked by properties over the
//! executor (`tests/it/properties.rs`).

use std::collections::BTreeSet;
use std::fmt;

use cutover_core::service::Order;

use crate::facts::{Instance, State};
use crate::model::Model;
use crate::plan::Plan;
use crate::step::{Action, Step};

/// A plan breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// Something that holds for every plan.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    pub name: &'static str,
    /// What it says, for people.
    pub says: &'static str,
    holds: fn(&Plan) -> Result<(), String>,
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[
    Invariant { name: "one switch", says: "traffic moves in exactly one step", holds: one_switch },
    Invariant {
        name: "one release serves",
        says: "after every step exactly one release serves, and each of its routed services \
               answers or has its requests held",
        holds: one_release_serves,
    },
    Invariant {
        name: "old untouched",
        says: "before the switch nothing that serves is stopped or drained, unless its service is \
               stop-first, and nothing that serves is removed",
        holds: old_untouched,
    },
    Invariant {
        name: "absence is held",
        says: "while a stop-first service is away, requests that need it are held",
        holds: absence_is_held,
    },
    Invariant {
        name: "never both",
        says: "old and new instances of an exclusive service never run together",
        holds: never_both,
    },
    Invariant {
        name: "proven first",
        says: "no instance gets traffic or a name before it was seen to be well, and every proof \
               comes before the switch",
        holds: proven_first,
    },
    Invariant {
        name: "prepared first",
        says: "images are there before anything of the service runs, and its hooks have run before \
               its first new instance",
        holds: prepared_first,
    },
    Invariant {
        name: "nothing lost",
        says: "at the end every instance serves, waits for a rollback or is gone",
        holds: nothing_lost,
    },
    Invariant {
        name: "nothing needed is collected",
        says: "no release in use is forgotten and no instance that serves is removed",
        holds: nothing_needed_is_collected,
    },
    Invariant {
        name: "kept untouched",
        says: "an instance that goes on serving is not touched",
        holds: kept_untouched,
    },
    Invariant {
        name: "generation grows",
        says: "the switch has a higher generation than the one before",
        holds: generation_grows,
    },
    Invariant {
        name: "holds end",
        says: "no request is held at the end, and only after the switch for a routed service",
        holds: holds_end,
    },
    Invariant { name: "own names", says: "every step has a name of its own", holds: own_names },
];

/// Checks every invariant.
pub fn check(plan: &Plan) -> Result<(), Vec<Violation>> {
    let violations: Vec<_> = INVARIANTS
        .iter()
        .filter_map(|invariant| {
            let detail = (invariant.holds)(plan).err()?;
            Some(Violation { invariant: invariant.name, detail })
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// `Err` with what is wrong, unless it is so.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The steps before the switch.
fn before_switch(plan: &Plan) -> &[Step] {
    &plan.steps[..plan.switch_at().unwrap_or(plan.steps.len())]
}

fn one_switch(plan: &Plan) -> Result<(), String> {
    let switches =
        plan.steps.iter().filter(|step| matches!(step.action, Action::Switch { .. })).count();
    ensure(switches == 1, || format!("{switches} switches"))
}

fn one_release_serves(plan: &Plan) -> Result<(), String> {
    let models = Model::replay(plan);
    let switch = plan.switch_at().unwrap_or(plan.steps.len());
    let answering: Vec<&String> =
        plan.found.routed.iter().filter(|service| models[0].answers(service)).collect();
    for (done, model) in models.iter().enumerate() {
        let after = || match done.checked_sub(1).map(|last| &plan.steps[last].id) {
            Some(id) => format!("after `{id}`"),
            None => "at first".to_owned(),
        };
        let expected = if done > switch { plan.to } else { plan.from };
        ensure(model.serving == expected, || {
            format!("{} release {:?} serves", after(), model.serving)
        })?;
        let silent = if done > switch {
            let mut routed = plan.routed.iter().filter(|name| model.targets.contains_key(*name));
            routed.find(|service| !model.answers(service))
        } else {
            answering.iter().copied().find(|service| !model.answers(service))
        };
        if let Some(service) = silent {
            return Err(format!("{} nobody answers for `{service}`", after()));
        }
    }
    Ok(())
}

fn old_untouched(plan: &Plan) -> Result<(), String> {
    let is_stop_first = |service: &str| {
        plan.policies.get(service).is_some_and(|policy| policy.order == Order::StopFirst)
    };
    for step in before_switch(plan) {
        let (touched, allowed): (Vec<&Instance>, bool) = match &step.action {
            Action::Stop { instance } => (vec![instance], is_stop_first(&instance.service)),
            Action::Drain { service, instances, .. } => {
                (instances.iter().collect(), is_stop_first(service))
            }
            Action::Remove { instance } | Action::Standby { instance, .. } => {
                (vec![instance], false)
            }
            _ => continue,
        };
        let served = touched.into_iter().any(|instance| plan.served(instance));
        ensure(allowed || !served, || format!("`{}` comes before the switch", step.id))?;
    }
    Ok(())
}

fn absence_is_held(plan: &Plan) -> Result<(), String> {
    let models = Model::replay(plan);
    let until = plan.switch_at().map_or(models.len(), |at| at + 1);
    for (service, policy) in &plan.policies {
        if !models[0].is_found(service) {
            continue;
        }
        for model in models[..until].iter().filter(|model| !model.is_found(service)) {
            let missed = policy.hold.iter().find(|name| !model.held.contains(*name));
            if let Some(name) = missed {
                return Err(format!("`{service}` is away while `{name}` is not held"));
            }
        }
    }
    Ok(())
}

fn never_both(plan: &Plan) -> Result<(), String> {
    let starts = || {
        plan.steps.iter().filter_map(|step| match &step.action {
            Action::Start { instance } => Some(instance),
            _ => None,
        })
    };
    for (service, policy) in plan.policies.iter().filter(|(_, policy)| policy.exclusive) {
        let old = plan.found.serving.get(service).into_iter().flatten();
        let old: Vec<_> = old.filter(|one| !starts().any(|new| new.id == one.id)).collect();
        let new: Vec<_> = starts().filter(|one| one.service == *service).collect();
        for model in Model::replay(plan) {
            let up = |all: &[&Instance]| all.iter().any(|one| model.is_up(&one.id));
            ensure(!(up(&old) && up(&new) && policy.total > 0), || {
                format!("two generations of `{service}` run together")
            })?;
        }
    }
    Ok(())
}

fn proven_first(plan: &Plan) -> Result<(), String> {
    let mut model = Model::before(plan);
    let switch = plan.switch_at().unwrap_or(plan.steps.len());
    for (position, step) in plan.steps.iter().enumerate() {
        let named: Vec<&Instance> = match &step.action {
            Action::Switch { targets, .. } => targets.values().flatten().collect(),
            Action::Announce { instances, .. } => instances.iter().collect(),
            Action::Verify { .. } | Action::VerifyCommand { .. } if position > switch => {
                return Err(format!("`{}` comes after the switch", step.id));
            }
            _ => Vec::new(),
        };
        let unproven =
            named.into_iter().find(|one| !plan.served(one) && !model.proven.contains(&one.id));
        if let Some(instance) = unproven {
            return Err(format!("`{}` names `{}`, which is not proven", step.id, instance.id));
        }
        model.apply(&step.action);
    }
    Ok(())
}

fn prepared_first(plan: &Plan) -> Result<(), String> {
    let mut images = BTreeSet::new();
    let mut begun = BTreeSet::new();
    for step in &plan.steps {
        match &step.action {
            Action::PrepareImage { service, .. } => {
                images.insert(service.as_str());
            }
            Action::RunHook { service, replica: None, .. } => {
                ensure(images.contains(service.as_str()), || {
                    format!("`{}` has no image", step.id)
                })?;
                ensure(!begun.contains(service.as_str()), || format!("`{}` is late", step.id))?;
            }
            Action::Start { instance } if plan.was_there(instance).is_none() => {
                let service = instance.service.as_str();
                ensure(images.contains(service), || format!("`{}` has no image", step.id))?;
                begun.insert(service);
            }
            _ => {}
        }
    }
    Ok(())
}

fn nothing_lost(plan: &Plan) -> Result<(), String> {
    let models = Model::replay(plan);
    let last = models.last().expect("there is a model before the first step");
    let named: BTreeSet<_> = last.names.values().flatten().collect();
    let lost = last.instances.iter().find(|(id, state)| {
        !named.contains(id) && !last.waiting.contains(*id) && **state != State::Completed
    });
    if let Some((id, _)) = lost {
        return Err(format!("`{id}` neither serves nor waits at the end"));
    }
    let gone = named.into_iter().find(|id| !last.is_up(id));
    gone.map_or(Ok(()), |id| Err(format!("`{id}` is to serve and is not up at the end")))
}

fn nothing_needed_is_collected(plan: &Plan) -> Result<(), String> {
    let models = Model::replay(plan);
    let last = models.last().expect("there is a model before the first step");
    let served: BTreeSet<_> = last.names.values().flatten().collect();
    for step in &plan.steps {
        match &step.action {
            Action::Collect { releases } => {
                let standby = plan.found.standby.filter(|_| plan.from == plan.to);
                let used = [plan.from, plan.to, standby];
                let lost = releases.iter().find(|number| used.contains(&Some(**number)));
                if let Some(number) = lost {
                    return Err(format!("release {number} is in use"));
                }
            }
            Action::Remove { instance } => {
                ensure(!served.contains(&instance.id), || format!("`{}` serves", instance.id))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn kept_untouched(plan: &Plan) -> Result<(), String> {
    let Some(Action::Switch { targets, .. }) = plan.switch_at().map(|at| &plan.steps[at].action)
    else {
        return Ok(());
    };
    for instance in targets.values().flatten().filter(|instance| plan.served(instance)) {
        let was_up = plan.was_there(instance).is_some_and(|fact| fact.state.is_up());
        let late = plan.steps.iter().any(|step| match &step.action {
            Action::Announce { service, instances } => {
                *service == instance.service && !instances.contains(instance)
            }
            _ => false,
        });
        let touched = plan.steps.iter().find(|step| {
            step.action.instance().is_some_and(|other| other.id == instance.id)
                && !matches!(step.action, Action::Verify { .. })
        });
        if let Some(step) = touched.filter(|_| was_up && !late) {
            return Err(format!("`{}` is about an instance that goes on serving", step.id));
        }
    }
    Ok(())
}

fn generation_grows(plan: &Plan) -> Result<(), String> {
    let before = plan.found.generation;
    let smaller = plan.steps.iter().find_map(|step| match &step.action {
        Action::Switch { generation, .. } if *generation <= before => Some(generation),
        _ => None,
    });
    smaller.map_or(Ok(()), |now| Err(format!("generation {now} follows {before}")))
}

fn holds_end(plan: &Plan) -> Result<(), String> {
    let models = Model::replay(plan);
    let held = models.last().and_then(|last| last.held.first());
    held.map_or(Ok(()), |service| Err(format!("`{service}` is held at the end")))
}

fn own_names(plan: &Plan) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let twice = plan.steps.iter().find(|step| !seen.insert(&step.id));
    twice.map_or(Ok(()), |step| Err(format!("two steps are called `{}`", step.id)))
}
