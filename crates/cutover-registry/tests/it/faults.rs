//! Connections that break, servers that lie, limits.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fixture::{Bench, Content};
use crate::server::{Reply, Server};

#[test]
fn a_blob_that_breaks_off_is_resumed() {
    let content = Content::image(1);
    let layer = content.layers[0].to_string();
    let server = Server::start(move |request| {
        let reply = content.answer(request);
        // 30,000 bytes at a time, however often it takes
        if request.target.ends_with(&layer) && reply.body.len() > 30_000 {
            reply.cut(30_000)
        } else {
            reply
        }
    });
    let mut bench = Bench::new();
    bench.options.limits.attempts = 2;
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    let ranges: Vec<_> = server
        .requests("/blobs/")
        .iter()
        .filter_map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["bytes=30000-", "bytes=60000-", "bytes=90000-"]);
    assert_eq!(bench.retries(), 3);
    bench.assert_clean();
}

#[test]
fn a_server_without_ranges_starts_over() {
    let content = Content::image(1);
    let layer = content.layers[0].to_string();
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        let reply = content.answer(&plain);
        if request.target.ends_with(&layer) && tries.fetch_add(1, Ordering::SeqCst) < 2 {
            return reply.cut(50_000);
        }
        reply
    });
    let bench = Bench::new();
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    bench.assert_clean();
}

#[test]
fn a_blob_that_never_comes_is_given_up() {
    let content = Content::image(1);
    let layer = content.layers[0].to_string();
    let server = Server::start(move |request| {
        let reply = content.answer(request);
        if request.target.ends_with(&layer) { reply.cut(0) } else { reply }
    });
    let mut bench = Bench::new();
    bench.options.limits.attempts = 3;
    let failure = bench.failure(&format!("{}/team/app:1.0", server.host()));
    assert!(failure.contains("caused by: the connection to `HOST` broke"), "{failure}");
    assert_eq!(bench.retries(), 2);
    bench.assert_clean();
}

#[test]
fn wrong_bytes_are_never_kept() {
    let content = Content::image(2);
    let layer = content.layers[1].clone();
    let target = layer.to_string();
    let server = Server::start(move |request| {
        let mut reply = content.answer(request);
        if request.target.ends_with(&target) {
            reply.body[77] ^= 1;
        }
        reply
    });
    let bench = Bench::new();
    let failure = bench.failure(&format!("{}/team/app:1.0", server.host()));
    insta::assert_snapshot!(failure, @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: blob sha256:fbf2546279515b8518c92719522eeb30e1c268ff6ac3ff965eda4ba5c79a6703 came with other bytes: they are sha256:6bfe2c8a630486170cc629bfeba2419f5830dd7ebe54f876f9259632e99e59d3
    ");
    assert!(!bench.store.blobs().contains(&layer));
    assert!(bench.store.images().list().unwrap().0.is_empty());
    bench.assert_clean();
}

#[test]
fn pieces_from_two_servers_are_fetched_anew() {
    let content = Content::image(1);
    let layer = content.layers[0].to_string();
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = content.answer(request);
        if request.target.ends_with(&layer) && tries.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.body[0] ^= 1;
            return reply.cut(50_000);
        }
        reply
    });
    let bench = Bench::new();
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    bench.assert_clean();
}

#[test]
fn more_bytes_than_announced_are_not_read() {
    let content = Content::image(1);
    let layer = content.layers[0].to_string();
    let server = Server::start(move |request| {
        let mut reply = content.answer(request);
        if request.target.ends_with(&layer) {
            reply.body.extend([0; 4096]);
        }
        reply
    });
    let failure = Bench::new().failure(&format!("{}/team/app:1.0", server.host()));
    assert!(failure.contains("more than the 101888 allowed for it"), "{failure}");
}

