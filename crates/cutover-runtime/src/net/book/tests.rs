use super::*;
use crate::net::types::Protocol;

fn network(subnet: &str) -> Network {
    let subnet: crate::net::Cidr = subnet.parse().unwrap();
    Network {
        name: "n".to_owned(),
        bridge: "br".to_owned(),
        subnet,
        gateway: subnet.host(0).unwrap(),
        internal: false,
        mtu: 1500,
    }
}

fn endpoint(id: &str) -> Endpoint {
    Endpoint { container_id: id.to_owned(), ..Endpoint::default() }
}

fn claim(book: &mut Book, net: &Network, endpoint: &Endpoint) -> String {
    match book.claim(net, endpoint, &[], "abcdef") {
        Ok(lease) => format!("{} {} {}", lease.ip, lease.interface, lease.link),
        Err(error) => error.to_string(),
    }
}

#[test]
fn addresses_go_round_and_run_out() {
    let net = network("10.0.0.0/29");
    let mut book = Book::default();
    for last in 2..=6 {
        let got = claim(&mut book, &net, &endpoint(&format!("c{last}")));
        assert_eq!(got, format!("10.0.0.{last} eth0 cabcdef{}", last - 2));
    }
    let full = claim(&mut book, &net, &endpoint("late"));
    assert_eq!(full, "network `n` has no free address left in `10.0.0.0/29`");
    assert_eq!(book.end(|lease| lease.container_id == "c4").len(), 1);
    assert_eq!(claim(&mut book, &net, &endpoint("new")), "10.0.0.4 eth0 cabcdef5");
    book.end(|lease| ["c2", "c5"].contains(&lease.container_id.as_str()));
    // the search goes on from the last one
    assert_eq!(claim(&mut book, &net, &endpoint("next")), "10.0.0.5 eth0 cabcdef6");
    assert_eq!(claim(&mut book, &net, &endpoint("next2")), "10.0.0.2 eth0 cabcdef7");
}

#[test]
fn fixed_addresses_are_checked() {
    let net = network("10.0.0.0/29");
    let mut book = Book::default();
    let mut check = |ip: [u8; 4], expected: &str| {
        let fixed = Endpoint { ip: Some(ip.into()), ..endpoint(&"ab".repeat(32)) };
        assert_eq!(claim(&mut book, &net, &fixed), expected);
    };
    check([10, 0, 0, 3], "10.0.0.3 eth0 cabcdef0");
    check(
        [10, 0, 0, 3],
        "address 10.0.0.3 is not free on network `n`: container `abababababab` has it",
    );
    check([10, 0, 0, 1], "address 10.0.0.1 is not free on network `n`: it is the gateway's");
    check(
        [10, 0, 1, 1],
        "address 10.0.1.1 is not free on network `n`: it is no host's address in `10.0.0.0/29`",
    );
    check(
        [10, 0, 0, 7],
        "address 10.0.0.7 is not free on network `n`: it is no host's address in `10.0.0.0/29`",
    );
}

#[test]
fn further_networks_get_further_interfaces() {
    let mut inner = network("10.0.1.0/29");
    inner.internal = true;
    let outer = Network { name: "m".to_owned(), ..network("10.0.0.0/29") };
    let mut book = Book::default();
    let a = book.claim(&inner, &endpoint("c"), &[], "").unwrap();
    let b = book.claim(&outer, &endpoint("c"), &[], "").unwrap();
    let other = Network { name: "o".to_owned(), ..network("10.0.2.0/29") };
    let c = book.claim(&other, &endpoint("c"), &[], "").unwrap();
    let shown = [a, b, c].map(|lease| (lease.interface, lease.default_route));
    let expected = [("eth0", false), ("eth1", true), ("eth2", false)];
    assert_eq!(shown, expected.map(|(name, route)| (name.to_owned(), route)));
}

#[test]
fn ports_collide() {
    let port = |ip: [u8; 4], host_port, protocol| PublishedPort {
        host_ip: ip.into(),
        host_port,
        container_port: 80,
        protocol,
    };
    let check = |a: PublishedPort, b: PublishedPort, expected: bool| {
        assert_eq!((collide(&a, &b), collide(&b, &a)), (expected, expected), "{a} {b}");
    };
    let any = port([0, 0, 0, 0], 80, Protocol::Tcp);
    check(any, any, true);
    check(any, port([127, 0, 0, 1], 80, Protocol::Tcp), true);
    check(any, port([127, 0, 0, 1], 81, Protocol::Tcp), false);
    check(any, port([0, 0, 0, 0], 80, Protocol::Udp), false);
    let one = port([127, 0, 0, 1], 80, Protocol::Tcp);
    check(one, port([127, 0, 0, 2], 80, Protocol::Tcp), false);
}
