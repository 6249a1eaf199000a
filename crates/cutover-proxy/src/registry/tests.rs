use super::*;
use crate::control::ServiceOptions;

pub(super) fn spec(service: &str, generation: u64, targets: &[&str]) -> ServiceSpec {
    let target = |id: &&str| TargetSpec {
        id: (*id).to_owned(),
        addr: "127.0.0.1:1".parse().unwrap(),
        release: 1,
        proven: false,
    };
    ServiceSpec {
        service: service.into(),
        generation,
        routes: Vec::new(),
        targets: targets.iter().map(target).collect(),
        health: None,
        options: ServiceOptions::default(),
    }
}

/// A state with `app/web` at generation 5 and `app/gone` removed at 7.
fn state() -> State {
    let mut state = State::default();
    let kept = Kept { spec: spec("app/web", 5, &["a"]), hold: None };
    state.services.insert("app/web".into(), kept);
    state.removed.insert("app/gone".into(), 7);
    state
}

#[test]
fn only_newer_or_equal_writers_pass_the_fence() {
    for (wanted, expected) in [
        (spec("app/web", 6, &["b"]), "ok"),
        (spec("app/web", 5, &["a"]), "ok"),
        (spec("app/web", 5, &["b"]), "stale 5"),
        (spec("app/web", 4, &["a"]), "stale 5"),
        (spec("app/new", 0, &["a"]), "ok"),
        (spec("app/gone", 8, &["a"]), "ok"),
        (spec("app/gone", 7, &["a"]), "stale 7"),
        (spec("app/gone", 6, &["a"]), "stale 7"),
        (spec("app/web", 6, &["a", "a"]), "target `a` of `app/web` is there twice"),
    ] {
        let found = match fence(&state(), &wanted) {
            Ok(()) => "ok".to_owned(),
            Err(Reply::Stale { current, .. }) => format!("stale {current}"),
            Err(Reply::Error { message }) => message,
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{} at {}", wanted.service, wanted.generation);
    }
}

#[test]
fn former_targets_are_forgotten_oldest_first_unless_busy() {
    let rhythm = rhythm(&spec("app/web", 1, &[]));
    let former = |id: usize| {
        let spec = spec("app/web", 1, &[&id.to_string()]).targets.remove(0);
        let target = Target::new(&spec, TargetState::Adding, rhythm);
        Former { service: "app/web".into(), target }
    };
    let mut all: Vec<_> = (0..FORMER_KEPT + 4).map(former).collect();
    let _busy = crate::target::Flight::begin(&all[1].target);
    forget_old(&mut all);
    let kept: Vec<_> = all.iter().map(|former| former.target.id.as_str()).collect();
    assert_eq!(kept.len(), FORMER_KEPT + 1);
    assert_eq!(kept[..3], ["1", "4", "5"]);
}

#[test]
fn health_known_from_another_proxy_is_believed_and_an_old_proof_is_not() {
    let mut state = state();
    state.services.get_mut("app/web").unwrap().spec = ServiceSpec {
        targets: vec![
            TargetSpec { proven: true, ..spec("", 0, &["a"]).targets.remove(0) },
            TargetSpec { proven: true, ..spec("", 0, &["b"]).targets.remove(0) },
        ],
        ..spec("app/web", 5, &[])
    };
    let known = [(("app/web".to_owned(), "b".to_owned()), TargetState::Unhealthy)].into();
    let services = restored(&state, &known);
    let states: Vec<_> = services["app/web"].targets.iter().map(|target| target.state()).collect();
    assert_eq!(states, [TargetState::Adding, TargetState::Unhealthy]);
}
