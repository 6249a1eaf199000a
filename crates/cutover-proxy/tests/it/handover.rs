//! A proxy is replaced, killed or ended, and nobody notices.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cutover_proxy::control::{Client, TargetState, send_listeners};
use cutover_proxy::loadgen::{self, Options, Remote};
use cutover_proxy::start;

use crate::backend::Backend;
use crate::rig::{PATIENCE, Rig, SERVICE, ask, eventually, rest, spec};
use crate::tunnel;

#[test]
fn three_hand_overs_under_load_lose_no_request() {
    let mut rig = Rig::new();
    let backend = Backend::saying("ok.");
    rig.switch(1, &[&backend]);
    let remote = Remote::new();
    let options = Options { keep_alive: 8, per_request: 4, ..Options::new(rig.addr, "test", "/") };
    let handle = remote.clone();
    let generating = thread::spawn(move || loadgen::run(&options, &handle));
    for generation in 2..5 {
        remote.wait_for(200);
        let old = rig.running.take().unwrap();
        let mut options = rig.options();
        options.take_over = true;
        rig.running = Some(start(options).unwrap());
        assert_eq!(rig.target(&format!("g{}i0", generation - 1)).state, TargetState::Healthy);
        old.join().unwrap();
        rig.switch(generation, &[&backend]);
    }
    remote.wait_for(200);
    remote.stop();
    let summary = generating.join().unwrap();
    assert_eq!(summary.failed, 0, "{:?} {:?}", summary.failures, summary.first_failures);
}

#[test]
fn a_change_right_after_a_hand_over_reaches_every_connection() {
    let mut rig = Rig::new();
    let (old, new) = (Backend::saying("v1."), Backend::saying("v2."));
    rig.switch(1, &[&old]);
    let mut kept = rig.connect();
    ask(&mut kept, "/", ".");
    let mut options = rig.options();
    options.take_over = true;
    let first = rig.running.replace(start(options).unwrap()).unwrap();
    // The old process could still start a request on `kept`, by its own routes: the
    // acknowledgement has to wait until it cannot.
    rig.switch(2, &[&new]);
    kept.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").ok();
    assert!(!rest(&mut kept).contains("v1."));
    assert!(rig.get("/").ends_with("v2."));
    first.join().unwrap();
}

#[test]
fn a_drain_right_after_a_hand_over_waits_for_the_old_process() {
    let mut rig = Rig::new();
    let (old, new) = (tunnel::echoing(), Backend::saying("v2."));
    rig.switch(1, &[&old]);
    let tunnel = tunnel::open(&rig);
    let mut options = rig.options();
    options.take_over = true;
    let first = rig.running.replace(start(options).unwrap()).unwrap();
    rig.switch(2, &[&new]);
    let mut client = rig.client();
    // What the old process has in flight is not known here: it is not called drained.
    let (drained, cut) = client.drain(SERVICE, &[], Duration::from_millis(100)).unwrap();
    assert_eq!((drained.len(), cut[0].target.as_str(), cut[0].requests), (0, "g1i0", 0));
    drop(tunnel);
    first.join().unwrap();
    assert_eq!(client.drain(SERVICE, &[], Duration::from_secs(10)).unwrap().0, ["g1i0"]);
}

#[test]
fn the_old_proxy_goes_on_if_the_new_one_dies() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    rig.switch(1, &[&one]);
    let mut dying = rig.client();
    dying.call(&cutover_proxy::control::Request::TakeOver).unwrap();
    let mut client = rig.client();
    let (spec, waiting) = (spec(2, &[&two]), Instant::now());
    let changing = thread::spawn(move || client.set_service(spec).unwrap());
    assert!(rig.get("/").ends_with("v1."), "it serves, but changes nothing meanwhile");
    drop(dying);
    changing.join().unwrap();
    assert!(waiting.elapsed() < PATIENCE);
    assert!(rig.get("/").ends_with("v2."));
}

#[test]
fn without_a_proxy_to_take_over_from_one_starts_as_usual() {
    let rig = Rig::with(|options| options.take_over = true);
    assert!(rig.get("/").starts_with("HTTP/1.1 404 "));
}

#[test]
fn connections_wait_while_someone_holds_the_sockets() {
    let mut rig = Rig::new();
    let backend = Backend::saying("ok.");
    rig.switch(1, &[&backend]);
    let held = rig.client().take_listeners().unwrap();
    rig.stop();
    let mut stream = rig.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    // Given over the control socket,
    rig.running = Some(start(rig.options()).unwrap());
    assert_eq!(rig.running.as_ref().unwrap().listeners(), []);
    rig.client().give_listeners(&held).unwrap();
    assert!(rest(&mut stream).ends_with("ok."));
    rig.stop();
    // sent right at the start,
    let mut stream = rig.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    send_listeners(&ours, &held).unwrap();
    let mut options = rig.options();
    options.sockets_from = Some(theirs);
    options.listen = vec![rig.addr];
    rig.running = Some(start(options).unwrap());
    assert!(rest(&mut stream).ends_with("ok."));
    rig.stop();
    // or inherited by number.
    let mut stream = rig.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut options = rig.options();
    let number = std::os::fd::AsRawFd::as_raw_fd(&held[0].socket);
    options.listeners = cutover_proxy::inherited([number]).unwrap();
    rig.running = Some(start(options).unwrap());
    assert!(rest(&mut stream).ends_with("ok."));
}

