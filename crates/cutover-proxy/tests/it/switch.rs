//! The product's claim: traffic moves at once, and no request fails.

use std::thread;
use std::time::Duration;

use cutover_core::service::Route;
use cutover_proxy::control::{CallError, TargetState};
use cutover_proxy::loadgen::{self, Options, Remote, VersionFrom};

use crate::backend::Backend;
use crate::rig::{Rig, SERVICE, ask, eventually, is_healthy, probing, spec};

fn load(rig: &Rig) -> Options {
    Options {
        keep_alive: 8,
        per_request: 4,
        version: Some(VersionFrom::Body(vec!["v1.".into(), "v2.".into()])),
        ..Options::new(rig.addr, "test", "/")
    }
}

#[test]
fn no_request_fails_over_fifty_switches_and_none_goes_to_the_old_version() {
    let rig = Rig::new();
    let (first, second) = (Backend::saying("v1."), Backend::saying("v2."));
    rig.switch(1, &[&first]);
    let remote = Remote::new();
    let (options, handle) = (load(&rig), remote.clone());
    let generating = thread::spawn(move || loadgen::run(&options, &handle));
    // Connections from before the switches, used after each of them.
    let mut kept: Vec<_> = (0..4).map(|_| rig.connect()).collect();
    remote.wait_for(50);
    for generation in 2..52 {
        let (backend, version) =
            if generation % 2 == 0 { (&second, "v2.") } else { (&first, "v1.") };
        remote.begin("switch");
        rig.switch(generation, &[backend]);
        remote.end("switch");
        for stream in &mut kept {
            assert_eq!(ask(stream, "/", "."), version, "generation {generation}");
        }
        let old = format!("g{}i0", generation - 1);
        let (drained, cut) = rig.client().drain(SERVICE, &[old], Duration::from_secs(5)).unwrap();
        assert_eq!((drained.len(), cut.len()), (1, 0));
        remote.wait_for(20);
    }
    remote.stop();
    let summary = generating.join().unwrap();
    assert_eq!(summary.failed, 0, "{:?}", summary.failures);
    assert!(summary.versions["v1."].requests > 100 && summary.versions["v2."].requests > 100);
    assert_eq!(summary.windows.len(), 50);
}

#[test]
fn replacing_a_version_for_good_fails_no_request() {
    let rig = Rig::new();
    let mut serving = Backend::saying("v1.");
    rig.switch(1, &[&serving]);
    let remote = Remote::new();
    let (options, handle) = (load(&rig), remote.clone());
    let generating = thread::spawn(move || loadgen::run(&options, &handle));
    for generation in 2..12 {
        remote.wait_for(100);
        let next = Backend::saying(if generation % 2 == 0 { "v2." } else { "v1." });
        rig.switch(generation, &[&next]);
        rig.client().drain(SERVICE, &[], Duration::from_secs(5)).unwrap();
        // The old one is gone the moment it is drained.
        drop(std::mem::replace(&mut serving, next));
    }
    remote.stop();
    let summary = generating.join().unwrap();
    assert_eq!(summary.failed, 0, "{:?}", summary.failures);
}

/// Trap of two trials: a pool shared between generations sends requests to the old version.
#[test]
fn a_pooled_connection_of_an_old_target_is_never_used_again() {
    let rig = Rig::new();
    let (old, new) = (Backend::saying("v1."), Backend::saying("v2."));
    let mut first = spec(1, &[&old]);
    // Only requests open connections here.
    first.health = probing("/").map(|health| cutover_core::service::HttpHealth {
        interval: Duration::from_secs(600),
        ..health
    });
    let health = first.health.clone();
    rig.client().set_service(first).unwrap();
    let mut streams: Vec<_> = (0..6).map(|_| rig.connect()).collect();
    for stream in &mut streams {
        assert_eq!(ask(stream, "/", "."), "v1.");
    }
    eventually("connections to the old target are pooled", || old.open() > 0);
    let served = old.requests();
    let mut second = spec(2, &[&new]);
    second.health = health.clone();
    rig.client().set_service(second).unwrap();
    for stream in &mut streams {
        assert_eq!(ask(stream, "/", "."), "v2.");
    }
    assert_eq!(old.requests(), served);
    eventually("the old target's connections are closed", || old.open() == 0);
    // The same address again, as another instance: old connections to it are not its own.
    let before = new.connections();
    let mut third = spec(3, &[&new]);
    third.health = health;
    rig.client().set_service(third).unwrap();
    assert_eq!(ask(&mut streams[0], "/", "."), "v2.");
    assert!(new.connections() > before);
}

