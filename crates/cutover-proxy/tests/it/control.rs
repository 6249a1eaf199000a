//! The control socket itself.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use cutover_proxy::control::{CallError, Client, ListenerKind, MAX_LINE};

use crate::backend::Backend;
use crate::rig::{PATIENCE, Rig};

fn connect(rig: &Rig) -> UnixStream {
    let stream = UnixStream::connect(rig.options().control_socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn the_socket_is_for_its_owner_only() {
    let rig = Rig::new();
    let mode = fs_err::metadata(rig.options().control_socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn nonsense_gets_an_error_and_the_connection_goes_on() {
    let rig = Rig::new();
    let mut stream = connect(&rig);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for (line, expected) in [
        ("nonsense", "not a request"),
        ("{\"op\":\"fly\"}", "not a request"),
        ("{\"op\":\"hello\",\"protocol\":1}", "\"reply\":\"hello\""),
    ] {
        writeln!(stream, "{line}").unwrap();
        let mut reply = String::new();
        reader.read_line(&mut reply).unwrap();
        assert!(reply.contains(expected), "{line}: {reply}");
    }
}

#[test]
fn a_line_without_end_ends_the_connection() {
    let rig = Rig::new();
    let mut stream = connect(&rig);
    let chunk = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while sent <= MAX_LINE + (1 << 20) && stream.write_all(&chunk).is_ok() {
        sent += chunk.len();
    }
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok();
    assert!(rest.is_empty());
    rig.client().list().unwrap();
}

#[test]
fn a_path_too_long_for_a_socket_address_works() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("x".repeat(120));
    let mut options = crate::rig::options(&deep);
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let path = options.control_socket.clone();
    let running = cutover_proxy::start(options).unwrap();
    let mut client = Client::connect(&path).unwrap();
    client.lame_duck(std::time::Duration::ZERO, std::time::Duration::ZERO).unwrap();
    running.join().unwrap();
}

#[test]
fn nobody_there_is_an_error_that_names_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sock");
    let error = Client::connect(&path).unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }));
    assert!(error.to_string().contains("none.sock"));
}

#[test]
fn the_listing_tells_all() {
    let rig = Rig::new();
    let backend = Backend::saying("ok.");
    rig.switch(3, &[&backend]);
    rig.get("/");
    rig.raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    let second = "127.0.0.1:0".parse().unwrap();
    rig.client().call(&cutover_proxy::control::Request::Listen { addr: second }).unwrap();
    let listing = rig.client().list().unwrap();
    assert_eq!(listing.services[0].generation, 3);
    assert_eq!(listing.stats[0].targets[0].stats.requests, 1);
    assert_eq!(listing.listeners.len(), 2);
    assert!(listing.listeners.iter().all(|one| one.kind == ListenerKind::Http));
    assert_eq!((listing.proxy.workers, listing.proxy.accepted, listing.proxy.rejected), (2, 2, 1));
    let mut stream = crate::rig::connect(listing.listeners[1].addr);
    assert_eq!(crate::rig::ask(&mut stream, "/", "."), "ok.");
}
