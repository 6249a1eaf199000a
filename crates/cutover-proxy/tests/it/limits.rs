//! What clients may not do, and for how long anyone may be silent.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::rig::{PATIENCE, Rig, ask, eventually, rest, spec, until};

/// The status line of the answer to a raw request.
#[track_caller]
fn check(request: &str, expected: &str) {
    let (rig, backend) = (Rig::new(), Backend::saying("ok"));
    rig.switch(1, &[&backend]);
    let response = rig.raw(request);
    let status = response.lines().next().unwrap_or_default();
    assert!(status.starts_with(&format!("HTTP/1.1 {expected}")), "{request:?}: {response}");
    assert_eq!(backend.requests(), 0, "{request:?} reached the target");
}

#[test]
fn requests_that_could_mean_two_things_are_refused() {
    let end = "Connection: close\r\n\r\n";
    for (head, expected) in [
        ("Host: a\r\nHost: b\r\n", "400"),
        ("", "400"),
        ("Host: a b\r\n", "400"),
        ("Host: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "400"),
        ("Host: h\r\nContent-Length: +1\r\n", "400"),
        ("Host: h\r\nContent-Length: 1, 1\r\n", "400"),
        ("Host: h\r\nTransfer-Encoding: gzip\r\n", "400"),
        ("Host: h\r\nTransfer-Encoding: gzip, chunked\r\n", "501"),
        ("Host: h\r\nTransfer-Encoding : chunked\r\n", "400"),
        ("Host: h\r\nBad Name: x\r\n", "400"),
        ("Host: h\r\nx: a\r\n folded: y\r\n", "400"),
        ("Host: h\r\nExpect: tea\r\n", "417"),
    ] {
        check(&format!("POST / HTTP/1.1\r\n{head}{end}"), expected);
    }
    check("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nConnection: close\r\n\r\n", "405");
    check("GET / HTTP/3.0\r\nHost: h\r\n\r\n", "400");
    check("nonsense\r\n\r\n", "400");
}

#[test]
fn a_length_beside_chunked_is_not_passed_on() {
    let (rig, echo) = (Rig::new(), Backend::echo());
    rig.switch(1, &[&echo]);
    let response = rig.raw(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(!response.contains("content-length: 44"), "{response}");
}

#[test]
fn heads_have_a_largest_size_and_number_of_headers() {
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nx: {}\r\n\r\n", "y".repeat(100 << 10));
    check(&long, "431");
    let many: String = (0..200).map(|index| format!("x{index}: y\r\n")).collect();
    check(&format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n"), "431");
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let rig = Rig::with(|options| options.head_timeout = Duration::from_millis(200));
    let start = Instant::now();
    let mut slow = rig.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nx: ").unwrap();
    let mut silent = rig.connect();
    assert_eq!((rest(&mut slow), rest(&mut silent)), (String::new(), String::new()));
    assert!(start.elapsed() < PATIENCE);
    eventually("the connections are gone", || rig.client().list().unwrap().proxy.connections == 0);
}

#[test]
fn an_idle_connection_is_closed() {
    let backend = Backend::saying("hello.");
    let rig = Rig::with(|options| options.keep_alive_timeout = Duration::from_millis(200));
    rig.switch(1, &[&backend]);
    let mut stream = rig.connect();
    ask(&mut stream, "/", ".");
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn a_target_that_does_not_answer_is_a_gateway_timeout() {
    let rig = Rig::new();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = Backend::start(move |_| {
        wait.lock().unwrap().recv().ok();
        Ok(())
    });
    let mut spec = spec(1, &[&slow]);
    spec.options.response_timeout = Duration::from_millis(200);
    rig.client().set_service(spec).unwrap();
    let response = rig.get("/");
    assert!(response.starts_with("HTTP/1.1 504 "), "{response}");
    assert!(response.contains("did not answer within 200ms"), "{response}");
    let target = rig.target("g1i0");
    assert_eq!((target.stats.failed, target.in_flight), (1, 0));
    drop(done);
}

#[test]
fn a_slow_upload_is_not_a_slow_answer() {
    let (rig, echo) = (Rig::new(), Backend::echo());
    let mut spec = spec(1, &[&echo]);
    spec.options.response_timeout = Duration::from_millis(600);
    rig.client().set_service(spec).unwrap();
    let mut stream = rig.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n").unwrap();
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(150));
        stream.write_all(b"x").unwrap();
    }
    assert!(until(&mut stream, "xxxxxxxx").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_body_that_goes_silent_is_cut() {
    let rig = Rig::new();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |exchange| {
        exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")?;
        wait.lock().unwrap().recv().ok();
        Ok(())
    });
    let mut spec = spec(1, &[&backend]);
    spec.options.idle_timeout = Duration::from_millis(200);
    rig.client().set_service(spec).unwrap();
    assert!(rig.get("/").ends_with("hello"));
    drop(done);
}

/// A body whose framing is broken is the client's fault: whoever sends such bodies must not be able
/// to make a release look bad.
#[test]
fn a_broken_body_is_not_the_targets_failure() {
    let (rig, echo) = (Rig::new(), Backend::echo());
    rig.switch(1, &[&echo]);
    for body in [
        "0x3\r\nabc",
        "3\nabc\n",
        "3;x\ny\r\nabc",
        "3\r\nabcd\r\n",
        "ffffffffffffffffff\r\n",
        "-1\r\n",
    ] {
        let response = rig.raw(&format!(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             {body}\r\n0\r\n\r\n"
        ));
        assert!(response.starts_with("HTTP/1.1 400 "), "{body:?}: {response}");
    }
    let stats = rig.target("g1i0").stats;
    assert_eq!((stats.failed, stats.cut), (0, 0));
    eventually("none is in flight", || rig.target("g1i0").in_flight == 0);
}

#[test]
fn what_follows_a_body_is_another_request() {
    let (rig, echo) = (Rig::new(), Backend::echo());
    rig.switch(1, &[&echo]);
    // By its length the body would hide what by its chunks is a second request.
    let response = rig.raw(
        "POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /two HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    let answers = response.matches("HTTP/1.1 200").count();
    // Both are whole requests to the target, or the second is nothing to anyone.
    assert_eq!(answers, echo.requests(), "{response}");
    assert!(response.contains("POST /one\n"), "{response}");
}

#[test]
fn http_1_0_works_without_a_host() {
    let (rig, echo) = (Rig::new(), Backend::echo());
    rig.switch(1, &[&echo]);
    let response = rig.raw("GET / HTTP/1.0\r\n\r\n");
    assert!(response.starts_with("HTTP/1.0 200"), "{response}");
    assert!(response.contains(&format!("\nhost: {}\n", echo.addr)), "{response}");
    assert!(!response.contains("x-forwarded-host"), "{response}");
    // Nobody else knows how to read chunks in HTTP/1.0, so nobody may send them.
    let chunked = "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(rig.raw(chunked).starts_with("HTTP/1.1 400"), "refused");
}

/// A response of unknown length, for a client that cannot read chunks.
#[test]
fn an_http_1_0_client_gets_no_chunks() {
    let rig = Rig::new();
    let chunking = Backend::start(|exchange| {
        exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    });
    rig.switch(1, &[&chunking]);
    let response = rig.raw("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    assert!(response.ends_with("\r\n\r\nabc"), "{response:?}");
    assert!(!response.contains("chunked"), "{response:?}");
}

/// The same from the other side: an answer that could mean two things does not reach a client.
#[test]
fn answers_that_could_mean_two_things_are_refused() {
    for (head, passes) in [
        ("Content-Length: 3\r\nContent-Length: 4", false),
        ("Content-Length: x", false),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", true),
        ("Transfer-Encoding : chunked", false),
        ("x: a\rb\r\nContent-Length: 3", false),
    ] {
        let rig = Rig::new();
        let odd = Backend::start(move |exchange| {
            exchange.write(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))?;
            Err(std::io::ErrorKind::Other.into())
        });
        rig.switch(1, &[&odd]);
        let response = rig.get("/");
        if passes {
            assert!(
                response.starts_with("HTTP/1.1 200") && !response.contains("content-length"),
                "{head}: {response}"
            );
        } else {
            assert!(response.starts_with("HTTP/1.1 502"), "{head}: {response}");
        }
    }
}
