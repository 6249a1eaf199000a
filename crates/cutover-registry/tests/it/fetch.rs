//! Files over HTTP: redirects, marks, credentials, bounds, broken servers, proxies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cutover_registry::{Cause, Fetch, Fetched, Limits, Proxies, Tls, fetch};

use crate::server::{Reply, Server};

fn ask(url: &str) -> Fetch<'_> {
    let backoff = Duration::from_millis(1);
    Fetch {
        url,
        authorization: None,
        etag: None,
        max: 1000,
        proxies: Proxies::default(),
        tls: Tls::default(),
        limits: Limits {
            attempts: 3,
            backoff,
            idle: Duration::from_millis(500),
            ..Limits::default()
        },
    }
}

fn get(ask: &Fetch<'_>) -> Result<(Fetched, String), Cause> {
    let mut body = Vec::new();
    let fetched = fetch(ask, &mut body)?;
    Ok((fetched, String::from_utf8(body).unwrap()))
}

#[test]
fn a_file_with_what_is_said_of_it() {
    let server = Server::start(|request| match request.header("if-none-match") {
        Some("\"1\"") => Reply::new(304, ""),
        _ => Reply::new(200, "body").with("etag", "\"1\"").with("last-modified", "Sun"),
    });
    let url = format!("http://{}/a?b=c#fragment", server.host());
    let (fetched, body) = get(&ask(&url)).unwrap();
    assert_eq!((body.as_str(), fetched.etag.as_deref()), ("body", Some("\"1\"")));
    assert_eq!(fetched.last_modified.as_deref(), Some("Sun"));
    assert_eq!(server.requests("/a")[0].target, "/a?b=c");
    let (fetched, body) = get(&Fetch { etag: Some("\"1\""), ..ask(&url) }).unwrap();
    assert!(fetched.unchanged && body.is_empty());
    let (fetched, body) = get(&Fetch { etag: Some("\"0\""), ..ask(&url) }).unwrap();
    assert!(!fetched.unchanged && body == "body");
}

#[test]
fn a_server_that_sends_what_we_have_is_cut_short() {
    let server = Server::start(|_| Reply::new(200, "body").with("etag", "\"1\""));
    let url = format!("http://{}/", server.host());
    let (fetched, body) = get(&Fetch { etag: Some("\"1\""), ..ask(&url) }).unwrap();
    assert!(fetched.unchanged && body.is_empty());
}

#[test]
fn credentials_do_not_follow_redirects() {
    let other = Server::start(|_| Reply::new(200, "there"));
    let place = format!("http://{}/final", other.host());
    let server = Server::start(move |request| match request.target.as_str() {
        "/first" => Reply::new(302, "").with("location", "/second"),
        _ => Reply::new(307, "").with("location", &place),
    });
    let url = format!("http://{}/first", server.host());
    let (_, body) = get(&Fetch { authorization: Some("Bearer x"), ..ask(&url) }).unwrap();
    assert_eq!(body, "there");
    assert_eq!(server.requests("/second")[0].header("authorization"), Some("Bearer x"));
    assert_eq!(other.requests("/final")[0].header("authorization"), None);
    let url = format!("http://me:p%40ss@{}/first", server.host());
    get(&ask(&url)).unwrap();
    let sent = server.requests("/first")[1].header("authorization").map(str::to_owned);
    assert_eq!(sent.as_deref(), Some("Basic bWU6cEBzcw=="));
    let turning = Server::start(|_| Reply::new(302, "").with("location", "/"));
    let error = get(&ask(&format!("http://{}/", turning.host()))).unwrap_err();
    assert!(matches!(error, Cause::Protocol { .. }), "{error}");
    let away = Server::start(|_| Reply::new(302, "").with("location", "file:///etc/passwd"));
    let error = get(&ask(&format!("http://{}/", away.host()))).unwrap_err();
    assert!(matches!(error, Cause::Protocol { .. }), "{error}");
}

#[test]
fn too_much_is_refused() {
    let server = Server::start(|_| Reply::new(200, "x".repeat(1001)));
    let error = get(&ask(&format!("http://{}/big", server.host()))).unwrap_err();
    assert!(matches!(error, Cause::TooLarge { size: 1001, max: 1000, .. }), "{error}");
}

#[test]
fn what_may_pass_is_asked_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(503, ""),
        1 => Reply::new(429, "").with("retry-after", "0"),
        _ => Reply::new(200, "at last"),
    });
    let (_, body) = get(&ask(&format!("http://{}/", server.host()))).unwrap();
    assert_eq!(body, "at last");
    let missing = Server::start(|_| Reply::new(404, ""));
    let error = get(&ask(&format!("http://{}/x", missing.host()))).unwrap_err();
    assert!(matches!(error, Cause::Status { status: 404, .. }), "{error}");
    assert_eq!(missing.requests("/x").len(), 1);
    let silent = Server::start(|_| Reply { silent: true, ..Reply::new(200, "") });
    let error = get(&ask(&format!("http://{}/", silent.host()))).unwrap_err();
    assert!(matches!(error, Cause::Timeout { .. }), "{error}");
}

#[test]
fn a_body_that_ends_early_is_no_file() {
    let server = Server::start(|_| Reply::new(200, "whole body").cut(4));
    let error = get(&ask(&format!("http://{}/cut", server.host()))).unwrap_err();
    assert!(matches!(error, Cause::Broken { .. } | Cause::Short { .. }), "{error}");
    assert_eq!(server.requests("/cut").len(), 1, "half a file cannot be taken back");
}

#[test]
fn a_proxy_is_asked_for_the_whole_address() {
    let proxy = Server::start(|_| Reply::new(200, "from the proxy"));
    let proxies =
        Proxies { http: Some(format!("http://u:p@{}", proxy.host())), ..Proxies::default() };
    let ask = Fetch { proxies, ..ask("http://nowhere.invalid/f") };
    assert_eq!(get(&ask).unwrap().1, "from the proxy");
    let request = &proxy.requests("nowhere")[0];
    assert_eq!(request.target, "http://nowhere.invalid/f");
    assert_eq!(request.header("proxy-authorization"), Some("Basic dTpw"));
}
