//! All services of an app switch in one step.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cutover_core::service::Route;
use cutover_proxy::control::{CallError, InFlight, ServiceSpec, TargetSpec};
use cutover_proxy::loadgen::{self, Options, Remote};

use crate::backend::Backend;
use crate::rig::{Rig, ask, connect, eventually, rest};

/// `app/NAME` behind the path `/NAME`, at one backend.
fn service(name: &str, generation: u64, backend: &Backend) -> ServiceSpec {
    let target = TargetSpec {
        id: format!("{name}{generation}"),
        addr: backend.addr,
        release: generation,
        proven: true,
    };
    let route = Route { host: None, path_prefix: format!("/{name}"), strip_prefix: false };
    ServiceSpec {
        service: format!("app/{name}"),
        routes: vec![route],
        targets: vec![target],
        ..crate::rig::spec(generation, &[])
    }
}

fn former(ids: &[&str]) -> Vec<InFlight> {
    ids.iter().map(|id| InFlight { target: (*id).to_owned(), in_flight: 0 }).collect()
}

/// What is served where: `-` stands for no route.
fn served(rig: &Rig, names: &[&str]) -> String {
    let one = |name: &&str| {
        let response = rig.get(&format!("/{name}"));
        match response.starts_with("HTTP/1.1 404 ") {
            true => "-".to_owned(),
            false => response.split_once("\r\n\r\n").unwrap().1.to_owned(),
        }
    };
    names.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn refused(result: Result<Vec<InFlight>, CallError>, expected: &str) {
    assert_eq!(result.unwrap_err().to_string(), expected);
}

/// A backend whose answers say which generation it serves for.
fn counting() -> (Backend, Arc<AtomicU64>) {
    let generation = Arc::new(AtomicU64::new(0));
    let current = Arc::clone(&generation);
    let backend = Backend::start(move |exchange| {
        exchange.body();
        exchange.answer(&format!("{}.", current.load(Ordering::SeqCst)))
    });
    (backend, generation)
}

/// How far the flips have got.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicU64,
    done: AtomicBool,
}

/// Asks both services in turn over one connection. Each answer must be of the generation that was
/// acknowledged before it was asked for or a newer one, and never of an older one than the answer
/// before: after one service has answered for a new generation the other cannot for the old one.
fn never_mixed(addr: SocketAddr, progress: &Progress, first: usize) -> u64 {
    let mut stream = connect(addr);
    let (mut newest, mut asked) = (0, 0);
    for path in ["/web", "/api"].into_iter().cycle().skip(first) {
        if progress.done.load(Ordering::SeqCst) {
            break;
        }
        newest = newest.max(progress.acknowledged.load(Ordering::SeqCst));
        let answer = ask(&mut stream, path, ".");
        let answer: u64 = answer.trim_end_matches('.').parse().unwrap();
        assert!(answer >= newest, "{path} answered for {answer} after {newest} was in force");
        (newest, asked) = (answer, asked + 1);
    }
    asked
}

#[test]
fn two_services_flip_together_two_hundred_times_and_are_never_mixed() {
    let rig = Rig::new();
    let pairs = [0, 1].map(|_| [("web", counting()), ("api", counting())]);
    let flip = |generation: u64| {
        let pair = &pairs[usize::try_from(generation % 2).unwrap()];
        // Drained since it served last: nobody reads the number while it changes.
        pair.iter().for_each(|(_, (_, current))| current.store(generation, Ordering::SeqCst));
        pair.iter().map(|(name, (backend, _))| service(name, generation, backend)).collect()
    };
    let mut client = rig.client();
    client.set_app("app", 1, flip(1)).unwrap();
    let (progress, remote) = (Arc::new(Progress::default()), Remote::new());
    let options = Options { keep_alive: 2, per_request: 2, ..Options::new(rig.addr, "h", "/web") };
    let handle = remote.clone();
    let load = thread::spawn(move || loadgen::run(&options, &handle));
    let checkers = [0, 1, 0, 1].map(|first| {
        let (addr, progress) = (rig.addr, Arc::clone(&progress));
        thread::spawn(move || never_mixed(addr, &progress, first))
    });
    let mut kept = rig.connect();
    for generation in 2..=201 {
        let previous = client.set_app("app", generation, flip(generation)).unwrap();
        progress.acknowledged.store(generation, Ordering::SeqCst);
        let ids: Vec<_> = previous.into_iter().map(|former| former.target).collect();
        let old = generation - 1;
        assert_eq!(ids, [format!("api{old}"), format!("web{old}")]);
        for path in ["/api", "/web"] {
            assert_eq!(ask(&mut kept, path, "."), format!("{generation}."));
        }
        for key in ["app/web", "app/api"] {
            let (_, cut) = client.drain(key, &[], Duration::from_secs(5)).unwrap();
            assert_eq!(cut, []);
        }
        remote.wait_for(4);
    }
    progress.done.store(true, Ordering::SeqCst);
    remote.stop();
    let asked = checkers.map(|checker| checker.join().unwrap());
    let summary = load.join().unwrap();
    assert_eq!(summary.failed, 0, "{:?}", summary.failures);
    assert!(asked.iter().all(|asked| *asked > 100), "{asked:?}");
}

