//! Connections that are opened before a switch.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use cutover_core::service::HttpHealth;
use cutover_proxy::control::{CallError, ServiceSpec};

use crate::backend::Backend;
use crate::rig::{PATIENCE, Rig, ask, eventually, rest, until};

/// Probes go elsewhere, so that every connection of a target is one for requests.
fn spec(generation: u64, backends: &[&Backend]) -> ServiceSpec {
    let health = Some(HttpHealth { port: Some(1), ..HttpHealth::default() });
    ServiceSpec { health, ..crate::rig::spec(generation, backends) }
}

fn switch(rig: &Rig, generation: u64, backends: &[&Backend]) {
    rig.client().set_service(spec(generation, backends)).unwrap();
}

/// Answers only when this many requests are there at once, so that each has a connection.
fn together(count: usize) -> Backend {
    let all = Arc::new(Barrier::new(count));
    Backend::start(move |exchange| {
        exchange.body();
        all.wait();
        exchange.answer("ok.")
    })
}

/// Sends one request on each connection, then reads the answers.
fn all_at_once(clients: &mut [TcpStream]) {
    for client in clients.iter_mut() {
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    }
    for client in clients {
        until(client, "ok.");
    }
}

/// A proxy with `count` clients, each with a connection to the first target behind it.
fn busy(count: usize) -> (Rig, Backend, Vec<TcpStream>) {
    busy_in(Rig::new(), count)
}

fn busy_in(rig: Rig, count: usize) -> (Rig, Backend, Vec<TcpStream>) {
    let old = together(count);
    switch(&rig, 1, &[&old]);
    let mut clients: Vec<_> = (0..count).map(|_| rig.connect()).collect();
    all_at_once(&mut clients);
    assert_eq!(old.connections(), count);
    (rig, old, clients)
}

/// A spec whose only target is `addr`.
fn only(generation: u64, addr: SocketAddr) -> ServiceSpec {
    let nobody = Backend::saying("");
    let mut spec = spec(generation, &[&nobody]);
    spec.targets[0].addr = addr;
    spec
}

#[test]
fn a_switch_finds_connections_to_the_new_target() {
    let (rig, _old, mut clients) = busy(6);
    let new = together(6);
    switch(&rig, 2, &[&new]);
    eventually("they are accepted", || new.connections() == 6);
    assert_eq!(new.requests(), 0);
    all_at_once(&mut clients);
    assert_eq!((new.requests(), new.connections()), (6, 6), "and no more were needed");
}

#[test]
fn targets_share_them() {
    let (rig, _old, _clients) = busy_in(Rig::with(|options| options.workers = 1), 6);
    let (one, two) = (Backend::saying("1."), Backend::saying("2."));
    switch(&rig, 2, &[&one, &two]);
    eventually("both have theirs", || one.connections() + two.connections() == 6);
    assert_eq!((one.connections(), two.connections()), (3, 3));
}

#[test]
fn what_is_not_used_is_closed_long_before_other_idle_connections() {
    let (rig, _old, _clients) = busy(3);
    let new = Backend::saying("ok.");
    switch(&rig, 2, &[&new]);
    eventually("they are accepted", || new.connections() == 3);
    let mut kept = rig.connect();
    ask(&mut kept, "/", ".");
    eventually("the unused ones are closed", || new.open() <= 1);
    ask(&mut kept, "/", ".");
    assert_eq!((new.connections(), new.open()), (3, 1), "the used one is not");
}

#[test]
fn a_target_that_keeps_no_connections_has_no_successor_that_finds_some() {
    let rig = Rig::new();
    let closing = Backend::start(|exchange| {
        exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok.")?;
        Err(std::io::ErrorKind::ConnectionAborted.into())
    });
    switch(&rig, 1, &[&closing]);
    for _ in 0..4 {
        assert!(rig.get("/").ends_with("ok."));
    }
    let new = Backend::saying("ok.");
    switch(&rig, 2, &[&new]);
    assert!(rig.get("/").ends_with("ok."));
    assert_eq!((new.connections(), new.requests()), (1, 1));
}

#[test]
fn a_target_that_is_refused_sees_nobody() {
    let (rig, _old, _clients) = busy(3);
    let new = Backend::saying("ok.");
    let late = rig.client().set_service(spec(0, &[&new])).unwrap_err();
    assert!(matches!(late, CallError::Stale { .. }), "{late}");
    let mut taken = spec(2, &[&new]);
    taken.service = "app/other".into();
    rig.client().set_service(taken).unwrap_err();
    // Whoever had connected would have been accepted before this one.
    assert!(TcpStream::connect(new.addr).is_ok());
    eventually("we are accepted", || new.connections() > 0);
    assert_eq!(new.connections(), 1);
}

#[test]
fn one_that_cannot_be_saved_lets_go_of_its_connections() {
    let (rig, _old, mut clients) = busy(3);
    let new = Backend::saying("ok.");
    // A folder where the file is to be written.
    let temp = rig.options().state_folder.join("routes.json.new");
    fs_err::create_dir_all(temp.join("x")).unwrap();
    rig.client().set_service(spec(2, &[&new])).unwrap_err();
    eventually("nothing is open", || new.open() == 0);
    all_at_once(&mut clients);
    assert_eq!(new.requests(), 0);
}

/// Nobody is accepted there, and the queue is full: connecting takes for ever.
#[test]
fn a_target_that_does_not_answer_holds_up_no_switch() {
    let (rig, _old, _clients) = busy(3);
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = deaf.local_addr().unwrap();
    rustix::net::listen(&deaf, 0).unwrap();
    let filling = [TcpStream::connect(addr).unwrap()];
    let start = Instant::now();
    rig.client().set_service(only(2, addr)).unwrap();
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    drop(filling);
}

#[test]
fn one_that_refuses_connections_costs_nothing() {
    let (rig, _old, _clients) = busy(3);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    rig.client().set_service(only(2, gone)).unwrap();
    assert!(rig.get("/").starts_with("HTTP/1.1 502 "));
}

/// Ends the first `count` connections as soon as a request comes, without a word.
fn rude(count: usize) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let early: Vec<_> = (0..count).map(|_| listener.accept().unwrap().0).collect();
        for mut stream in early {
            until(&mut stream, "\r\n\r\n");
        }
        let (mut stream, _) = listener.accept().unwrap();
        until(&mut stream, "\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok.").unwrap();
    });
    (addr, serving)
}

#[test]
fn a_stale_one_is_not_the_clients_problem() {
    let (rig, _old, mut clients) = busy(1);
    let (addr, serving) = rude(1);
    rig.client().set_service(only(2, addr)).unwrap();
    all_at_once(&mut clients);
    serving.join().unwrap();
}

#[test]
fn a_request_that_may_have_been_acted_on_is_not_repeated_on_another() {
    let (rig, _old, mut clients) = busy(1);
    let (addr, serving) = rude(1);
    rig.client().set_service(only(2, addr)).unwrap();
    let post = b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    clients[0].write_all(post).unwrap();
    assert!(rest(&mut clients[0]).starts_with("HTTP/1.1 502 "));
    assert!(rig.get("/").ends_with("ok."), "the next one goes over a new connection");
    serving.join().unwrap();
}