#[test]
fn a_target_that_stays_keeps_its_counters() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("1."), Backend::saying("2."));
    rig.switch(1, &[&one]);
    rig.get("/");
    let mut grown = spec(2, &[&one, &two]);
    grown.targets[0] = spec(1, &[&one]).targets.remove(0);
    let previous = rig.client().set_service(grown).unwrap();
    assert_eq!(previous, []);
    assert_eq!(rig.target("g1i0").stats.requests, 1);
}

#[test]
fn rolling_back_to_an_instance_that_was_draining_works() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    rig.switch(1, &[&one]);
    rig.switch(2, &[&two]);
    let mut back = spec(1, &[&one]);
    back.generation = 3;
    let previous = rig.client().set_service(back).unwrap();
    assert_eq!(previous[0].target, "g2i0");
    assert!(rig.get("/").ends_with("v1."));
    assert_eq!(rig.target("g2i0").state, TargetState::Draining);
}

#[test]
fn late_writers_are_fenced() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    let mut client = rig.client();
    client.set_service(spec(5, &[&one])).unwrap();
    let stale = |result: Result<_, CallError>| match result {
        Err(CallError::Stale { current, .. }) => current,
        other => panic!("{:?}", other.map(|_: Vec<_>| ())),
    };
    assert_eq!(stale(client.set_service(spec(4, &[&two]))), 5);
    assert_eq!(stale(client.set_service(spec(5, &[&two]))), 5);
    assert_eq!(stale(client.remove(SERVICE, 4)), 5);
    assert!(matches!(client.hold(SERVICE, 4, Duration::ZERO, 1), Err(CallError::Stale { .. })));
    assert_eq!(client.set_service(spec(5, &[&one])).unwrap(), [], "the same again is fine");
    assert!(rig.get("/").ends_with("v1."));
    client.remove(SERVICE, 6).unwrap();
    assert!(rig.get("/").starts_with("HTTP/1.1 404 "));
    assert_eq!(stale(client.set_service(spec(5, &[&one]))), 6);
    assert_eq!(stale(client.set_service(spec(6, &[&one]))), 6);
    client.set_service(spec(7, &[&one])).unwrap();
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    let mut client = rig.client();
    client.set_service(spec(1, &[&one])).unwrap();
    let mut other = spec(1, &[&two]);
    other.service = "other/web".into();
    let error = client.set_service(other.clone()).unwrap_err().to_string();
    assert_eq!(error, "route `*/` of `other/web` already belongs to `app/web`");
    other.routes = vec![Route { host: None, path_prefix: "x".into(), strip_prefix: false }];
    assert!(client.set_service(other).unwrap_err().to_string().contains("must start with `/`"));
    let twice = spec(2, &[&one]);
    let mut twice = twice.clone();
    twice.targets.push(twice.targets[0].clone());
    let error = client.set_service(twice).unwrap_err().to_string();
    assert_eq!(error, "target `g2i0` of `app/web` is there twice");
    assert_eq!(client.list().unwrap().services.len(), 1);
    assert!(rig.get("/").ends_with("v1."));
}

#[test]
fn probes_decide_who_gets_requests_and_never_stop() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let rig = Rig::new();
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let ill = Backend::start(move |exchange| {
        if exchange.path == "/up" && !state.load(Ordering::SeqCst) {
            return exchange.write("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        }
        exchange.answer("one.")
    });
    let other = Backend::saying("two.");
    let mut spec = spec(1, &[&ill, &other]);
    spec.health = probing("/up");
    spec.targets.iter_mut().for_each(|target| target.proven = false);
    rig.client().set_service(spec).unwrap();
    eventually("one is unhealthy, the other healthy", || {
        rig.target("g1i0").state == TargetState::Unhealthy && is_healthy(&rig, "g1i1")
    });
    assert_eq!(rig.target("g1i0").last_failure.as_deref(), Some("GET /up answered 503"));
    for _ in 0..4 {
        assert!(rig.get("/").ends_with("two."));
    }
    well.store(true, Ordering::SeqCst);
    eventually("it has recovered", || is_healthy(&rig, "g1i0"));
    let answers: Vec<_> = (0..4).map(|_| rig.get("/")).collect();
    assert!(answers.iter().any(|answer| answer.ends_with("one.")));
    well.store(false, Ordering::SeqCst);
    eventually("it is ill again", || rig.target("g1i0").state == TargetState::Unhealthy);
}