#[test]
fn exactly_these_are_the_services_and_late_writers_change_nothing() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    let both = |generation, backend| {
        vec![service("web", generation, backend), service("api", generation, backend)]
    };
    let served = || served(&rig, &["web", "api", "new"]);
    let mut client = rig.client();
    assert_eq!(client.set_app("app", 5, both(5, &one)).unwrap(), []);
    assert_eq!(client.set_app("app", 5, both(5, &one)).unwrap(), [], "the same again is fine");
    let stale = |current| format!("`app/web` is at generation {current}: a newer writer was here");
    refused(client.set_app("app", 5, both(5, &two)), &stale(5));
    refused(client.set_app("app", 4, both(4, &two)), &stale(5));
    refused(client.set_app("app", 4, vec![service("new", 4, &two)]), &stale(5));
    assert_eq!(served(), "v1. v1. -");
    // One goes, one comes.
    let changed = || vec![service("api", 6, &two), service("new", 6, &two)];
    assert_eq!(client.set_app("app", 6, changed()).unwrap(), former(&["api5", "web5"]));
    assert_eq!(client.set_app("app", 6, changed()).unwrap(), []);
    assert_eq!(served(), "- v2. v2.");
    let timeout = Duration::from_secs(5);
    assert_eq!(client.drain("app/web", &[], timeout).unwrap().0, ["web5"]);
    // The fence of the one that went.
    refused(client.set_service(service("web", 6, &one)), &stale(6));
    assert_eq!(client.set_app("app", 7, both(7, &one)).unwrap(), former(&["api6", "new6"]));
    assert_eq!(served(), "v1. v1. -");
    assert_eq!(client.set_app("app", 8, Vec::new()).unwrap(), former(&["api7", "web7"]));
    assert_eq!(client.set_app("app", 8, Vec::new()).unwrap(), []);
    assert_eq!(served(), "- - -");
}

#[test]
fn a_clash_with_another_app_refuses_all() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    let mut client = rig.client();
    client.set_app("app", 1, vec![service("web", 1, &one), service("api", 1, &one)]).unwrap();
    let other = ServiceSpec { service: "other/x".into(), ..service("x", 1, &one) };
    client.set_service(other).unwrap();
    let before = client.list().unwrap().services;
    let file = || fs_err::read(rig.folder.path().join("proxy/routes.json")).unwrap();
    let written = file();
    let wanted =
        |generation| vec![service("web", generation, &two), service("x", generation, &two)];
    let clash = "route `*/x` of `other/x` already belongs to `app/x`";
    refused(client.set_app("app", 2, wanted(2)), clash);
    assert_eq!((client.list().unwrap().services, file()), (before, written));
    assert_eq!(served(&rig, &["web", "api", "x"]), "v1. v1. v1.");
    // The generation was not used up, and a route may move within the app.
    let mut moved = service("new", 2, &two);
    moved.routes = service("api", 2, &two).routes;
    client.set_app("app", 2, vec![service("web", 2, &two), moved]).unwrap();
    assert_eq!(served(&rig, &["web", "api", "x"]), "v2. v2. v1.");
    client.remove("other/x", 2).unwrap();
    client.set_app("app", 3, wanted(3)).unwrap();
    assert_eq!(served(&rig, &["web", "api", "x"]), "v2. - v2.");
}

#[test]
fn holds_stay_and_those_who_wait_for_what_is_gone_are_told() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    let mut client = rig.client();
    client.set_app("app", 1, vec![service("web", 1, &one), service("api", 1, &one)]).unwrap();
    let mut ask = |key: &str, path: &str| {
        client.hold(key, 1, Duration::from_secs(60), 10).unwrap();
        let mut stream = rig.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let (mut stays, mut goes) = (ask("app/web", "/web"), ask("app/api", "/api"));
    let held = |key| rig.client().stats(Some(key)).unwrap()[0].held;
    eventually("both wait", || held("app/web") == 1 && held("app/api") == 1);
    client.set_app("app", 2, vec![service("web", 2, &two)]).unwrap();
    assert!(rest(&mut goes).starts_with("HTTP/1.1 404 "));
    assert_eq!(held("app/web"), 1, "the switch alone lets nobody through");
    client.release("app/web", 2).unwrap();
    assert!(rest(&mut stays).ends_with("v2."));
}

/// The file before the last change holds the app as it was before: there was one write.
#[test]
fn a_restart_finds_all_or_nothing() {
    let mut rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    let first = vec![service("api", 1, &one), service("web", 1, &one)];
    let second = vec![service("new", 2, &two), service("web", 2, &two)];
    rig.client().set_app("app", 1, first.clone()).unwrap();
    rig.client().set_app("app", 2, second.clone()).unwrap();
    let folder = rig.folder.path().join("proxy");
    for (damage, expected) in [(false, second.clone()), (true, first)] {
        rig.stop();
        if damage {
            fs_err::write(folder.join("routes.json"), "{").unwrap();
        }
        let options = rig.options();
        rig.running = Some(cutover_proxy::start(options).unwrap());
        assert_eq!(rig.client().list().unwrap().services, expected);
    }
    assert_eq!(rig.client().set_app("app", 2, second).unwrap(), former(&["api1", "web1"]));
    // What cannot be saved does not happen, to none of them.
    fs_err::rename(&folder, rig.folder.path().join("elsewhere")).unwrap();
    let error = rig.client().set_app("app", 3, vec![service("api", 3, &one)]).unwrap_err();
    assert!(error.to_string().starts_with("nothing was changed: "), "{error}");
    let services = rig.client().list().unwrap().services;
    assert_eq!(services.len(), 2);
    fs_err::rename(rig.folder.path().join("elsewhere"), &folder).unwrap();
}
