//! Upgraded connections: bytes both ways, in flight as long as they live.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::backend::Backend;
use crate::rig::{Rig, SERVICE, eventually, rest, until};

pub(crate) const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\n\
                           Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Switches protocols and sends back what it gets.
pub(crate) fn echoing() -> Backend {
    Backend::start(|exchange| {
        assert_eq!(exchange.header("upgrade"), Some("websocket"));
        assert_eq!(exchange.header("connection"), Some("upgrade"));
        exchange.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
        )?;
        let mut buffer = [0; 4096];
        loop {
            let length = exchange.stream.read(&mut buffer)?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            exchange.stream.get_mut().write_all(&buffer[..length])?;
        }
    })
}

pub(crate) fn open(rig: &Rig) -> TcpStream {
    let mut stream = rig.connect();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    let head = until(&mut stream, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    until(&mut stream, "hello");
    stream
}

#[test]
fn a_tunnel_carries_bytes_and_counts_as_in_flight() {
    let (rig, backend) = (Rig::new(), echoing());
    rig.switch(1, &[&backend]);
    let mut stream = open(&rig);
    assert_eq!(rig.target("g1i0").in_flight, 1);
    let data: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
    let (mut writer, sent) = (stream.try_clone().unwrap(), data.clone());
    let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == data);
    drop(stream);
    eventually("the tunnel has ended", || rig.target("g1i0").in_flight == 0);
}

#[test]
fn a_tunnel_outlives_the_switch_and_is_cut_at_the_drain_deadline() {
    let (rig, old, new) = (Rig::new(), echoing(), Backend::saying("new"));
    rig.switch(1, &[&old]);
    let mut stream = open(&rig);
    rig.switch(2, &[&new]);
    stream.write_all(b"still here").unwrap();
    until(&mut stream, "still here");
    let timeout = Duration::from_millis(100);
    let (drained, cut) = rig.client().drain(SERVICE, &["g1i0".into()], timeout).unwrap();
    assert!(drained.is_empty());
    assert_eq!((cut[0].target.as_str(), cut[0].requests), ("g1i0", 1));
    assert_eq!(rest(&mut stream), "");
    assert_eq!(rig.client().list().unwrap().proxy.connections, 0);
}

#[test]
fn a_tunnel_that_ends_in_time_is_drained() {
    let (rig, old, new) = (Rig::new(), echoing(), Backend::saying("new"));
    rig.switch(1, &[&old]);
    let stream = open(&rig);
    rig.switch(2, &[&new]);
    let mut client = rig.client();
    let draining =
        thread::spawn(move || client.drain(SERVICE, &[], Duration::from_secs(10)).unwrap());
    drop(stream);
    let (drained, cut) = draining.join().unwrap();
    assert_eq!((drained, cut.len()), (vec!["g1i0".to_owned()], 0));
}

#[test]
fn a_refused_upgrade_is_a_plain_response() {
    let (rig, backend) = (Rig::new(), Backend::saying("no."));
    rig.switch(1, &[&backend]);
    let mut stream = rig.connect();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    assert!(until(&mut stream, "no.").starts_with("HTTP/1.1 200"));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(&mut stream).ends_with("no."));
}

#[test]
fn a_target_may_not_switch_unasked() {
    let rig = Rig::new();
    let pushy = Backend::start(|exchange| {
        exchange.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
    });
    rig.switch(1, &[&pushy]);
    let response = rig.get("/");
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
}
