use hyper::Request;

use super::*;

/// `METHOD target` and header lines.
fn parts(text: &str) -> Parts {
    let mut lines = text.lines().map(str::trim);
    let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
    let (mut parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let name: HeaderName = name.parse().unwrap();
        parts.headers.append(name, value.trim().parse().unwrap());
    }
    parts
}

fn text(parts: &Parts) -> String {
    let mut lines: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    format!("{} {}\n{}", parts.method, parts.uri, lines.join("\n"))
}

#[track_caller]
fn check(request: &str, strip: usize, trust: bool, expected: &str) {
    let mut parts = parts(request);
    let peer = HeaderValue::from_static("192.0.2.7");
    let origin = Origin { peer: &peer, trust_forwarded: trust };
    to_target(&mut parts, strip, &origin, || HeaderValue::from_static("id-1"));
    let expected: Vec<_> = expected.lines().map(str::trim).collect();
    assert_eq!(text(&parts), expected.join("\n"));
}

#[test]
fn a_plain_request_gets_the_forwarding_headers() {
    check(
        "GET /a?b=c\nhost: h:8080\naccept: */*",
        0,
        false,
        "GET /a?b=c
         accept: */*
         host: h:8080
         x-forwarded-for: 192.0.2.7
         x-forwarded-host: h:8080
         x-forwarded-proto: http
         x-request-id: id-1",
    );
}

#[test]
fn hop_by_hop_headers_stay_here() {
    check(
        "POST /
         host: h
         connection: close, X-Secret, host, content-length
         x-secret: 1
         content-length: 3
         keep-alive: timeout=5
         proxy-connection: x
         proxy-authorization: Basic x
         te: gzip
         transfer-encoding: chunked
         expect: 100-continue
         upgrade: websocket
         http2-settings: x
         trailer: x-sum
         authorization: Bearer x",
        0,
        false,
        "POST /
         authorization: Bearer x
         content-length: 3
         host: h
         trailer: x-sum
         x-forwarded-for: 192.0.2.7
         x-forwarded-host: h
         x-forwarded-proto: http
         x-request-id: id-1",
    );
}

#[test]
fn what_the_client_says_about_its_origin_counts_only_when_trusted() {
    let request = "GET /
         host: h
         forwarded: for=1.1.1.1
         x-forwarded-for: 1.1.1.1
         x-forwarded-host: evil
         x-forwarded-proto: https
         x-real-ip: 1.1.1.1
         x-request-id: mine";
    check(
        request,
        0,
        false,
        "GET /
         host: h
         x-forwarded-for: 192.0.2.7
         x-forwarded-host: h
         x-forwarded-proto: http
         x-request-id: mine",
    );
    check(
        request,
        0,
        true,
        "GET /
         forwarded: for=1.1.1.1
         host: h
         x-forwarded-for: 1.1.1.1, 192.0.2.7
         x-forwarded-host: evil
         x-forwarded-proto: https
         x-real-ip: 1.1.1.1
         x-request-id: mine",
    );
}

#[test]
fn no_other_spelling_of_them_gets_through() {
    for trust in [false, true] {
        let mut parts = parts(
            "GET /\nhost: h\nx_forwarded_for: 6.6.6.6\nx-forwarded_proto: https\nx_real_ip: 6\nx_mine: 1",
        );
        let peer = HeaderValue::from_static("10.0.0.9");
        let origin = Origin { peer: &peer, trust_forwarded: trust };
        to_target(&mut parts, 0, &origin, || HeaderValue::from_static("id"));
        let spelled: Vec<_> = parts
            .headers
            .keys()
            .map(HeaderName::as_str)
            .filter(|name| name.contains('_'))
            .collect();
        assert_eq!(spelled, ["x_mine"], "trust: {trust}");
    }
}

#[test]
fn an_upgrade_is_passed_on_and_http2_is_not() {
    let upgrade = |protocol: &str| {
        let mut parts =
            parts(&format!("GET /\nhost: h\nconnection: keep-alive, Upgrade\nupgrade: {protocol}"));
        let peer = HeaderValue::from_static("192.0.2.7");
        let origin = Origin { peer: &peer, trust_forwarded: false };
        let asked = to_target(&mut parts, 0, &origin, || HeaderValue::from_static("id-1"));
        assert_eq!(asked.is_some(), parts.headers.contains_key(header::UPGRADE));
        assert_eq!(asked.is_some(), parts.headers.contains_key(header::CONNECTION));
        asked.is_some()
    };
    for (protocol, expected) in
        [("websocket", true), ("WebSocket", true), ("h2c", false), ("x, H2c", false)]
    {
        assert_eq!(upgrade(protocol), expected, "{protocol}");
    }
}

#[test]
fn trailers_are_announced_only_if_the_client_takes_them() {
    let mut parts = parts("GET /\nhost: h\nte: gzip;q=1, trailers\nconnection: te");
    let peer = HeaderValue::from_static("p");
    let origin = Origin { peer: &peer, trust_forwarded: false };
    to_target(&mut parts, 0, &origin, || HeaderValue::from_static("id"));
    assert_eq!(parts.headers[header::TE], "trailers");
}

#[test]
fn absolute_targets_and_stripped_prefixes() {
    for (request, strip, expected) in [
        ("GET http://u@Other:81/p?q\nhost: h", 0, "GET /p?q Other:81"),
        ("GET http://other\nhost: h", 0, "GET / other"),
        ("GET /api/x?y=1\nhost: h", 4, "GET /x?y=1 h"),
        ("GET /api?y=1\nhost: h", 4, "GET /?y=1 h"),
        ("GET /api\nhost: h", 4, "GET / h"),
        ("GET http://o/api/x\nhost: h", 4, "GET /x o"),
    ] {
        let mut parts = parts(request);
        let peer = HeaderValue::from_static("p");
        let origin = Origin { peer: &peer, trust_forwarded: false };
        to_target(&mut parts, strip, &origin, || HeaderValue::from_static("id"));
        let host = parts.headers[header::HOST].to_str().unwrap();
        assert_eq!(format!("{} {} {host}", parts.method, parts.uri), expected, "{request}");
    }
}

#[test]
fn every_request_has_one_host() {
    for (request, expected) in [
        ("GET /\nhost: H.org:80", Ok("h.org")),
        ("GET http://o.org/\nhost: h", Ok("o.org")),
        ("GET /", Err("the request has no Host")),
        ("GET /\nhost: a\nhost: a", Err("the request has more than one Host")),
        ("GET /\nhost: a b", Err("the request's Host is not a host")),
        ("GET /\nhost: a/b", Err("the request's Host is not a host")),
    ] {
        let parts = parts(request);
        let found = host(&parts).map_err(|refused| refused.reason);
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{request}");
    }
    let mut old = parts("GET /");
    old.version = Version::HTTP_10;
    assert_eq!(host(&old).unwrap(), "");
}

#[test]
fn what_cannot_be_passed_on_is_refused() {
    for (request, expected) in [
        ("GET /\nhost: h", 0),
        ("POST /\ntransfer-encoding: chunked", 0),
        ("POST /\nexpect: 100-Continue", 0),
        ("POST /\ntransfer-encoding: gzip, chunked", 501),
        ("POST /\ntransfer-encoding: chunked\ntransfer-encoding: chunked", 501),
        ("POST /\nexpect: tea", 417),
        ("CONNECT h:443", 405),
    ] {
        let refused =
            acceptable(&parts(request)).err().map_or(0, |refused| refused.status.as_u16());
        assert_eq!(refused, expected, "{request}");
    }
}

#[test]
fn responses_lose_hop_by_hop_headers_too() {
    let response = "GET /\nconnection: x-a\nx-a: 1\nkeep-alive: x\nupgrade: websocket\nx-b: 2";
    for (upgraded, close, expected) in [
        (false, false, "x-b: 2"),
        (false, true, "connection: close\nx-b: 2"),
        (true, true, "connection: upgrade\nupgrade: websocket\nx-b: 2"),
    ] {
        let mut parts = parts(response);
        to_client(&mut parts.headers, upgraded, close);
        assert_eq!(text(&parts), format!("GET /\n{expected}"));
    }
}

#[test]
fn request_ids_differ_and_are_hexadecimal() {
    let mut ids = RequestIds::new(0xab);
    let all: std::collections::BTreeSet<_> =
        (0..1000).map(|_| ids.next().to_str().unwrap().to_owned()).collect();
    assert_eq!(all.len(), 1000);
    assert_eq!(all.first().unwrap(), "00000000000000ab0000000000000001");
}
