use std::time::Duration;

use super::*;
use crate::control::{ServiceOptions, TargetSpec};
use crate::health::Rhythm;

const RHYTHM: Rhythm =
    Rhythm { interval: Duration::from_secs(1), healthy_after: 1, unhealthy_after: 1 };

fn target(id: &str, state: TargetState) -> Arc<Target> {
    let addr = "127.0.0.1:1".parse().unwrap();
    let spec = TargetSpec { id: id.into(), addr, release: 1, proven: false };
    Target::new(&spec, state, RHYTHM)
}

fn service(name: &str, path: &str, targets: &[Arc<Target>]) -> Arc<Service> {
    let route = Route { host: None, path_prefix: path.into(), strip_prefix: true };
    let spec = ServiceSpec {
        service: name.into(),
        generation: 1,
        routes: vec![route],
        targets: Vec::new(),
        health: None,
        options: ServiceOptions::default(),
    };
    Service::new(spec, targets.to_vec(), None)
}

fn shared(services: &[Arc<Service>]) -> Shared {
    let shared = Shared::default();
    let services = services.iter().map(|one| (one.spec.service.clone(), Arc::clone(one)));
    shared.swap(Table::build(services.collect()).unwrap());
    shared
}

/// Where `count` requests go, all of them staying in flight.
#[track_caller]
fn check(targets: &[(&str, TargetState)], count: usize, expected: &str) {
    let targets: Vec<_> = targets.iter().map(|(id, state)| target(id, *state)).collect();
    let shared = shared(&[service("app/web", "/", &targets)]);
    let mut flights = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..count {
        match shared.choose("h", "/") {
            Choice::Go { flight, .. } => {
                seen.push(flight.target().id.clone());
                flights.push(flight);
            }
            Choice::NoTarget { .. } => seen.push("none".into()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen.join(" "), expected);
}

#[test]
fn requests_go_round_the_healthy_targets() {
    use TargetState::{Adding, Healthy, Unhealthy};
    check(&[("a", Healthy), ("b", Healthy), ("c", Healthy)], 4, "a b c a");
    check(&[("a", Unhealthy), ("b", Healthy), ("c", Adding)], 3, "b b b");
    check(&[("a", Unhealthy), ("c", Adding)], 2, "c c");
    check(&[("a", Unhealthy), ("b", Unhealthy)], 2, "a b");
    check(&[("a", Unhealthy)], 1, "a");
    check(&[], 1, "none");
}

#[test]
fn a_second_choice_avoids_the_target_that_failed() {
    let (a, b) = (target("a", TargetState::Healthy), target("b", TargetState::Unhealthy));
    let both = shared(&[service("app/web", "/", &[Arc::clone(&a), b])]);
    let Choice::Go { flight, .. } = both.choose_again("app/web", 0, Some(a.serial)) else {
        panic!("no choice");
    };
    assert_eq!(flight.target().id, "b");
    let alone = shared(&[service("app/web", "/", &[Arc::clone(&a)])]);
    let Choice::Go { flight, .. } = alone.choose_again("app/web", 0, Some(a.serial)) else {
        panic!("no choice");
    };
    assert_eq!(flight.target().id, "a");
}

/// The invariant that everything else rests on: what was chosen before a swap is counted when the
/// swap returns, so the number in flight on a former target cannot grow after that.
#[test]
fn after_a_swap_nothing_more_is_registered_on_the_old_target() {
    for _round in 0..200 {
        let (old, new) = (target("old", TargetState::Healthy), target("new", TargetState::Healthy));
        let shared = shared(&[service("app/web", "/", &[Arc::clone(&old)])]);
        std::thread::scope(|scope| {
            let choose = || {
                let mut kept = Vec::new();
                loop {
                    let Choice::Go { flight, .. } = shared.choose("h", "/") else { panic!("none") };
                    if flight.target().id == "new" {
                        break kept;
                    }
                    kept.push(flight);
                }
            };
            let choosers: Vec<_> = (0..3).map(|_| scope.spawn(choose)).collect();
            while old.in_flight() < 5 {
                std::hint::spin_loop();
            }
            let table = [("app/web".to_owned(), service("app/web", "/", &[Arc::clone(&new)]))];
            shared.swap(Table::build(table.into()).unwrap());
            let acknowledged = old.in_flight();
            // Held by the choosers until they return it: it cannot have fallen meanwhile.
            let kept: Vec<_> = choosers.into_iter().flat_map(|one| one.join().unwrap()).collect();
            assert_eq!(old.in_flight(), acknowledged);
            assert_eq!(u64::try_from(kept.len()).unwrap(), acknowledged);
        });
        assert_eq!((old.in_flight(), new.in_flight()), (0, 0));
    }
}

#[test]
fn the_prefix_to_strip_comes_with_the_choice() {
    let shared = shared(&[service("app/web", "/api", &[target("a", TargetState::Adding)])]);
    let Choice::Go { strip, .. } = shared.choose("h", "/api/x") else { panic!("no choice") };
    assert_eq!(strip, 4);
    assert!(matches!(shared.choose("h", "/"), Choice::NoRoute));
}
