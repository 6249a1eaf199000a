//! What must not get through. Each probe is shown to bite: it gets through once the rule is gone.

use std::net::Ipv4Addr;

use cutover_runtime::net::{Endpoint, NetworkConfig};

use crate::world::{Container, FAR, HOST, Host, Ns, endpoint, on, run, sysctl, tcp};

fn flush(host: &Host, chain: &str) {
    let tables = run("nft", "list tables ip");
    let table = tables.lines().find(|line| line.contains("cutover-")).unwrap();
    assert!(host.root.path().exists());
    run("nft", &format!("flush chain {} {chain}", table.strip_prefix("table ").unwrap()));
}

#[test]
fn a_neighbour_that_routes_to_a_container_is_dropped() {
    let host = Host::new();
    let outside = host.outside();
    let web = host.container("web", &[tcp(8080, 80)]);
    let _server = web.serve(80);
    let _hidden = web.serve(81);
    outside.enter(|| run("ip", &format!("route add {} via {HOST}", host.bridge.subnet)));
    let probe = || (outside.ping(web.ip()), outside.ask(web.ip(), 80), outside.ask(web.ip(), 81));
    let dropped = (false, "silent".to_owned(), "silent".to_owned());
    assert_eq!(probe(), dropped);
    flush(&host, "raw");
    assert_eq!(probe(), dropped, "the second wall: `forward`");
    flush(&host, "forward");
    assert!(outside.ask(web.ip(), 81).starts_with("web "), "the probe bites");
}

#[test]
fn what_is_published_on_loopback_stays_there() {
    let host = Host::new();
    let outside = host.outside();
    let web = host.container("web", &[on([127, 0, 0, 1], tcp(8080, 80))]);
    let _server = web.serve(80);
    outside.enter(|| {
        // a neighbour that sends packets for 127.0.0.1 to the host
        sysctl("net/ipv4/conf/eth0/route_localnet", "1");
        run("ip", "addr del 127.0.0.1/8 dev lo");
        run("ip", &format!("route add 127.0.0.1 via {HOST} dev eth0"));
    });
    assert_eq!(outside.ask(Ipv4Addr::LOCALHOST, 8080), "silent");
    assert_eq!(outside.ask(HOST, 8080), "refused");
    flush(&host, "raw");
    assert!(outside.ask(Ipv4Addr::LOCALHOST, 8080).starts_with("web "), "the probe bites");
}

#[test]
fn a_container_cannot_reach_the_hosts_loopback() {
    let host = Host::new();
    let _outside = host.outside();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 9000)).unwrap();
    let _secret = crate::world::Server::start(listener, "secret");
    let evil = host.container("evil", &[]);
    evil.ns.enter(|| {
        sysctl("net/ipv4/conf/eth0/route_localnet", "1");
        run("ip", "addr del 127.0.0.1/8 dev lo");
        run("ip", &format!("route add 127.0.0.1 via {} dev eth0", host.bridge.gateway));
    });
    assert_eq!(evil.ns.ask(Ipv4Addr::LOCALHOST, 9000), "silent");
    flush(&host, "raw");
    assert!(evil.ns.ask(Ipv4Addr::LOCALHOST, 9000).starts_with("secret "), "the probe bites");
}

#[test]
fn networks_do_not_see_each_other() {
    let host = Host::new();
    let other = host.network(NetworkConfig::named("other"));
    let a = host.container("a", &[]);
    let b = Container::on(&host.networks, &other, "b", &[]);
    let _server = b.serve(80);
    assert_eq!((a.ns.ping(b.ip()), a.ns.ask(b.ip(), 80)), (false, "silent".to_owned()));
    assert!(!a.ns.ping(other.gateway), "nor the other gateway");
    flush(&host, "raw");
    assert!(!a.ns.ping(b.ip()), "the second wall: `forward`");
    flush(&host, "forward");
    assert!(a.ns.ping(b.ip()), "the probe bites");
}

#[test]
fn an_internal_network_has_no_way_out() {
    let host = Host::new();
    let outside = host.outside();
    let _far = outside.serve(80, "far");
    let inner = host.network(NetworkConfig { internal: true, ..NetworkConfig::named("inner") });
    let at = |id| Container::on(&host.networks, &inner, id, &[]);
    let (a, b) = (at("a"), at("b"));
    assert!(a.ns.ping(b.ip()) && a.ns.ping(inner.gateway));
    assert_eq!(a.ns.ask(FAR, 80), "silent");
    a.ns.enter(|| run("ip", &format!("route add default via {}", inner.gateway)));
    assert_eq!(a.ns.ask(FAR, 80), "silent", "not even by the gateway");

    let web = host.container("web", &[tcp(8080, 80)]);
    let _server = web.serve(80);
    assert_eq!(a.ns.ask(HOST, 8080), "silent", "nor to what others publish");

    let publishing = Endpoint { ports: vec![tcp(8081, 80)], ..endpoint("c") };
    let refused = host.networks.attach(&inner, Ns::new().fd(), &publishing).unwrap_err();
    let expected = "network `inner` is internal, so nothing can be published from it";
    assert_eq!(refused.to_string(), expected);
}
