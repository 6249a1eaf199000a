//! Requests wait while a stop-first service is replaced.

use std::io::Write as _;
use std::time::Duration;

use crate::backend::Backend;
use crate::rig::{Rig, SERVICE, eventually, rest};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

fn held(rig: &Rig) -> u64 {
    rig.client().stats(Some(SERVICE)).unwrap()[0].held
}

#[test]
fn held_requests_go_to_the_new_target() {
    let (rig, old) = (Rig::new(), Backend::saying("old."));
    rig.switch(1, &[&old]);
    let mut client = rig.client();
    client.hold(SERVICE, 2, Duration::from_secs(10), 100).unwrap();
    let mut streams: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    for stream in &mut streams {
        stream.write_all(GET).unwrap();
    }
    eventually("all wait", || held(&rig) == 5);
    drop(old);
    let new = Backend::saying("new.");
    client.set_service(crate::rig::spec(2, &[&new])).unwrap();
    assert_eq!(held(&rig), 5, "the switch alone lets nobody through");
    client.release(SERVICE, 2).unwrap();
    for stream in &mut streams {
        assert!(rest(stream).ends_with("new."));
    }
    assert!(rig.get("/").ends_with("new."));
}

#[test]
fn too_many_and_too_long_get_503_with_retry_after() {
    let (rig, backend) = (Rig::new(), Backend::saying("ok."));
    rig.switch(1, &[&backend]);
    let mut client = rig.client();
    client.hold(SERVICE, 1, Duration::from_millis(300), 2).unwrap();
    let mut streams: Vec<_> = (0..2).map(|_| rig.connect()).collect();
    for stream in &mut streams {
        stream.write_all(GET).unwrap();
    }
    eventually("two wait", || held(&rig) == 2);
    let turned = rig.get("/");
    assert!(turned.starts_with("HTTP/1.1 503 "), "{turned}");
    assert!(turned.contains("retry-after: 5") && turned.contains("2 requests already wait"));
    for stream in &mut streams {
        let response = rest(stream);
        assert!(response.contains("service `app/web` is being replaced"), "{response}");
        assert!(response.contains("is not ready after 300ms"), "{response}");
    }
    client.release(SERVICE, 1).unwrap();
    assert!(rig.get("/").ends_with("ok."));
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let (rig, backend) = (Rig::new(), Backend::saying("ok."));
    rig.switch(1, &[&backend]);
    rig.client().hold(SERVICE, 1, Duration::from_secs(60), 1).unwrap();
    let mut stream = rig.connect();
    stream.write_all(GET).unwrap();
    eventually("it waits", || held(&rig) == 1);
    drop(stream);
    eventually("it has left", || held(&rig) == 0);
    rig.client().release(SERVICE, 1).unwrap();
}

#[test]
fn a_hold_survives_a_restart() {
    let mut rig = Rig::new();
    let backend = Backend::saying("ok.");
    rig.switch(1, &[&backend]);
    rig.client().hold(SERVICE, 1, Duration::from_secs(60), 10).unwrap();
    rig.stop();
    let mut options = rig.options();
    options.listen = vec![rig.addr];
    rig.running = Some(cutover_proxy::start(options).unwrap());
    let mut stream = rig.connect();
    stream.write_all(GET).unwrap();
    eventually("it waits", || held(&rig) == 1);
    rig.client().release(SERVICE, 1).unwrap();
    assert!(rest(&mut stream).ends_with("ok."));
}

#[test]
fn holding_what_is_not_there_is_an_error() {
    let rig = Rig::new();
    let error = rig.client().hold("app/none", 1, Duration::ZERO, 1).unwrap_err();
    assert_eq!(error.to_string(), "there is no service `app/none`");
}
