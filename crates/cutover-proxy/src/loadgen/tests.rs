use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

/// Serves `script`: each connection gets the next of its answers to every request, then is closed.
#[track_caller]
fn check(keep_alive: bool, script: &'static [&'static [&'static str]], expected: &[&str]) {
    check_as(Options { repeat: false, ..any() }, keep_alive, script, expected);
}

fn any() -> Options {
    Options::new("127.0.0.1:1".parse().unwrap(), "h", "/")
}

#[track_caller]
fn check_as(
    options: Options,
    keep_alive: bool,
    script: &'static [&'static [&'static str]],
    expected: &[&str],
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options {
        version: Some(VersionFrom::Body(vec!["v1".into(), "v2".into()])),
        timeout: Duration::from_secs(10),
        addr: listener.local_addr().unwrap(),
        ..options
    };
    let server = thread::spawn(move || {
        for answers in script {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in *answers {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") {
                    assert_eq!(stream.read(&mut byte).unwrap(), 1);
                    request.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    let mut client = Client::new(&options, keep_alive);
    let seen: Vec<_> = expected
        .iter()
        .map(|_| match client.request() {
            Ok(version) => version.unwrap().to_string(),
            Err(kind) => kind,
        })
        .collect();
    assert_eq!(seen, expected);
    drop(client);
    server.join().unwrap();
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1";
const LAST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nv2";

#[test]
fn a_kept_connection_is_used_until_the_server_says_close() {
    check(true, &[&[OK, OK, LAST], &[OK]], &["v1", "v1", "v2", "v1"]);
}

#[test]
fn a_connection_closed_without_notice_is_a_failure() {
    // The server reads the second request and closes without an answer.
    check(
        true,
        &[&[OK, ""], &[OK]],
        &["v1", "response head: connection closed on a kept connection", "v1"],
    );
}

#[test]
fn every_kind_of_body_is_read_to_its_end() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                           1\r\nv\r\n1;x=y\r\n2\r\n0\r\nx-sum: 1\r\n\r\n";
    const INTERIM: &str =
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv2";
    const TO_THE_END: &str = "HTTP/1.1 200 OK\r\n\r\nv1";
    check(
        true,
        &[&[CHUNKED, INTERIM, "HTTP/1.1 204 No\r\n\r\n", TO_THE_END], &[OK]],
        &["v2", "v2", "(none)", "v1", "v1"],
    );
}

#[test]
fn what_is_wrong_has_a_name() {
    check(
        false,
        &[
            &["HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nv1"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nv1\r\n"],
            &["nonsense\r\n\r\n"],
            &[""],
        ],
        &[
            "status 502",
            "response body: connection closed",
            "response body: connection closed",
            "response head: malformed",
            "response head: connection closed",
        ],
    );
}

#[test]
fn what_a_browser_sends_again_is_sent_again_and_no_more() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1";
    let like_a_browser = || Options { repeat: true, ..any() };
    // The server closes a kept connection: the next request finds that out, and is sent again.
    check_as(like_a_browser(), true, &[&[OK], &[OK, OK]], &["v1", "v1", "v1"]);
    // Not on a new connection, not after a byte of the response, and not twice.
    let closed = "response head: connection closed";
    check_as(like_a_browser(), true, &[&[""], &[OK]], &[closed, "v1"]);
    let kept = "response head: connection closed on a kept connection";
    check_as(like_a_browser(), true, &[&[OK, "H"], &[OK]], &["v1", kept, "v1"]);
    check_as(like_a_browser(), true, &[&[OK], &[""], &[OK]], &["v1", closed, "v1"]);
    check_as(like_a_browser(), false, &[&[""], &[OK]], &[closed, "v1"]);
}

#[test]
fn nobody_listening_is_a_failure_too() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options {
        keep_alive: 1,
        per_request: 0,
        duration: Some(Duration::from_millis(20)),
        ..Options::new(gone, "h", "/")
    };
    let summary = run(&options, &Remote::new());
    assert!(summary.requests > 0);
    assert_eq!(summary.failed, summary.requests);
    assert_eq!(summary.failures["connect: refused"], summary.failed);
}

#[test]
fn a_summary_adds_up() {
    let millis = Duration::from_millis;
    let sample = |start, latency, outcome: Result<&str, &str>| Sample {
        start: millis(start),
        latency: millis(latency),
        outcome: outcome.map(|version| Some(version.into())).map_err(str::to_owned),
        keep_alive: true,
        repeated: false,
    };
    let samples = vec![
        sample(30, 40, Ok("v2")),
        sample(0, 10, Ok("v1")),
        sample(10, 15, Err("connect: refused")),
        sample(100, 5, Ok("v2")),
    ];
    let marked = [
        Marked { name: "switch".into(), from: millis(20), to: Some(millis(40)) },
        Marked { name: "open".into(), from: millis(200), to: None },
    ];
    let summary = summarise(samples, &marked, millis(300), Duration::ZERO);
    assert_eq!((summary.requests, summary.ok, summary.failed), (4, 3, 1));
    assert_eq!(summary.latency.max, millis(40));
    assert_eq!(summary.versions["v2"].first, millis(30));
    assert_eq!(summary.versions["v2"].last, millis(100));
    let window = &summary.windows[0];
    assert_eq!((window.requests, window.failed, window.slowest), (2, 1, millis(40)));
    assert_eq!(summary.windows[1].requests, 0);
    assert_eq!(summary.slowest_outside, millis(10));
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["latency"]["max_micros"], 40_000);
}

#[test]
fn a_remote_obeys_lines_until_the_end_of_input() {
    let remote = Remote::new();
    remote.follow(&b"begin a\nnonsense\n begin  b \nend a\n"[..]);
    assert!(remote.stopped());
    let windows = remote.windows();
    let closed: Vec<_> = windows.iter().map(|one| (one.name.as_str(), one.to.is_some())).collect();
    assert_eq!(closed, [("a", true), ("b", false)]);
}

use summary::summarise;
