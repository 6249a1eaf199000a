//! What crosses the proxy: heads, bodies both ways, failures of targets.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use cutover_core::service::Route;

use crate::backend::Backend;
use crate::rig::{self, Rig, ask, eventually, rest, spec, until};

#[test]
fn a_request_arrives_with_the_forwarding_headers_only() {
    let (rig, echo) = (Rig::new(), Backend::echo());
    rig.switch(1, &[&echo]);
    let response = rig.raw(
        "GET /a%2fb?c=%20d HTTP/1.1\r\nHost: Test:80\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
         X-Forwarded-For: 6.6.6.6\r\nTE: trailers\r\nX-Request-Id: me\r\n\r\n",
    );
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    let mut lines: Vec<_> = body.trim().lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /a%2fb?c=%20d",
            "host: Test:80",
            "te: trailers",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: Test:80",
            "x-forwarded-proto: http",
            "x-request-id: me",
        ]
    );
}

#[test]
fn routes_choose_by_host_and_path_and_strip_the_prefix() {
    let (rig, web, api) = (Rig::new(), Backend::saying("web"), Backend::echo());
    let route = |host: &str, path: &str, strip_prefix| Route {
        host: Some(host.into()),
        path_prefix: path.into(),
        strip_prefix,
    };
    let mut client = rig.client();
    let routes = vec![route("*.example.org", "/", false)];
    client.set_service(cutover_proxy::control::ServiceSpec { routes, ..spec(1, &[&web]) }).unwrap();
    let mut other = spec(1, &[&api]);
    other.service = "app/api".into();
    other.routes = vec![route("x.example.org", "/api", true)];
    client.set_service(other).unwrap();
    let ask = |host: &str, path: &str| {
        rig.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    assert!(ask("X.example.org:81", "/api/v1?x").contains("GET /v1?x\n"));
    assert!(ask("x.example.org", "/apis").ends_with("web"));
    assert!(ask("y.example.org", "/api").ends_with("web"));
    let missing = ask("example.org", "/there");
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    assert!(missing.contains("no service has a route for host `example.org` and path `/there`"));
}

#[test]
fn connections_are_kept_on_both_sides() {
    let (rig, backend) = (Rig::new(), Backend::saying("hello."));
    rig.switch(1, &[&backend]);
    let mut stream = rig.connect();
    let before = backend.connections();
    for _ in 0..5 {
        assert_eq!(ask(&mut stream, "/", "."), "hello.");
    }
    // The prober's own connections send nothing.
    assert_eq!(backend.requests(), 5);
    assert!(backend.connections() - before <= 2, "{}", backend.connections());
    let stats = rig.target("g1i0").stats;
    assert_eq!((stats.requests, stats.by_class[1], stats.errors()), (5, 5, 0));
}

/// Answers the first request of a connection, and closes it when it has read the second.
fn stale() -> Backend {
    thread_local!(static SEEN: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
    Backend::start(|exchange| {
        exchange.body();
        if SEEN.replace(SEEN.get() + 1) > 0 {
            return Err(std::io::ErrorKind::Other.into());
        }
        exchange.answer("ok.")
    })
}

#[test]
fn a_stale_pooled_connection_is_not_the_clients_problem() {
    let (rig, backend) = (Rig::new(), stale());
    rig.switch(1, &[&backend]);
    let mut stream = rig.connect();
    for _ in 0..10 {
        assert_eq!(ask(&mut stream, "/", "."), "ok.");
    }
    let stats = rig.target("g1i0").stats;
    assert_eq!((stats.requests, stats.failed), (10, 0));
    assert!(backend.requests() > 10, "no connection was stale");
}

#[test]
fn a_request_that_may_have_been_acted_on_is_not_repeated() {
    let (rig, backend) = (Rig::new(), stale());
    rig.switch(1, &[&backend]);
    let mut stream = rig.connect();
    let post = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx";
    stream.write_all(post).unwrap();
    until(&mut stream, "ok.");
    stream.write_all(post).unwrap();
    let response = until(&mut stream, "\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    assert_eq!(backend.requests(), 2);
}

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() {
    let rig = Rig::new();
    let backend = Backend::start(|exchange| {
        let (body, trailers) = exchange.body();
        let (body, trailer) = (String::from_utf8(body).unwrap(), trailers.join(","));
        exchange.write(&format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
             5\r\nhello\r\n{:x}\r\n{body}{trailer}\r\n0\r\nx-sum: 42\r\n\r\n",
            body.len() + trailer.len()
        ))
    });
    rig.switch(1, &[&backend]);
    for method in ["POST", "GET"] {
        let response = rig.raw(&format!(
            "{method} / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: close, te\r\n\
             Transfer-Encoding: chunked\r\nTrailer: x-check\r\n\r\n\
             3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nx-check: 7\r\n\r\n",
        ));
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(body.contains("hello") && body.contains("abcdex-check: 7"), "{method} {body}");
        assert!(body.ends_with("0\r\nx-sum: 42\r\n\r\n"), "{method} {body:?}");
    }
}

#[test]
fn expect_100_continue_is_answered_when_the_body_is_wanted() {
    let (rig, echo) = (Rig::new(), Backend::echo());
    rig.switch(1, &[&echo]);
    let mut stream = rig.connect();
    let head = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\
                Connection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(until(&mut stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").unwrap();
    let response = rest(&mut stream);
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("body"), "{response}");
    assert!(!response.contains("expect:"), "{response}");
}

#[test]
fn nobody_is_asked_for_a_body_that_has_nowhere_to_go() {
    let rig = Rig::new();
    let gone = Backend::saying("").addr;
    let mut spec = spec(1, &[]);
    spec.targets = vec![cutover_proxy::control::TargetSpec {
        id: "gone".into(),
        addr: gone,
        release: 3,
        proven: true,
    }];
    rig.client().set_service(spec).unwrap();
    let response = rig.raw(
        "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\
         Connection: close\r\n\r\n",
    );
    assert!(response.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{response}");
    let why =
        format!("instance `gone` of release 3 cannot be reached at {gone}: Connection refused");
    assert!(response.contains(&why), "{response}");
}

#[test]
fn a_dead_target_costs_nothing_while_another_lives() {
    let (rig, live) = (Rig::new(), Backend::saying("live"));
    let dead = Backend::saying("dead");
    let mut spec = spec(1, &[&dead, &live]);
    // No probe result will come in time to help.
    spec.health = rig::probing("/").map(|health| cutover_core::service::HttpHealth {
        interval: Duration::from_secs(600),
        ..health
    });
    rig.client().set_service(spec).unwrap();
    drop(dead);
    for _ in 0..10 {
        assert!(rig.get("/").ends_with("live"));
    }
}

#[test]
fn responses_without_a_body_keep_their_length() {
    let rig = Rig::new();
    let backend = Backend::start(|exchange| match exchange.path.as_str() {
        "/304" => exchange.write("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
        _ => exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    });
    rig.switch(1, &[&backend]);
    let mut stream = rig.connect();
    stream.write_all(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let head = until(&mut stream, "\r\n\r\n");
    assert!(head.contains("content-length: 1000"), "{head}");
    stream.write_all(b"GET /304 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(&mut stream).starts_with("HTTP/1.1 304 "));
}

#[test]
fn a_response_streams_before_it_is_complete() {
    let rig = Rig::new();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::start(move |exchange| {
        exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst.\r\n")?;
        wait.lock().unwrap().recv().unwrap();
        exchange.write("4\r\nlast\r\n0\r\n\r\n")
    });
    rig.switch(1, &[&backend]);
    let mut stream = rig.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    until(&mut stream, "first.");
    assert_eq!(rig.target("g1i0").in_flight, 1);
    go.send(()).unwrap();
    assert!(rest(&mut stream).contains("last"));
    eventually("the request has ended", || rig.target("g1i0").in_flight == 0);
}

#[test]
fn a_target_that_dies_in_the_middle_is_seen_by_the_client() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let rig = Rig::new();
        let dying = Backend::start(move |exchange| {
            exchange.write(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nabcde\r\n"))?;
            exchange.stream.get_ref().shutdown(Shutdown::Both)?;
            Err(std::io::ErrorKind::Other.into())
        });
        rig.switch(1, &[&dying]);
        let response = rig.get("/");
        assert!(response.contains("abcde"), "{response}");
        assert!(!response.ends_with("0\r\n\r\n"), "{response}");
        let stats = rig.target("g1i0").stats;
        assert_eq!((stats.cut, stats.by_class[1]), (1, 1), "{head}");
    }
}

#[test]
fn a_target_that_closes_without_an_answer_is_named() {
    let rig = Rig::new();
    let silent = Backend::start(|_| Err(std::io::ErrorKind::Other.into()));
    rig.switch(1, &[&silent]);
    let response = rig.get("/");
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    assert!(response.contains("instance `g1i0` of release 1 did not answer"), "{response}");
    assert_eq!(rig.target("g1i0").stats.failed, 1);
    assert_eq!(silent.requests(), 1, "a request that was seen is not sent again");
}

/// Sends a body of 4 MB, all of it, before it reads the response; like most clients it gives up on
/// the first error.
fn upload(rig: &Rig) -> std::io::Result<String> {
    const SIZE: usize = 4_000_000;
    let mut stream = rig.connect();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    for _ in 0..SIZE / 40_000 {
        stream.write_all(&[0; 40_000])?;
    }
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[test]
fn an_answer_of_the_proxy_is_not_lost_to_a_client_that_still_sends() {
    let rig = Rig::new();
    for _ in 0..5 {
        let response = upload(&rig).unwrap();
        assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
    }
}

#[test]
fn an_early_answer_of_a_target_is_not_lost_to_a_client_that_still_sends() {
    let rig = Rig::new();
    // As nginx does: answer, close this direction, and let the rest come.
    let picky = Backend::start(move |exchange| {
        exchange.write(
            "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 7\r\n\r\ntoo big",
        )?;
        exchange.stream.get_ref().shutdown(Shutdown::Write)?;
        std::io::copy(exchange.stream, &mut std::io::sink())?;
        Err(std::io::ErrorKind::Other.into())
    });
    rig.switch(1, &[&picky]);
    for _ in 0..5 {
        let response = upload(&rig).unwrap();
        assert!(
            response.starts_with("HTTP/1.1 413 ") && response.ends_with("too big"),
            "{response}"
        );
    }
}

/// As with nginx and Go: whoever closes one direction before the answer has left, and the target
/// is not kept busy for nobody.
#[test]
fn a_client_that_closes_its_side_has_left() {
    let rig = Rig::new();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = Backend::start(move |exchange| {
        wait.lock().unwrap().recv().ok();
        exchange.answer("too late.")
    });
    rig.switch(1, &[&slow]);
    let mut stream = rig.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    eventually("it is with the target", || slow.requests() == 1);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream), "");
    eventually("it is not in flight any more", || rig.target("g1i0").in_flight == 0);
    drop(done);
}

#[test]
fn large_bodies_pass_in_constant_memory() {
    const SIZE: u64 = 100 << 20;
    let rig = Rig::new();
    let backend = Backend::start(|exchange| {
        if exchange.method == "POST" {
            let length = exchange.header("content-length").unwrap().parse().unwrap();
            let copied =
                std::io::copy(&mut exchange.stream.by_ref().take(length), &mut std::io::sink())?;
            return exchange.answer(&format!("got {copied}"));
        }
        exchange.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))?;
        let mut zeros = std::io::repeat(0).take(SIZE);
        std::io::copy(&mut zeros, exchange.stream.get_mut()).map(drop)
    });
    rig.switch(1, &[&backend]);
    assert!(rig.get("/").ends_with("\0"));
    let before = peak_kib();
    let mut stream = rig.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    until(&mut stream, "\r\n\r\n");
    // A slow reader: everything in between has to wait for it.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(std::io::copy(&mut stream, &mut std::io::sink()).unwrap(), SIZE);
    let mut stream = rig.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(SIZE), &mut stream).unwrap();
    until(&mut stream, &format!("got {SIZE}"));
    let grown = peak_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "memory grew by {grown} KiB");
}

/// The most memory this process has ever had.
fn peak_kib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
