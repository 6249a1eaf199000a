//! What users read.

use std::error::Error;
use std::net::TcpListener;

use cutover_runtime::net::{Endpoint, NetworkConfig, Publish};

use crate::world::{Host, Ns, cidr, endpoint, on, run, tcp};

fn attach_error(host: &Host, port: Publish) -> String {
    let endpoint = Endpoint { ports: vec![port], ..endpoint("late") };
    let error = host.networks.attach(&host.bridge, Ns::new().fd(), &endpoint).unwrap_err();
    chain(&error)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[test]
fn a_taken_port_names_its_holder() {
    let host = Host::new();
    let _outside = host.outside();
    let id = "0123456789ab".repeat(6)[..64].to_owned();
    let _first = host.container(&id, &[tcp(8080, 80)]);
    let container = "is taken by container `0123456789ab`";
    let taken = format!("port 8080/tcp of `0.0.0.0` {container}");
    assert_eq!(attach_error(&host, tcp(8080, 80)), taken);
    let taken = format!("port 8080/tcp of `127.0.0.1` {container}");
    assert_eq!(attach_error(&host, on([127, 0, 0, 1], tcp(8080, 80))), taken);

    let name = fs_err::read_to_string("/proc/self/comm").unwrap();
    let us = format!("is taken by process {} (`{}`)", std::process::id(), name.trim());
    for address in ["0.0.0.0:9000", "192.0.2.1:9001", "[::]:9002"] {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = format!("port {port}/tcp of `0.0.0.0` {us}");
        assert_eq!(attach_error(&host, tcp(port, 80)), taken, "{address}");
    }
    let _local = TcpListener::bind("127.0.0.1:9003").unwrap();
    let elsewhere =
        Endpoint { ports: vec![on([192, 0, 2, 1], tcp(9003, 80))], ..endpoint("elsewhere") };
    host.networks.attach(&host.bridge, Ns::new().fd(), &elsewhere).unwrap();
}

#[test]
fn what_cannot_be_published() {
    let host = Host::new();
    let v6 = Publish { host_ip: Some("::1".parse().unwrap()), ..tcp(8080, 80) };
    let expected =
        "cannot publish on `::1`: only IPv4 addresses of this host can be published on so far";
    assert_eq!(attach_error(&host, v6), expected);
    let not_ours = on([203, 0, 113, 9], tcp(8080, 80));
    let expected = "cannot publish on `203.0.113.9`: it is no address of this host";
    assert_eq!(attach_error(&host, not_ours), expected);
}

#[test]
fn networks_that_cannot_be() {
    let host = Host::new();
    let _outside = host.outside();
    let subnet = cidr("10.7.0.0/24");
    host.network(NetworkConfig { subnet: Some(subnet), ..NetworkConfig::named("app") });
    let check = |config: NetworkConfig, expected: &str| {
        assert_eq!(chain(&host.networks.ensure(&config).unwrap_err()), expected);
    };
    let named = |name: &str| NetworkConfig::named(name);
    let with =
        |name: &str, subnet: &str| NetworkConfig { subnet: Some(cidr(subnet)), ..named(name) };
    check(
        named("../x"),
        "`../x` is no name for a network: use letters, digits, `_`, `.` and `-`, at most 64",
    );
    check(
        with("b", "10.7.0.128/25"),
        "subnet `10.7.0.128/25` overlaps `10.7.0.0/24` of network `app`",
    );
    check(with("b", "192.0.0.0/16"), "subnet `192.0.0.0/16` overlaps `192.0.2.0/24` of link `up0`");
    check(with("b", "10.9.0.0/31"), "subnet `10.9.0.0/31` must have a prefix from 8 to 30");
    check(
        with("app", "10.8.0.0/24"),
        "network `app` exists with subnet 10.7.0.0/24, which cannot be changed to 10.8.0.0/24: remove it first",
    );
    check(
        NetworkConfig { internal: true, ..named("app") },
        "network `app` exists with internal false, which cannot be changed to true: remove it first",
    );
    let missing = host.networks.remove("ap").unwrap_err();
    assert_eq!(chain(&missing), "network `ap` does not exist (there is `app`, `bridge`)");
}

#[test]
fn somebody_elses_link_is_left_alone() {
    let host = Host::new();
    host.networks.remove("bridge").unwrap();
    run("ip", &format!("link add {} type bridge", host.bridge.bridge));
    let error = host.networks.ensure(&NetworkConfig::named("bridge")).unwrap_err();
    let link = &host.bridge.bridge;
    let expected = format!("link `{link}` exists and is not the bridge of network `bridge`");
    assert_eq!(chain(&error), expected);
    assert!(host.networks.list().unwrap().is_empty());
    assert!(run("ip", "-br link show type bridge").contains(link));
}

#[test]
fn files_of_a_newer_program_or_damaged_are_refused() {
    let host = Host::new();
    let file = host.root.path().join("networks/bridge.json");
    let ensure = || chain(&host.networks.ensure(&NetworkConfig::named("bridge")).unwrap_err());
    fs_err::write(&file, "{\"version\": 9, \"shape\": \"torus\"}").unwrap();
    let name = file.canonicalize().unwrap().display().to_string();
    let newer = format!("`{name}` has format 9, which is newer than this program knows");
    assert_eq!(ensure(), newer);
    fs_err::write(&file, "{\"version\": 1, \"na").unwrap();
    assert!(ensure().starts_with(&format!("`{name}` is damaged: ")), "{}", ensure());
}
