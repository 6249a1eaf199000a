use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cutover_core::service::Route;

use super::super::KnownHealth;
use super::super::tests::spec;
use super::*;
use crate::persist::{Hold, Loaded, StateFile};
use crate::table::Choice;

/// The generation at which the lookers stop.
const LAST: u64 = 100;

const HOLD: Hold = Hold { timeout: Duration::from_secs(1), limit: 1 };

/// `app` with `web` (held) and `api` at 5, `gone` removed at 3; `late`, which has nothing but a
/// removed service at 7; `other/web` at 9; and `app2/web`, whose name only begins like that of `app`.
fn state() -> State {
    let mut state = State::default();
    for (key, generation, hold) in [
        ("app/web", 5, Some(HOLD)),
        ("app/api", 5, None),
        ("other/web", 9, None),
        ("app2/web", 9, None),
    ] {
        state.services.insert(key.into(), Kept { spec: spec(key, generation, &["a"]), hold });
    }
    state.removed.insert("app/gone".into(), 3);
    state.removed.insert("late/web".into(), 7);
    state.removed.insert("network app/default".into(), 99);
    state
}

/// The services and the fences of the app after it was decided; or why nothing changes.
fn outcome(state: &State, app: &str, generation: u64, wanted: &[ServiceSpec]) -> String {
    match decide(state, app, generation, wanted) {
        Ok(None) => "same".into(),
        Ok(Some(next)) => described(&next, app),
        Err(Reply::Stale { service, current }) => format!("stale: {service} is at {current}"),
        Err(Reply::Error { message }) => message,
        Err(other) => panic!("{other:?}"),
    }
}

