//! Published ports, from every side.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use cutover_runtime::net::{NetworkConfig, Protocol, Publish};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::world::{Container, HOST, Host, NEIGHBOUR, ask, ask_udp, on, run, sysctl, tcp};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Asks port 8080 of a container that publishes it, from everywhere.
fn from_everywhere(host: &Host) {
    let outside = host.outside();
    let web = host.container("web", &[tcp(8080, 80)]);
    let _server = web.serve(80);
    let gateway = host.bridge.gateway;
    assert_eq!(outside.ask(HOST, 8080), format!("web {NEIGHBOUR}"), "the caller's own address");
    assert_eq!(ask(LOCALHOST, 8080), format!("web {gateway}"));
    assert_eq!(ask(Ipv4Addr::new(127, 8, 7, 6), 8080), format!("web {gateway}"));
    assert_eq!(ask(HOST, 8080), format!("web {HOST}"));
    assert_eq!(ask(gateway, 8080), format!("web {gateway}"));
    let peer = host.container("peer", &[]);
    assert_eq!(peer.ns.ask(HOST, 8080), format!("web {gateway}"), "hairpin");
    assert_eq!(peer.ns.ask(gateway, 8080), format!("web {gateway}"), "hairpin by the gateway");
    assert_eq!(web.ns.ask(HOST, 8080), format!("web {gateway}"), "hairpin to itself");
    let other = host.network(NetworkConfig::named("other"));
    let stranger = Container::on(&host.networks, &other, "stranger", &[]);
    assert_eq!(stranger.ns.ask(HOST, 8080), format!("web {gateway}"), "another network");
    assert_eq!(peer.ns.ask(web.ip(), 80), format!("web {}", peer.ip()), "directly");

    host.networks.release(web.attached).unwrap();
    assert_eq!(outside.ask(HOST, 8080), "refused");
    assert_eq!(ask(LOCALHOST, 8080), "refused");
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    from_everywhere(&Host::new());
}

#[test]
fn a_published_port_is_reached_with_br_netfilter_on() {
    let host = Host::new();
    // docker sets this; bridged packets then pass the IP chains as well
    if fs_err::exists("/proc/sys/net/bridge/bridge-nf-call-iptables").unwrap() {
        sysctl("net/bridge/bridge-nf-call-iptables", "1");
    }
    from_everywhere(&host);
}

#[test]
fn one_address_of_the_host_is_enough() {
    let host = Host::new();
    let outside = host.outside();
    let local = host.container("local", &[on([127, 0, 0, 1], tcp(8080, 80))]);
    let public = host.container("public", &[on(HOST.octets(), tcp(8080, 80))]);
    let _servers = (local.serve(80), public.serve(80));
    assert_eq!(ask(LOCALHOST, 8080), format!("local {}", host.bridge.gateway));
    assert_eq!(outside.ask(HOST, 8080), format!("public {NEIGHBOUR}"));
    assert_eq!(ask(host.bridge.gateway, 8080), "refused");
}

#[test]
fn port_zero_becomes_a_free_one() {
    let host = Host::new();
    let twice = tcp(8080, 80);
    host.container("twice", &[twice, twice]);
    let any = [tcp(0, 80), Publish { protocol: Protocol::Udp, ..tcp(0, 53) }];
    let (a, b) = (host.container("a", &any), host.container("b", &any));
    let _servers = (a.serve(80), b.serve(80), a.ns.serve_udp(53, "a"));
    for container in [&a, &b] {
        let id = &container.attached.container_id;
        assert_eq!(ask(LOCALHOST, container.host_port()), format!("{id} {}", host.bridge.gateway));
    }
    let client = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let port = a.attached.ports[1].host_port;
    assert_eq!(ask_udp(&client, LOCALHOST, port), format!("a {}", host.bridge.gateway));
}

#[test]
fn a_conversation_over_udp_moves_with_the_port() {
    let host = Host::new();
    let outside = host.outside();
    let dns = [Publish { protocol: Protocol::Udp, ..tcp(5353, 53) }];
    let client = outside.enter(|| UdpSocket::bind((NEIGHBOUR, 0)).unwrap());
    let ask = || ask_udp(&client, HOST, 5353);
    assert_eq!(ask(), "silent", "and the kernel tracks it as not translated");
    let first = host.container("first", &dns);
    let server = first.ns.serve_udp(53, "first");
    assert_eq!(ask(), format!("first {NEIGHBOUR}"), "same socket, hence same tracked connection");
    drop(server);
    host.networks.release(first.attached).unwrap();
    let second = host.container("second", &dns);
    let _server = second.ns.serve_udp(53, "second");
    assert_eq!(ask(), format!("second {NEIGHBOUR}"));
}

#[test]
fn many_ports_are_published() {
    let host = Host::new();
    let ports: Vec<_> = (20_000..21_000).map(|port| tcp(port, port)).collect();
    let many = host.container("many", &ports);
    let _server = many.serve(20_999);
    assert_eq!(ask(LOCALHOST, 20_999), format!("many {}", host.bridge.gateway));
    assert!(many.attached.reservations.is_empty(), "a thousand sockets are too many to keep");
    host.networks.release(many.attached).unwrap();
    assert_eq!(ask(LOCALHOST, 20_999), "refused");
}

#[test]
fn a_new_connection_never_goes_to_a_dead_container() {
    let host = Host::new();
    let outside = host.outside();
    let first = host.container("first", &[tcp(8080, 80)]);
    let server = first.ns.enter(|| TcpListener::bind(("0.0.0.0", 80)).unwrap());
    // a client that vanishes without a word leaves an established connection to be tracked
    outside.enter(|| {
        let client = connect_from(41_000, HOST, 8080).unwrap();
        run("nft", "add table ip mute");
        run("nft", "add chain ip mute out { type filter hook output priority 0 ; policy drop ; }");
        sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        run("nft", "delete table ip mute");
    });
    drop(server);
    host.networks.release(first.attached).unwrap();
    let second = host.container("second", &[tcp(8080, 80)]);
    let _server = second.serve(80);
    let mut answer = String::new();
    outside.enter(|| {
        connect_from(41_000, HOST, 8080).unwrap().read_to_string(&mut answer).unwrap();
    });
    assert_eq!(answer, format!("second {NEIGHBOUR}"));
}

/// Connects from a given port, as a client that reuses one does.
fn connect_from(source: u16, address: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(Duration::from_secs(1)))?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, source))?;
    rustix::net::connect(&socket, &SocketAddrV4::new(address, port))?;
    Ok(TcpStream::from(socket))
}
