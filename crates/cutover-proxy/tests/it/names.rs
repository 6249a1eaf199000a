//! DNS over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use cutover_proxy::control::{ListenerKind, NetworkNames};
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata::A};

use crate::rig::{PATIENCE, Rig, eventually};

fn names(generation: u64, entries: &[(&str, &str)]) -> NetworkNames {
    NetworkNames {
        network: "app/default".into(),
        generation,
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        subnets: vec!["127.0.0.0/8".into()],
        names: entries
            .iter()
            .map(|(name, addr)| ((*name).to_owned(), vec![addr.parse::<IpAddr>().unwrap()]))
            .collect(),
        ..NetworkNames::default()
    }
}

fn listener(rig: &Rig, kind: ListenerKind) -> SocketAddr {
    let mut found = None;
    eventually("the names are served", || {
        let listeners = rig.client().list().unwrap().listeners;
        found = listeners.iter().find(|one| one.kind == kind).map(|one| one.addr);
        found.is_some()
    });
    found.unwrap()
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new();
    let query = Query::query(Name::from_ascii(name).unwrap(), RecordType::A);
    message.set_id(77).set_recursion_desired(true).add_query(query);
    message.to_vec().unwrap()
}

fn ask_udp(server: SocketAddr, name: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&question(name), server).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn ask_tcp(stream: &mut TcpStream, name: &str) -> Message {
    let question = question(name);
    stream.write_all(&u16::try_from(question.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&question).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    assert_eq!(message.id(), 77);
    message.answers().iter().map(|record| record.data().to_string()).collect()
}

/// Answers each question with 192.0.2.1.
fn resolver() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            let name = message.queries()[0].name().clone();
            message.set_message_type(MessageType::Response);
            message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 1))));
            socket.send_to(&message.to_vec().unwrap(), from).unwrap();
        }
    });
    addr
}

#[test]
fn names_are_answered_over_udp_and_tcp_and_others_forwarded() {
    let upstream = resolver();
    let rig = Rig::with(|options| options.resolvers = vec![upstream]);
    rig.client().set_names(names(1, &[("db", "10.89.1.2")])).unwrap();
    let udp = listener(&rig, ListenerKind::DnsUdp);
    assert_eq!(addresses(&ask_udp(udp, "db.")), ["10.89.1.2"]);
    assert_eq!(addresses(&ask_udp(udp, "example.org.")), ["192.0.2.1"]);
    assert_eq!(ask_udp(udp, "other.").response_code(), ResponseCode::NXDomain);
    let mut stream = TcpStream::connect(listener(&rig, ListenerKind::DnsTcp)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..2 {
        assert_eq!(addresses(&ask_tcp(&mut stream, "DB.")), ["10.89.1.2"]);
    }
}

#[test]
fn names_change_under_the_same_socket_and_survive_a_restart() {
    let mut rig = Rig::new();
    let mut client = rig.client();
    client.set_names(names(1, &[("db", "10.89.1.2")])).unwrap();
    let udp = listener(&rig, ListenerKind::DnsUdp);
    client.set_names(names(2, &[("db", "10.89.1.3"), ("web", "10.89.1.4")])).unwrap();
    eventually("the new address is told", || addresses(&ask_udp(udp, "db.")) == ["10.89.1.3"]);
    assert!(client.set_names(names(1, &[])).is_err(), "late writers are fenced");
    assert_eq!(listener(&rig, ListenerKind::DnsUdp), udp);
    rig.stop();
    rig.running = Some(cutover_proxy::start(rig.options()).unwrap());
    let udp = listener(&rig, ListenerKind::DnsUdp);
    assert_eq!(addresses(&ask_udp(udp, "web.")), ["10.89.1.4"]);
    rig.client().remove_names("app/default", 3).unwrap();
    eventually("the sockets are closed", || rig.client().list().unwrap().listeners.is_empty());
}

#[test]
fn a_network_knows_no_names_of_another() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.set_names(names(1, &[("db", "10.89.1.2")])).unwrap();
    let first = listener(&rig, ListenerKind::DnsUdp);
    let mut other = names(1, &[("cache", "10.89.2.2")]);
    other.network = "other/default".into();
    other.listen = vec!["127.0.0.2:0".parse().unwrap()];
    client.set_names(other).unwrap();
    assert_eq!(ask_udp(first, "cache.").response_code(), ResponseCode::NXDomain);
}

#[test]
fn resolvers_that_do_not_answer_are_a_server_failure() {
    // Nobody listens on the first, the second is silent for as long as it is given.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resolvers = vec![closed, silent.local_addr().unwrap()];
    let rig = Rig::with(|options| options.resolvers = resolvers);
    rig.client().set_names(names(1, &[])).unwrap();
    let udp = listener(&rig, ListenerKind::DnsUdp);
    assert_eq!(ask_udp(udp, "example.org.").response_code(), ResponseCode::ServFail);
}

#[test]
fn an_address_that_does_not_exist_yet_is_no_error() {
    let rig = Rig::new();
    let mut names = names(1, &[("db", "10.89.1.2")]);
    names.listen = vec!["192.0.2.1:0".parse().unwrap()];
    rig.client().set_names(names).unwrap();
    listener(&rig, ListenerKind::DnsUdp);
    listener(&rig, ListenerKind::DnsTcp);
}

#[test]
fn senseless_names_are_refused() {
    let rig = Rig::new();
    let mut client = rig.client();
    let error = client.set_names(names(1, &[("a..b", "10.0.0.1")])).unwrap_err().to_string();
    assert_eq!(error, "`a..b` in network `app/default` is not a DNS name");
    let mut bad = names(1, &[]);
    bad.subnets = vec!["10.0.0.0".into()];
    assert!(client.set_names(bad).unwrap_err().to_string().contains("is not like `10.0.0.0/24`"));
}

#[test]
fn a_hand_over_keeps_the_dns_sockets() {
    let mut rig = Rig::new();
    rig.client().set_names(names(1, &[("db", "10.89.1.2")])).unwrap();
    // A fixed port, as 53 is: the new process could not bind it while the old one has it.
    let udp = listener(&rig, ListenerKind::DnsUdp);
    let mut fixed = names(2, &[("db", "10.89.1.2")]);
    fixed.listen = vec![SocketAddr::new(udp.ip(), free_port())];
    let addr = fixed.listen[0];
    rig.client().set_names(fixed).unwrap();
    eventually("it answers on the fixed port", || listener(&rig, ListenerKind::DnsUdp) == addr);
    let mut options = rig.options();
    options.take_over = true;
    let old = rig.running.replace(cutover_proxy::start(options).unwrap()).unwrap();
    for _ in 0..20 {
        assert_eq!(addresses(&ask_udp(addr, "db.")), ["10.89.1.2"]);
        thread::sleep(Duration::from_millis(5));
    }
    old.join().unwrap();
    assert_eq!(addresses(&ask_udp(addr, "db.")), ["10.89.1.2"]);
}

/// A port that is free for UDP and TCP.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = udp.local_addr().unwrap();
        if std::net::TcpListener::bind(addr).is_ok() {
            return addr.port();
        }
    }
}