fn described(state: &State, app: &str) -> String {
    let services = owned(&state.services, app).map(|(key, kept)| {
        let held = if kept.hold.is_some() { " held" } else { "" };
        format!("{key}@{}{held}", kept.spec.generation)
    });
    let removed = owned(&state.removed, app);
    let fences = removed.map(|(key, generation)| format!("-{key}@{generation}"));
    services.chain(fences).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(app: &str, generation: u64, wanted: &[(&str, &str)], expected: &str) {
    let wanted: Vec<_> =
        wanted.iter().map(|(service, target)| spec(service, generation, &[target])).collect();
    let before = state();
    assert_eq!(outcome(&before, app, generation, &wanted), expected);
    if let Ok(Some(next)) = decide(&before, app, generation, &wanted) {
        assert_eq!(outcome(&next, app, generation, &wanted), "same", "told twice");
        let others = |state: &State| {
            let mut others = state.clone();
            others.services.retain(|key, _| !key.starts_with(&format!("{app}/")));
            others.removed.clear();
            others
        };
        assert_eq!(others(&next), others(&before), "what is not the app's");
    }
}

#[test]
fn a_newer_generation_replaces_all() {
    let both = [("app/web", "b"), ("app/api", "b")];
    check("app", 6, &both, "app/api@6 app/web@6 held -app/gone@3");
    check("app", 6, &both[..1], "app/web@6 held -app/api@6 -app/gone@3");
    check("app", 6, &[("app/gone", "b")], "app/gone@6 -app/api@6 -app/web@6");
    check("app", 6, &[], "-app/api@6 -app/gone@3 -app/web@6");
    check("new", 0, &[("new/web", "a")], "new/web@0");
    check("new", 0, &[], "same");
    check("late", 8, &[("late/web", "a")], "late/web@8");
}

#[test]
fn an_equal_generation_must_say_the_same() {
    check("app", 5, &[("app/web", "a"), ("app/api", "a")], "same");
    check("app", 5, &[("app/api", "a"), ("app/web", "a")], "same");
    for wanted in [
        &[("app/web", "a"), ("app/api", "b")][..],
        &[("app/web", "a")],
        &[("app/web", "a"), ("app/api", "a"), ("app/gone", "a")],
        &[],
    ] {
        check("app", 5, wanted, "stale: app/web is at 5");
    }
    check("late", 7, &[("late/web", "a")], "stale: late/web is at 7");
}

#[test]
fn one_newer_service_refuses_all() {
    check("app", 4, &[("app/web", "a"), ("app/api", "a")], "stale: app/web is at 5");
    check("app", 4, &[], "stale: app/web is at 5");
    check("late", 6, &[("late/other", "a")], "stale: late/web is at 7");
    let mut state = state();
    state.services.get_mut("app/api").unwrap().spec.generation = 7;
    let wanted = [spec("app/web", 6, &["b"])];
    assert_eq!(outcome(&state, "app", 6, &wanted), "stale: app/api is at 7");
}

#[test]
fn what_was_removed_comes_back_with_the_next_generation() {
    let (web, both) = ([spec("app/web", 6, &["b"])], ["app/web", "app/api"]);
    let without = decide(&state(), "app", 6, &web).unwrap().unwrap();
    assert_eq!(outcome(&without, "app", 6, &web), "same");
    let back = |generation| both.map(|key| spec(key, generation, &["c"]));
    assert_eq!(outcome(&without, "app", 6, &back(6)), "stale: app/api is at 6");
    assert_eq!(outcome(&without, "app", 7, &back(7)), "app/api@7 app/web@7 held -app/gone@3");
}

#[test]
fn specs_that_contradict_the_request_are_refused() {
    for (app, specs, expected) in [
        ("", vec![], "`` is not the name of an app"),
        ("a/b", vec![], "`a/b` is not the name of an app"),
        ("app", vec![spec("app2/web", 6, &[])], "`app2/web` is not a service of app `app`"),
        ("app", vec![spec("app/", 6, &[])], "`app/` is not a service of app `app`"),
        ("app", vec![spec("app/web", 7, &[])], "`app/web` has generation 7, its app `app` 6"),
        (
            "app",
            vec![spec("app/x", 6, &[]), spec("app/x", 6, &[])],
            "service `app/x` is there twice",
        ),
        ("app", vec![spec("app/x", 6, &["a", "a"])], "target `a` of `app/x` is there twice"),
    ] {
        assert_eq!(outcome(&state(), app, 6, &specs), expected);
    }
}

/// The swap is one: whoever looks all the time finds no moment with one new and one old service.
#[test]
fn at_no_moment_is_one_service_new_and_the_other_old() {
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::open(folder.path()).unwrap();
    let registry = Arc::new(Registry::restore(file, Loaded::default(), &KnownHealth::new()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let set = |generation| {
        let both = ["web", "api"].map(|name| {
            let path_prefix = format!("/{name}");
            let route = Route { host: None, path_prefix, strip_prefix: false };
            ServiceSpec {
                routes: vec![route],
                ..spec(&format!("app/{name}"), generation, &[&generation.to_string()])
            }
        });
        let reply = runtime.block_on(registry.set_app("app", generation, both.to_vec()));
        assert!(matches!(reply, Reply::Switched { .. }), "{reply:?}");
    };
    set(1);
    // One looks first at what comes first in the table, the other at what comes last.
    let lookers = [["/api", "/web"], ["/web", "/api"]].map(|paths| {
        let registry = Arc::clone(&registry);
        thread::spawn(move || look(&registry, paths))
    });
    (2..=LAST).for_each(set);
    lookers.into_iter().for_each(|looker| looker.join().unwrap());
}

fn look(registry: &Registry, paths: [&str; 2]) {
    let mut newest = 1;
    for path in paths.into_iter().cycle() {
        let Choice::Go { service, .. } = registry.shared.choose("h", path) else {
            panic!("`{path}` goes nowhere");
        };
        let found = service.spec.generation;
        assert!(found >= newest, "`{path}` is at {found}, the other was at {newest}");
        newest = found;
        if newest == LAST {
            break;
        }
    }
}