/// Trap of two trials: `select!{accept, sleep}` starts its sleep anew with each connection, so a
/// busy proxy never hears that it should end.
#[test]
fn a_busy_proxy_hears_that_it_should_end() {
    let mut rig = Rig::new();
    let backend = Backend::saying("ok.");
    rig.switch(1, &[&backend]);
    let remote = Remote::new();
    let options = Options { keep_alive: 2, per_request: 6, ..Options::new(rig.addr, "test", "/") };
    let handle = remote.clone();
    let generating = thread::spawn(move || loadgen::run(&options, &handle));
    remote.wait_for(200);
    let start = Instant::now();
    let (grace, deadline) = (Duration::from_millis(100), Duration::from_secs(60));
    rig.client().lame_duck(grace, deadline).unwrap();
    rig.running.take().unwrap().join().unwrap();
    assert!(start.elapsed() < PATIENCE);
    remote.stop();
    let summary = generating.join().unwrap();
    assert!(summary.ok >= 200);
    // Nobody holds the socket, so new connections are refused; kept ones were told to close.
    let kept = summary.first_failures.iter().filter(|failure| failure.kind.contains("kept"));
    assert_eq!(kept.count(), 0, "{:?}", summary.failures);
}

#[test]
fn the_end_waits_for_what_is_in_flight_up_to_a_deadline() {
    let mut rig = Rig::new();
    let backend = tunnel::echoing();
    rig.switch(1, &[&backend]);
    let mut stream = tunnel::open(&rig);
    let mut client = rig.client();
    client.lame_duck(Duration::ZERO, Duration::from_millis(300)).unwrap();
    stream.write_all(b"still here").unwrap();
    crate::rig::until(&mut stream, "still here");
    assert!(client.list().unwrap().proxy.lame_duck);
    rig.running.take().unwrap().join().unwrap();
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn held_requests_refuse_a_hand_over() {
    let rig = Rig::new();
    let backend = Backend::saying("ok.");
    rig.switch(1, &[&backend]);
    rig.client().hold(SERVICE, 1, Duration::from_secs(1), 1).unwrap();
    let mut options = rig.options();
    options.take_over = true;
    let error = start(options).unwrap_err().to_string();
    assert!(error.contains("requests for `app/web` are held"), "{error}");
    rig.client().release(SERVICE, 1).unwrap();
    eventually("it still serves", || rig.get("/").ends_with("ok."));
    Client::connect(&rig.options().control_socket).unwrap();
}

/// A proxy in a process of its own; started by [`Child`].
#[test]
#[ignore = "other tests run it as a process"]
fn a_proxy_process() {
    let mut folder = String::new();
    std::io::stdin().read_line(&mut folder).unwrap();
    if folder.is_empty() {
        return;
    }
    let mut options = crate::rig::options(Path::new(folder.trim_end()));
    options.handle_signals = true;
    cutover_proxy::run(options).unwrap();
}

pub(crate) struct Child(pub(crate) std::process::Child);

impl Child {
    pub(crate) fn start(rig: &Rig) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["handover::a_proxy_process", "--exact", "--ignored", "--nocapture"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = Self(command.spawn().unwrap());
        let mut stdin = child.0.stdin.take().unwrap();
        writeln!(stdin, "{}", rig.folder.path().display()).unwrap();
        let socket = rig.options().control_socket;
        eventually("the process answers", || Client::connect(&socket).is_ok());
        child
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_killed_proxy_refuses_no_connection_while_its_sockets_are_held() {
    let mut rig = Rig::new();
    let backend = Backend::saying("ok.");
    rig.switch(1, &[&backend]);
    let held = rig.client().take_listeners().unwrap();
    rig.stop();
    let mut child = Child::start(&rig);
    rig.client().give_listeners(&held).unwrap();
    let remote = Remote::new();
    let options = Options { keep_alive: 2, per_request: 4, ..Options::new(rig.addr, "test", "/") };
    let handle = remote.clone();
    let generating = thread::spawn(move || loadgen::run(&options, &handle));
    for _ in 0..3 {
        remote.wait_for(100);
        // Killed, waited for, and only then replaced.
        drop(child);
        child = Child::start(&rig);
        rig.client().give_listeners(&held).unwrap();
    }
    remote.wait_for(100);
    remote.stop();
    let summary = generating.join().unwrap();
    drop(child);
    // What was in flight dies with the process; at most one request of each client, each time.
    assert!(summary.failed <= 3 * 6, "{:?}", summary.failures);
    let refused = summary.failures.keys().filter(|kind| kind.starts_with("connect"));
    assert_eq!(refused.count(), 0, "{:?}", summary.failures);
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let mut rig = Rig::new();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = Backend::start(move |exchange| {
        wait.lock().unwrap().recv().ok();
        exchange.answer("at last.")
    });
    rig.switch(1, &[&slow]);
    let held = rig.client().take_listeners().unwrap();
    rig.stop();
    let mut child = Child::start(&rig);
    rig.client().give_listeners(&held).unwrap();
    let mut stream = rig.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    eventually("it is in flight", || slow.requests() == 1);
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    eventually("it is ending", || rig.client().list().unwrap().proxy.lame_duck);
    go.send(()).unwrap();
    let response = rest(&mut stream);
    assert!(response.ends_with("at last.") && response.contains("connection: close"), "{response}");
    assert!(child.0.wait().unwrap().success());
}
