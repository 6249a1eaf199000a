//! Containers among themselves, to the outside, and their namespaces' settings.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use cutover_runtime::net::{Endpoint, NetworkConfig, loopback_up};

use crate::world::{Container, FAR, HOST, Host, Ns, endpoint, ping, run};

#[test]
fn containers_reach_each_other_the_host_and_the_outside() {
    let host = Host::new();
    let outside = host.outside();
    let (a, b) = (host.container("a", &[]), host.container("b", &[]));
    assert!(a.ns.ping(b.ip()) && b.ns.ping(a.ip()));
    assert!(a.ns.ping(host.bridge.gateway), "host-gateway");
    assert!(ping(a.ip()), "the host reaches containers");

    let web = b.serve(80);
    assert_eq!(a.ns.ask(b.ip(), 80), format!("b {}", a.ip()));
    drop(web);

    let _far = outside.serve(80, "far");
    assert_eq!(a.ns.ask(FAR, 80), format!("far {HOST}"), "seen as the host");
    assert!(a.ns.ping(FAR));
}

#[test]
fn the_first_packet_passes() {
    let host = Host::new();
    for number in 0..30 {
        let container = host.container(&format!("c{number}"), &[]);
        assert!(container.ns.ping(host.bridge.gateway), "{number}");
    }
}

#[test]
fn a_container_finds_its_namespace_ready() {
    let host = Host::new();
    let container = host.container("a", &[]);
    let attached = &container.attached;
    assert_eq!((attached.interface.as_str(), attached.prefix), ("eth0", 20));
    assert_eq!(attached.gateway, host.bridge.gateway);
    let (links, addresses, routes, sysctls) = container.ns.enter(|| {
        let sysctls = [
            "ipv4/ip_unprivileged_port_start",
            "ipv4/ping_group_range",
            "ipv6/conf/eth0/accept_ra",
            "ipv6/conf/eth0/disable_ipv6",
            "ipv6/conf/lo/disable_ipv6",
        ]
        .map(|key| fs_err::read_to_string(format!("/proc/sys/net/{key}")).unwrap());
        let show = |what: &str| run("ip", what);
        (show("-br link"), show("-br addr"), show("route"), sysctls)
    });
    assert!(links.contains(&attached.mac.to_string()), "{links}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let eth0 = addresses.lines().find(|line| line.starts_with("eth0")).unwrap();
    assert!(words(eth0).ends_with(&format!("UP {}/20", attached.ip)), "{addresses}");
    assert!(addresses.contains("127.0.0.1/8") && addresses.contains("::1/128"), "{addresses}");
    assert!(routes.starts_with(&format!("default via {} dev eth0", attached.gateway)), "{routes}");
    let sysctls = sysctls.map(|value| words(&value));
    assert_eq!(sysctls, ["0", "0 2147483647", "0", "1", "0"]);
}

#[test]
fn a_container_without_network_has_a_loopback() {
    let _host = Host::new();
    let ns = Ns::new();
    assert!(!ns.ping(Ipv4Addr::LOCALHOST));
    loopback_up(ns.fd()).unwrap();
    assert!(ns.ping(Ipv4Addr::LOCALHOST));
}

#[test]
fn the_first_network_that_leads_out_holds_the_default_route() {
    let host = Host::new();
    let outside = host.outside();
    let inner = host.network(NetworkConfig { internal: true, ..NetworkConfig::named("inner") });
    let second = host.network(NetworkConfig::named("second"));
    let (a, b) = (Container::on(&host.networks, &inner, "a", &[]), host.container("b", &[]));
    let at = |network| host.networks.attach(network, a.ns.fd(), &endpoint("a")).unwrap();
    let (out, more) = (at(&host.bridge), at(&second));
    assert_eq!((out.interface.as_str(), more.interface.as_str()), ("eth1", "eth2"));
    let routes = a.ns.enter(|| run("ip", "route show default"));
    assert_eq!(routes.trim(), format!("default via {} dev eth1", host.bridge.gateway));
    let _far = outside.serve(80, "far");
    assert_eq!(a.ns.ask(FAR, 80), format!("far {HOST}"));
    assert!(a.ns.ping(b.ip()));
}

#[test]
fn a_fixed_address_is_given_and_its_names_are_known() {
    let host = Host::new();
    let ip = host.bridge.subnet.host(76).unwrap();
    let fixed = Endpoint { ip: Some(ip), aliases: vec!["db".to_owned()], ..endpoint("a") };
    let ns = Ns::new();
    let attached = host.networks.attach(&host.bridge, ns.fd(), &fixed).unwrap();
    assert_eq!(attached.ip, ip);
    let names = host.networks.names("bridge").unwrap();
    let expected = [("a".to_owned(), vec![ip]), ("db".to_owned(), vec![ip])];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn fifty_at_once_get_fifty_addresses() {
    let host = Host::new();
    let here = fs_err::File::open("/proc/thread-self/ns/net").unwrap();
    let attach = |number: usize| {
        // each with its own sockets, as if in its own process
        let networks =
            cutover_runtime::net::Networks::open(host.root.path(), &host.root.path().join("run"));
        let ns = Ns::new();
        let id = format!("c{number}");
        let attached = networks.unwrap().attach(&host.bridge, ns.fd(), &endpoint(&id)).unwrap();
        (ns, attached)
    };
    let attach = &attach;
    drop(here);
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50).map(|n| scope.spawn(move || attach(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let addresses: BTreeSet<_> = all.iter().map(|(_, attached)| attached.ip).collect();
    assert_eq!(addresses.len(), 50);
    for (ns, attached) in &all {
        assert!(ns.ping(host.bridge.gateway), "{}", attached.container_id);
    }
    assert_eq!(host.networks.inspect("bridge").unwrap().1.len(), 50);
    for (_, attached) in all {
        host.networks.release(attached).unwrap();
    }
    assert!(host.networks.inspect("bridge").unwrap().1.is_empty());
}
