//! Every invariant notices when a sound plan is broken in its way.

use cutover_release::check::INVARIANTS;
use cutover_release::{Action, Plan, Step, check};

use crate::site::{Site, Wish};

/// A plan with a bit of everything: an exclusive database, a routed start-first service, hooks.
fn sound() -> Plan {
    let mut site = Site::new();
    site.seal(["db image=v1 volume=data", "web image=v1 routes=/ hook=migrate after=db"]);
    site.seal(["db image=v2 volume=data", "web image=v2 routes=/ hook=migrate verify=/ after=db"]);
    assert!(site.go(&Wish::Deploy(1)).unwrap().unwrap().is_success());
    site.plan(&Wish::Deploy(2)).unwrap()
}

fn broken(plan: &Plan) -> Vec<&'static str> {
    let violations = check(plan).err().unwrap_or_default();
    violations.into_iter().map(|violation| violation.invariant).collect()
}

fn at(plan: &Plan, id: &str) -> usize {
    let found = plan.steps.iter().position(|step| step.id.0 == id);
    found.unwrap_or_else(|| panic!("no step `{id}` in {:?}", plan.steps))
}

/// The invariants that a changed plan breaks include `expected`.
#[track_caller]
fn check_breaks(expected: &'static str, change: impl FnOnce(&mut Plan)) {
    let mut plan = sound();
    change(&mut plan);
    let found = broken(&plan);
    assert!(found.contains(&expected), "`{expected}` is not among {found:?}");
}

fn drop_step(plan: &mut Plan, id: &str) -> Step {
    let at = at(plan, id);
    plan.steps.remove(at)
}

/// Moves one step before another.
fn move_before(plan: &mut Plan, id: &str, other: &str) {
    let step = drop_step(plan, id);
    let to = at(plan, other);
    plan.steps.insert(to, step);
}

#[test]
fn a_sound_plan_passes() {
    assert_eq!(broken(&sound()), Vec::<&str>::new());
}

#[test]
fn each_is_noticed() {
    check_breaks("one switch", |plan| {
        let mut again = plan.steps[at(plan, "switch")].clone();
        again.id.0.push_str(" again");
        plan.steps.push(again);
    });
    check_breaks("one release serves", |plan| move_before(plan, "drain web", "switch"));
    check_breaks("old untouched", |plan| {
        move_before(plan, "drain web", "switch");
        move_before(plan, "standby web-1-1", "switch");
    });
    check_breaks("absence is held", |plan| {
        drop_step(plan, "hold web");
    });
    check_breaks("never both", |plan| {
        drop_step(plan, "stop db-1-1");
    });
    check_breaks("proven first", |plan| {
        drop_step(plan, "healthy web-2-1");
    });
    check_breaks("proven first", |plan| {
        let step = drop_step(plan, "verify web-2-1");
        let after = at(plan, "switch") + 1;
        plan.steps.insert(after, step);
    });
    check_breaks("prepared first", |plan| {
        drop_step(plan, "image web");
    });
    check_breaks("prepared first", |plan| {
        let step = drop_step(plan, "hook web-pre1-2");
        let after = at(plan, "start web-2-1") + 1;
        plan.steps.insert(after, step);
    });
    check_breaks("nothing lost", |plan| {
        drop_step(plan, "standby web-1-1");
    });
    check_breaks("nothing needed is collected", |plan| {
        let collect = at(plan, "collect");
        plan.steps[collect].action = Action::Collect { releases: vec![1] };
    });
    check_breaks("kept untouched", |plan| {
        let old = plan.found.serving["web"].clone();
        let switch = at(plan, "switch");
        if let Action::Switch { targets, .. } = &mut plan.steps[switch].action {
            targets.insert("web".to_owned(), old);
        }
    });
    check_breaks("generation grows", |plan| plan.found.generation = 9);
    check_breaks("holds end", |plan| {
        drop_step(plan, "unhold web");
    });
    check_breaks("own names", |plan| {
        let first = plan.steps[0].id.clone();
        plan.steps[1].id = first;
    });
}

#[test]
fn every_invariant_has_a_sentence() {
    for invariant in INVARIANTS {
        assert!(invariant.says.len() > 20, "{}", invariant.name);
    }
}
