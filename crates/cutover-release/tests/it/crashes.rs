//! Every scenario, with the executor dying at every step in every way, and resumed.

use cutover_release::Outcome;

use crate::fake::{Fault, When};
use crate::site::{Site, Wish, assert_sound, snapshot};

/// How the executor dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// The step is recorded as started and has not acted.
    Before,
    /// It has acted and is not recorded as finished.
    After,
    /// The journal is gone: nothing more is recorded.
    Unrecorded,
}

struct Scenario {
    releases: &'static [&'static [&'static str]],
    before: &'static [Wish],
    wish: Wish,
    /// A step that fails, so that the way back is interrupted too.
    fails: Option<&'static str>,
}

const PLAIN: &[&[&str]] = &[
    &["web image=v1 routes=/ verify=/ replicas=2"],
    &["web image=v2 routes=/ verify=/ replicas=2"],
];
const STACK: &[&[&str]] = &[
    &["db image=v1 volume=data", "web image=v1 routes=/ hook=migrate after=db", "job image=v1"],
    &["db image=v2 volume=data", "web image=v2 routes=/ hook=migrate after=db", "job image=v2"],
];
const ROLLING: &[&[&str]] = &[
    &["web image=v1 routes=/ replicas=3 order=stop-first delay=1s"],
    &["web image=v2 routes=/ replicas=3 order=stop-first delay=1s"],
];
const FROZEN: &[&[&str]] = &[
    &["mail image=v1", "web image=v1 routes=/ standby=frozen"],
    &["mail image=v2", "web image=v2 routes=/ standby=frozen"],
];

fn check(scenario: &Scenario) {
    for death in [Death::Before, Death::After, Death::Unrecorded] {
        let mut at = 0;
        while dies_at(scenario, death, at) {
            at += 1;
            assert!(at < 500, "the scenario does not end");
        }
        assert!(at > 0, "nobody died");
    }
}

/// Whether the executor got as far as its death.
fn dies_at(scenario: &Scenario, death: Death, at: usize) -> bool {
    let mut site = Site::new();
    for lines in scenario.releases {
        site.seal(lines.iter().copied());
    }
    for wish in scenario.before {
        assert!(site.go(wish).unwrap().unwrap().is_success());
    }
    if let Some(step) = scenario.fails {
        let (step, reason) = (step.to_owned(), "it is broken".to_owned());
        site.world.faults.push(Fault::Fail { step, reason, times: 1, when: When::Before });
    }
    match death {
        Death::Before => site.world.faults.push(Fault::Die { at, when: When::Before }),
        Death::After => site.world.faults.push(Fault::Die { at, when: When::After }),
        Death::Unrecorded => site.journal_dies = Some(at),
    }
    let before = snapshot(&site);
    let first = site.go(&scenario.wish).unwrap();
    let died = first.is_none();
    let outcome = match first {
        Some(outcome) => outcome,
        None => site.resume().expect("it is active").expect("nobody dies twice"),
    };
    let context = format!("{death:?} {at}: {outcome:?}\n{}", site.said.join("\n"));
    assert_sound(&site, &context);
    // A failure that was not recorded is tried again, and it was only one.
    let passed = scenario.fails.is_some() && died && matches!(death, Death::Unrecorded);
    match (outcome, scenario.fails) {
        (Outcome::Succeeded { .. }, None) => {}
        (Outcome::Succeeded { .. }, Some(_)) if passed => {}
        (Outcome::Reverted { .. }, Some(_)) => {
            assert_eq!(snapshot(&site), before, "{context}");
        }
        _ => panic!("unexpected outcome: {context}"),
    }
    let twice = site.world.hook_runs.values().find(|runs| **runs > 2);
    assert!(twice.is_none(), "a hook ran again: {context}");
    died
}

macro_rules! scenarios {
    ($($name:ident: $releases:ident, $before:expr, $wish:expr, $fails:expr;)*) => { $(
        #[test]
        fn $name() {
            let (releases, before) = ($releases, $before);
            check(&Scenario { releases, before, wish: $wish, fails: $fails });
        }
    )* };
}

const FIRST: &[Wish] = &[Wish::Deploy(1)];
const BOTH: &[Wish] = &[Wish::Deploy(1), Wish::Deploy(2)];

scenarios! {
    first_deploy: STACK, &[], Wish::Deploy(1), None;
    first_deploy_fails: STACK, &[], Wish::Deploy(1), Some("healthy web-1-1");
    start_first: PLAIN, FIRST, Wish::Deploy(2), None;
    start_first_fails: PLAIN, FIRST, Wish::Deploy(2), Some("verify web-2-2");
    switch_fails: PLAIN, FIRST, Wish::Deploy(2), Some("switch");
    stop_first: STACK, FIRST, Wish::Deploy(2), None;
    stop_first_fails: STACK, FIRST, Wish::Deploy(2), Some("healthy db-2-1");
    stop_first_fails_late: STACK, FIRST, Wish::Deploy(2), Some("switch");
    rolling: ROLLING, FIRST, Wish::Deploy(2), None;
    rolling_fails: ROLLING, FIRST, Wish::Deploy(2), Some("healthy web-2-3");
    rollback: STACK, BOTH, Wish::Rollback(None), None;
    rollback_fails: STACK, BOTH, Wish::Rollback(None), Some("healthy db-1-1");
    fast_rollback: FROZEN, BOTH, Wish::Rollback(None), None;
    fast_rollback_fails: FROZEN, BOTH, Wish::Rollback(None), Some("healthy web-1-1");
    down: STACK, BOTH, Wish::Down, None;
}
