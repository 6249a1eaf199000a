//! Networks and leases from first to last, with deaths in between.

use cutover_runtime::net::{NetworkConfig, Networks};

use crate::world::{Container, Host, ask, cidr, endpoint, eventually, run, tcp};

const LOCALHOST: std::net::Ipv4Addr = std::net::Ipv4Addr::LOCALHOST;

#[test]
fn the_last_removal_leaves_nothing() {
    let host = Host::new();
    let app = host.network(NetworkConfig::named("app"));
    let a = host.container("a", &[tcp(8080, 80)]);
    let b = Container::on(&host.networks, &app, "b", &[]);
    let error = host.networks.remove("bridge").unwrap_err();
    assert_eq!(error.to_string(), "network `bridge` is in use by `a`");
    host.networks.release(a.attached).unwrap();
    host.networks.release(b.attached).unwrap();
    drop((a.ns, b.ns));
    eventually("links go with their namespaces", || {
        !run("ip", "-br link").contains("veth") && run("ip", "-br link show type veth").is_empty()
    });
    host.networks.remove("bridge").unwrap();
    assert_eq!(run("ip", "-br link show type bridge").lines().count(), 1);
    host.networks.remove("app").unwrap();
    assert_eq!(run("ip", "-br link show type bridge"), "");
    assert_eq!(run("nft", "list ruleset"), "");
    assert!(host.networks.list().unwrap().is_empty());
    assert_eq!(fs_err::read_dir(host.root.path().join("networks")).unwrap().count(), 0);
}

#[test]
fn two_roots_side_by_side() {
    let host = Host::new();
    let (others, _root) = host.other_root();
    let theirs = others.ensure(&NetworkConfig::named("bridge")).unwrap();
    assert_ne!(theirs.bridge, host.bridge.bridge);
    assert!(!theirs.subnet.overlaps(&host.bridge.subnet));
    let a = host.container("same", &[tcp(8080, 80)]);
    let b = Container::on(&others, &theirs, "same", &[tcp(8081, 80)]);
    let _servers = (a.ns.serve(80, "ours"), b.ns.serve(80, "theirs"));
    assert!(ask(LOCALHOST, 8080).starts_with("ours "));
    assert!(ask(LOCALHOST, 8081).starts_with("theirs "));
    assert!(!a.ns.ping(b.ip()), "roots are as separate as networks");
    others.remove_all().unwrap();
    assert!(ask(LOCALHOST, 8080).starts_with("ours "));
    assert_eq!(ask(LOCALHOST, 8081), "connected, then silent", "only reserved");
    drop(b.attached);
    assert_eq!(ask(LOCALHOST, 8081), "refused");
}

#[test]
fn a_network_is_kept_and_found_again() {
    let host = Host::new();
    let subnet = Some(cidr("10.7.0.0/24"));
    let config = NetworkConfig { subnet, mtu: Some(1400), ..NetworkConfig::named("app") };
    let app = host.network(config.clone());
    assert_eq!(app.gateway.to_string(), "10.7.0.1");
    let file = fs_err::read_to_string(host.root.path().join("networks/app.json")).unwrap();
    assert!(file.starts_with("{\"version\":1,\"name\":\"app\""), "{file}");
    let again = Networks::open(host.root.path(), &host.root.path().join("run")).unwrap();
    assert_eq!(again.ensure(&config).unwrap(), app);
    assert_eq!(
        again.ensure(&NetworkConfig::named("app")).unwrap(),
        app,
        "open questions are answered"
    );
    // as after a reboot
    run("ip", &format!("link del {}", app.bridge));
    run("nft", "flush ruleset");
    assert_eq!(again.ensure(&config).unwrap(), app);
    let container = Container::on(&again, &app, "a", &[]);
    assert!(container.ns.ping(app.gateway));
}

#[test]
fn what_died_without_a_release_is_cleared() {
    let host = Host::new();
    let (dead, live) =
        (host.container("dead", &[tcp(8080, 80)]), host.container("live", &[tcp(8081, 80)]));
    let _server = live.serve(80);
    let Container { ns, attached } = dead;
    drop(attached.reservations); // its shim was killed
    run("ip", &format!("link add {}ff type veth", link_prefix(&host)));
    let report = host.networks.reconcile(&|id| id == "live").unwrap();
    assert_eq!(report.containers.iter().map(String::as_str).collect::<Vec<_>>(), ["dead"]);
    assert_eq!(report.ports, 1);
    assert_eq!(report.links.len(), 2, "{:?}", report.links);
    assert!(!ns.ping(host.bridge.gateway));
    assert_eq!(ask(LOCALHOST, 8080), "refused");
    assert!(ask(LOCALHOST, 8081).starts_with("live "));
    let again = host.networks.reconcile(&|id| id == "live").unwrap();
    assert_eq!(again, cutover_runtime::net::Reconciled::default());
}

fn link_prefix(host: &Host) -> String {
    let lease = host.networks.inspect("bridge").unwrap().1.remove(0);
    lease.link[..7].to_owned()
}

#[test]
fn a_dead_containers_port_can_be_had_again_and_stays() {
    let host = Host::new();
    let Container { ns, attached } = host.container("dead", &[tcp(8080, 80)]);
    let link = host.networks.inspect("bridge").unwrap().1.remove(0).link;
    drop((ns, attached.reservations)); // container and shim were killed
    eventually("the link is gone", || !run("ip", "-br link").contains(&link));
    let heir = host.container("heir", &[tcp(8080, 80)]);
    let _server = heir.serve(80);
    assert!(ask(LOCALHOST, 8080).starts_with("heir "));
    host.networks.detach("dead").unwrap();
    assert!(ask(LOCALHOST, 8080).starts_with("heir "), "it is the heir's by now");
}

#[test]
fn a_restarted_container_keeps_what_its_old_attachment_lets_go() {
    let host = Host::new();
    let mut old = host.container("web", &[tcp(8080, 80)]);
    // the reservations go first, or the new attachment finds the port taken
    old.attached.reservations.clear();
    let new = host.container("web", &[tcp(8080, 80)]);
    let _server = new.serve(80);
    assert_ne!(old.ip(), new.ip());
    host.networks.release(old.attached).unwrap();
    assert!(ask(LOCALHOST, 8080).starts_with("web "));
    host.networks.detach("web").unwrap();
    assert!(!new.ns.ping(host.bridge.gateway));
    host.networks.detach("web").unwrap();
}

#[test]
fn a_failed_attachment_leaves_nothing() {
    let host = Host::new();
    let ns = crate::world::Ns::new();
    ns.enter(|| run("ip", "link add eth0 type bridge"));
    let endpoint = cutover_runtime::net::Endpoint { ports: vec![tcp(8080, 80)], ..endpoint("a") };
    let before = run("nft", "list ruleset");
    let error = host.networks.attach(&host.bridge, ns.fd(), &endpoint).unwrap_err();
    assert_eq!(error.to_string(), "connect the container to network `bridge`");
    assert!(host.networks.inspect("bridge").unwrap().1.is_empty());
    assert_eq!(run("nft", "list ruleset"), before);
    assert_eq!(run("ip", "-br link show type veth"), "");
    assert_eq!(ask(LOCALHOST, 8080), "refused");
}
