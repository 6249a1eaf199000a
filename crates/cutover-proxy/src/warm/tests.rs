use std::time::Duration;

use super::*;
use crate::control::{ServiceSpec, TargetSpec, TargetState};
use crate::gate::Gate;
use crate::health::Rhythm;

fn target(id: &str) -> Arc<Target> {
    let addr = "10.0.0.1:80".parse().unwrap();
    let spec = TargetSpec { id: id.to_owned(), addr, release: 1, proven: true };
    let rhythm = Rhythm { interval: Duration::MAX, healthy_after: 1, unhealthy_after: 1 };
    Target::new(&spec, TargetState::Healthy, rhythm)
}

fn services(key: &str, targets: &[&Arc<Target>], gate: Option<Arc<Gate>>) -> Services {
    let spec = ServiceSpec {
        service: key.to_owned(),
        generation: 1,
        routes: Vec::new(),
        targets: Vec::new(),
        health: None,
        options: crate::control::ServiceOptions::default(),
    };
    let targets = targets.iter().map(|target| Arc::clone(target)).collect();
    BTreeMap::from([(key.to_owned(), Service::new(spec, targets, gate))])
}

#[test]
fn only_new_targets_of_a_known_service_are_wanted() {
    let (old, stays, new) = (target("old"), target("stays"), target("new"));
    let before = services("app/web", &[&old, &stays], None);
    let found = wanted(&before, &services("app/web", &[&stays, &new], None));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].target.serial, new.serial);
    assert_eq!(found[0].like, BTreeSet::from([old.serial, stays.serial]));
    assert_eq!((found[0].among, found[0].held), (2, 0));
    assert!(wanted(&before, &before).is_empty());
    assert!(wanted(&before, &services("app/api", &[&new], None)).is_empty(), "a first release");
}

#[test]
fn the_share_follows_what_is_open_and_what_is_held() {
    let gate = Arc::new(Gate::new(Duration::from_secs(1), 9));
    let (old, new) = (target("old"), target("new"));
    let before = services("app/web", &[&old], Some(Arc::clone(&gate)));
    let found = wanted(&before, &services("app/web", &[&new], Some(gate)));
    for (open, held, among, workers, expected) in [
        (0, 0, 1, 2, 0),
        (7, 0, 1, 2, 7),
        (7, 0, 2, 2, 4),
        (32, 0, 1, 2, 36),
        (0, 5, 1, 2, 3),
        (1, 1, 1, 1, 2),
        (100_000, 0, 1, 2, MAX),
    ] {
        let (target, like) = (Arc::clone(&found[0].target), BTreeSet::new());
        let wanted = Wanted { target, like, among, held };
        assert_eq!(wanted.count(open, workers), expected, "{open} {held} {among} {workers}");
    }
}
