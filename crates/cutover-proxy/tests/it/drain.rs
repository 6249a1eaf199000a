//! Old targets finish what they have, up to a deadline.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use crate::backend::Backend;
use crate::rig::{Rig, SERVICE, eventually, rest, until};

/// Answers when told to.
fn waiting() -> (Backend, Sender<()>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |exchange| {
        exchange.body();
        wait.lock().unwrap().recv().ok();
        exchange.answer("at last.")
    });
    (backend, go)
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

#[test]
fn a_drain_waits_for_the_last_answer() {
    let (rig, (slow, go), new) = (Rig::new(), waiting(), Backend::saying("new."));
    rig.switch(1, &[&slow]);
    let mut stream = rig.connect();
    stream.write_all(GET).unwrap();
    eventually("the request is with the target", || slow.requests() == 1);
    let previous = rig.client().set_service(crate::rig::spec(2, &[&new])).unwrap();
    assert_eq!((previous[0].target.as_str(), previous[0].in_flight), ("g1i0", 1));
    let mut client = rig.client();
    let draining =
        thread::spawn(move || client.drain(SERVICE, &[], Duration::from_secs(10)).unwrap());
    assert!(rig.get("/").ends_with("new."));
    assert!(!draining.is_finished());
    go.send(()).unwrap();
    assert_eq!(draining.join().unwrap().0, ["g1i0"]);
    assert!(rest(&mut stream).ends_with("at last."));
}

#[test]
fn what_is_not_answered_by_the_deadline_is_cut_with_504() {
    let (rig, (slow, go), new) = (Rig::new(), waiting(), Backend::saying("new."));
    rig.switch(1, &[&slow]);
    let mut streams: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    for stream in &mut streams {
        stream.write_all(GET).unwrap();
    }
    eventually("all are with the target", || slow.requests() == 20);
    rig.switch(2, &[&new]);
    let (drained, cut) =
        rig.client().drain(SERVICE, &["g1i0".into()], Duration::from_millis(50)).unwrap();
    assert_eq!((drained.len(), cut[0].requests), (0, 20));
    for stream in &mut streams {
        let response = rest(stream);
        assert!(response.starts_with("HTTP/1.1 504 "), "{response}");
        assert!(response.contains("is being retired"), "{response}");
    }
    assert_eq!(rig.target("g1i0").in_flight, 0);
    drop(go);
}

#[test]
fn a_response_under_way_is_broken_off_at_the_deadline() {
    let rig = Rig::new();
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let slow = Backend::start(move |exchange| {
        exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")?;
        wait.lock().unwrap().recv().ok();
        Ok(())
    });
    let new = Backend::saying("new.");
    rig.switch(1, &[&slow]);
    let mut stream = rig.connect();
    stream.write_all(GET).unwrap();
    until(&mut stream, "hello");
    rig.switch(2, &[&new]);
    let (_, cut) = rig.client().drain(SERVICE, &[], Duration::from_millis(50)).unwrap();
    assert_eq!(cut.len(), 1);
    assert_eq!(rest(&mut stream), "");
    drop(go);
}

#[test]
fn a_target_in_use_cannot_be_drained_and_an_unknown_one_is() {
    let (rig, backend) = (Rig::new(), Backend::saying("ok."));
    rig.switch(1, &[&backend]);
    let mut client = rig.client();
    let timeout = Duration::from_millis(10);
    let error = client.drain(SERVICE, &["g1i0".into()], timeout).unwrap_err().to_string();
    assert_eq!(error, "target `g1i0` of `app/web` still gets new requests");
    let (drained, cut) = client.drain(SERVICE, &["before-restart".into()], timeout).unwrap();
    assert_eq!((drained, cut.len()), (vec!["before-restart".to_owned()], 0));
}