#[test]
fn errors_that_pass_are_waited_out() {
    let content = Content::image(2);
    let seen = Mutex::new(BTreeSet::new());
    let server = Server::start(move |request| {
        // every address fails once, in one of three ways
        if seen.lock().unwrap().insert(request.target.clone()) {
            return match request.target.len() % 3 {
                0 => Reply::new(503, "busy"),
                1 => Reply::new(429, "slow down").with("retry-after", 0),
                _ => Reply::new(500, ""),
            };
        }
        content.answer(request)
    });
    let bench = Bench::new();
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    bench.assert_clean();
}

#[test]
fn a_rate_limit_is_shown_as_such() {
    let content = Content::image(1);
    let server = Server::start(move |request| {
        if request.target.contains("manifests/") {
            let body =
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit reached"}]}"#;
            return Reply::new(429, body).with("retry-after", 3600);
        }
        content.answer(request)
    });
    let bench = Bench::new();
    insta::assert_snapshot!(bench.failure(&format!("{}/team/app:1.0", server.host())), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: `HOST` limits how often it is asked: pull rate limit reached
      hint: try again in 1h
    ");
    assert_eq!(bench.retries(), 0);
}

#[test]
fn servers_that_are_no_registry() {
    let server = Server::start(|_| Reply::new(404, "<html>not here</html>"));
    insta::assert_snapshot!(Bench::new().failure(&format!("{}/team/app:1.0", server.host())), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: `HOST` does not answer as a registry: it answered 404 for `/v2/`
      hint: `HOST` is taken for a registry because of the `.` or `:` in it
    ");
    let server = Server::start(|_| Reply::new(500, "broken"));
    insta::assert_snapshot!(Bench::new().failure(&format!("{}/team/app:1.0", server.host())), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: `HOST` answered 500 for `/v2/`
    ");
}

#[test]
fn nobody_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bench = Bench::new();
    insta::assert_snapshot!(bench.failure(&format!("127.0.0.1:{port}/team/app:1.0")), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: cannot connect to `HOST`
        caused by: Connection refused (os error 111)
      hint: check that `HOST` is right and can be reached from this machine
    ");
    assert_eq!(bench.retries(), 0, "a wrong name must not make the user wait");
    let failure = bench.failure("registry.invalid/team/app:1.0");
    assert!(failure.contains("caused by: cannot connect to `HOST`"), "{failure}");
}

#[test]
fn a_server_that_says_nothing() {
    let server = Server::start(|_| Reply { silent: true, ..Reply::new(200, "") });
    let mut bench = Bench::new();
    bench.options.limits.idle = Duration::from_millis(50);
    insta::assert_snapshot!(bench.failure(&format!("{}/team/app:1.0", server.host())), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: `HOST` did not answer within 50ms
      hint: check that `HOST` is right and can be reached from this machine
    ");
}

#[test]
fn redirects() {
    let content = Content::image(1);
    let digest = content.layers[0].to_string();
    let bytes = content.blobs[&digest].clone();
    let elsewhere = Server::start(move |_| Reply::new(200, bytes.clone()));
    let location = format!("http://{}/cdn?sig=1", elsewhere.host());
    let server = Server::start(move |request| {
        if request.target.ends_with(&digest) {
            return Reply::new(307, "").with("location", &location);
        }
        if request.target.contains("loop") {
            return Reply::new(302, "").with("location", &request.target);
        }
        let ok = request.header("authorization").is_some() || request.target == "/v2/";
        if ok {
            content.answer(request)
        } else {
            Reply::new(401, "").with("www-authenticate", "Basic realm=x")
        }
    });
    let mut bench = Bench::new();
    bench.options.auth = Some(
        cutover_registry::Basic { username: "me".to_owned(), password: "secret".to_owned() }.into(),
    );
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    let requests = elsewhere.requests("/cdn?sig=1");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None, "credentials stay with the registry");
    insta::assert_snapshot!(bench.failure(&format!("{}/team/app:loop", server.host())), @"
      cannot pull `HOST/team/app:loop` from registry `HOST`
        caused by: `HOST` answered what cannot be understood: it redirects more than 5 times
    ");
}
