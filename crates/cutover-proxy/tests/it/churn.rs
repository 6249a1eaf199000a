//! After connections have come and gone in every bad way, nothing is busy and nothing is left.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use cutover_proxy::control::{Client, ListenerKind};

use crate::backend::{Backend, Exchange};
use crate::handover::Child;
use crate::rig::{Rig, SERVICE, ask, eventually, spec, until};
use crate::tunnel::UPGRADE;

/// A proxy in a process of its own, so that its CPU time is nobody else's.
struct Churned {
    child: Child,
    rig: Rig,
    backend: Backend,
}

impl Churned {
    fn new() -> Self {
        let mut rig = Rig::new();
        let held = rig.client().take_listeners().unwrap();
        rig.stop();
        let child = Child::start(&rig);
        rig.client().give_listeners(&held).unwrap();
        let backend = Backend::start(behave);
        let mut spec = spec(1, &[&backend]);
        // A client that has left is not noticed while its target reads nothing: this is.
        spec.options.response_timeout = Duration::from_secs(4);
        rig.client().set_service(spec).unwrap();
        Self { child, rig, backend }
    }

    fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.rig.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    fn get(&self, path: &str) -> TcpStream {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    fn tunnel(&self, path: &str) -> TcpStream {
        let mut stream = self.send(&UPGRADE.replace("/ws", path));
        until(&mut stream, "hello");
        stream
    }

    /// One connection for each way to be stuck.
    fn stuck(&self) -> Vec<TcpStream> {
        let post = |length: usize| {
            format!("POST /deaf HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\nx")
        };
        let mut stuck = vec![
            self.rig.connect(),
            self.send("GET / HTT"),
            self.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
            self.send(&post(9)),
            self.get("/silent"),
            self.get("/endless"),
            self.tunnel("/echo"),
            self.tunnel("/half"),
        ];
        // The target does not read, so the proxy cannot either.
        let mut full = self.send(&post(1 << 30));
        full.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        while full.write(&[0; 1 << 16]).is_ok() {}
        stuck.push(full);
        // One side of a tunnel has ended; the other may go on.
        let half = self.tunnel("/echo-on");
        half.shutdown(Shutdown::Write).unwrap();
        stuck.push(half);
        let mut kept = self.rig.connect();
        ask(&mut kept, "/", "ok.");
        stuck.push(kept);
        stuck
    }

    /// CPU time of all threads of the proxy so far.
    fn cpu(&self) -> Duration {
        let tasks = fs_err::read_dir(format!("/proc/{}/task", self.child.0.id())).unwrap();
        let spent = tasks.map(|task| {
            // Nanoseconds on a CPU come first; a thread that has just ended has none any more.
            let text = fs_err::read_to_string(task.unwrap().path().join("schedstat"));
            let text = text.unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
        });
        Duration::from_nanos(spent.sum())
    }

    /// Fails unless the proxy rests. Whatever spins takes a core, or its share of a busy one; the
    /// regular look at the time limits takes a thousandth.
    #[track_caller]
    fn rests(&self, when: &str) {
        const WINDOW: Duration = Duration::from_millis(600);
        let spent = || {
            let (before, start) = (self.cpu(), Instant::now());
            while start.elapsed() < WINDOW {
                thread::sleep(Duration::from_millis(20));
            }
            self.cpu().saturating_sub(before)
        };
        // What just happened may still have its consequences; spinning has no end.
        let least = (0..3).map(|_| spent()).find(|spent| *spent < WINDOW / 15);
        assert!(least.is_some(), "the proxy is busy {when}: {:?} in {WINDOW:?}", spent());
    }

    #[track_caller]
    fn is_empty(&self, when: &str) {
        eventually(&format!("all connections are gone {when}"), || {
            self.rig.client().list().unwrap().proxy.connections == 0
        });
        eventually("nothing is in flight", || self.rig.target("g1i0").in_flight == 0);
    }

    /// How many files the proxy has open.
    fn files(&self) -> usize {
        fs_err::read_dir(format!("/proc/{}/fd", self.child.0.id())).unwrap().count()
    }
}

/// What a target may do to a proxy, by path.
fn behave(exchange: &mut Exchange<'_>) -> std::io::Result<()> {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                          Upgrade: websocket\r\n\r\nhello";
    let end = || Err(std::io::ErrorKind::Other.into());
    let path = exchange.path.clone();
    match path.as_str() {
        // Never reads its body, nor answers.
        "/deaf" => loop {
            thread::park();
        },
        "/silent" => {
            std::io::copy(exchange.stream, &mut std::io::sink())?;
            end()
        }
        "/endless" => {
            exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
            while exchange.write(&chunk).is_ok() {}
            end()
        }
        "/broken" => {
            exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")?;
            end()
        }
        "/garbage" => {
            exchange.write("this is not HTTP\r\n\r\n")?;
            end()
        }
        // Says more than it was asked for, on a connection that then lies in the pool.
        "/more" => exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok.unasked"),
        "/early" => {
            exchange.write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")?;
            end()
        }
        // The target's side of the tunnel ends at once, the client's goes on.
        "/half" => {
            exchange.write(SWITCH)?;
            exchange.stream.get_ref().shutdown(Shutdown::Write)?;
            std::io::copy(exchange.stream, &mut std::io::sink())?;
            end()
        }
        "/echo" | "/echo-on" => {
            exchange.write(SWITCH)?;
            let mut buffer = [0; 4096];
            loop {
                let length = exchange.stream.read(&mut buffer)?;
                if length == 0 && path == "/echo" {
                    return end();
                }
                if length == 0 {
                    // Goes on until it cannot say anything any more.
                    while exchange.write(".").is_ok() {
                        thread::sleep(Duration::from_millis(50));
                    }
                    return end();
                }
                exchange.stream.get_mut().write_all(&buffer[..length])?;
            }
        }
        _ => {
            exchange.body();
            exchange.answer("ok.")
        }
    }
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    let at_once = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(stream.as_fd(), at_once).unwrap();
}

/// Every way to end a connection, `ending` being how the client closes.
fn churn(churned: &Churned, ending: impl Fn(TcpStream)) {
    for text in ["", "G", "GET / HTTP/1.1\r\n", "\0\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        ending(churned.send(text));
    }
    for path in ["/", "/broken", "/garbage", "/more", "/early", "/silent", "/endless"] {
        ending(churned.get(path));
        let begun = churned.get(path);
        if path != "/silent" {
            begun.peek(&mut [0; 1]).ok();
        }
        ending(begun);
    }
    // Several requests at once, of which not all are answered.
    let one = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    ending(churned.send(&one.repeat(20)));
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nabc";
    ending(churned.send(post));
    ending(churned.send(&post.replace("POST /", "POST /early")));
    for path in ["/echo", "/half", "/echo-on"] {
        let mut tunnel = churned.tunnel(path);
        tunnel.write_all(b"something").ok();
        ending(tunnel);
    }
}

#[test]
fn a_proxy_rests_after_churn_and_beside_what_is_stuck() {
    let churned = Churned::new();
    let files = churned.files();
    for _ in 0..5 {
        churn(&churned, drop);
        churn(&churned, reset);
        churn(&churned, |stream| drop(stream.shutdown(Shutdown::Write)));
    }
    // Those who closed one side only have left, too; the rest of them goes with their streams.
    churned.is_empty("after churn");
    churned.rests("after churn");
    let stuck = churned.stuck();
    churned.rests("with stuck connections");
    drop(stuck);
    churned.is_empty("that were stuck");
    churned.rests("when they are gone");
    assert!(churned.rig.get("/").ends_with("ok."));
    // A target that is none any more, with something on the way to it.
    let stuck = churned.stuck();
    let other = Backend::saying("ok.");
    churned.rig.switch(2, &[&other]);
    churned.rests("while a target drains");
    let cut = churned.rig.client().drain(SERVICE, &[], Duration::from_millis(10)).unwrap().1;
    assert_eq!(cut.len(), 1);
    churned.rests("after a drain has cut what was left");
    drop(stuck);
    eventually("no connection to that target is left", || churned.files() <= files);
}

#[test]
fn a_lame_proxy_rests_until_its_deadline() {
    let mut churned = Churned::new();
    churn(&churned, drop);
    churn(&churned, reset);
    let stuck = churned.stuck();
    let mut client = churned.rig.client();
    client.lame_duck(Duration::from_millis(50), Duration::from_secs(4)).unwrap();
    churned.rests("as a lame duck");
    drop(stuck);
    let end = churned.child.0.wait().unwrap();
    assert!(end.success(), "{end}");
}

#[test]
fn a_proxy_that_was_taken_over_from_rests_too() {
    let mut churned = Churned::new();
    let _stuck = churned.stuck();
    let mut options = churned.rig.options();
    options.take_over = true;
    let running = cutover_proxy::start(options).unwrap();
    let kinds: Vec<_> = running.listeners().iter().map(|listener| listener.kind).collect();
    assert_eq!(kinds, [ListenerKind::Http]);
    churned.rig.running = Some(running);
    churned.rests("as a predecessor");
    // Its deadline, from the rig's options, ends it with everything that is stuck.
    assert!(churned.child.0.wait().unwrap().success());
    assert!(churned.rig.get("/").ends_with("ok."));
    Client::connect(&churned.rig.options().control_socket).unwrap();
    churned.rig.client().set_service(spec(2, &[&churned.backend])).unwrap();
}
