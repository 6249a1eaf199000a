//! TLS, metrics and webhooks of the embedded registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cutover_core::{Digest, Reference};
use cutover_registry::server::{
    Guard, Metrics, Observer, Options, Running, Tls, WebhookOptions, Webhooks, start,
};
use cutover_registry::{Proxies, Silent, push};

use crate::access::{ask, options};
use crate::fixture::{Bench, Content};
use crate::server::{Reply, Request, Server};

fn serve(
    dir: &tempfile::TempDir,
    observers: Vec<Arc<dyn Observer>>,
    choose: impl FnOnce(&mut Options),
) -> (Running, String) {
    let mut options = options(dir.path());
    options.gate = Arc::new(Guard { observers, ..Guard::default() });
    choose(&mut options);
    let running = start(options).unwrap();
    let host = running.addresses()[0].to_string();
    (running, host)
}

/// Pushes an image to `name`.
fn pushed(bench: &Bench, name: &str) -> Digest {
    let content = Content::image(2);
    for blob in content.blobs.values() {
        bench.store.blobs().put(blob).unwrap();
    }
    let digest = bench.store.blobs().put(&content.manifests["1.0"].1).unwrap();
    let reference: Reference = name.parse().unwrap();
    push(&bench.store, &digest, &reference, &bench.options, &Silent).unwrap().descriptor.digest
}

#[track_caller]
fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Pulls into another store.
fn again(bench: &Bench, name: &str) {
    let mut other = Bench::new();
    other.options = bench.options.clone();
    other.pull(name).unwrap();
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|it| std::str::from_utf8(it).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

#[test]
fn tls_from_files_and_again_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    let good = pem("CERTIFICATE", include_bytes!("testdata/server.der"));
    let good_key = pem("PRIVATE KEY", include_bytes!("testdata/server.key.der"));
    let open = || Tls::open(chain.clone(), key.clone());
    assert!(open().is_err());
    fs_err::write(&chain, "nonsense").unwrap();
    fs_err::write(&key, &good_key).unwrap();
    assert!(open().unwrap_err().to_string().contains("no certificate"));
    // a certificate of another key
    fs_err::write(&chain, pem("CERTIFICATE", include_bytes!("testdata/authority.der"))).unwrap();
    assert!(open().is_err());
    fs_err::write(&chain, &good).unwrap();
    let tls = open().unwrap();
    let (_running, host) = serve(&dir, Vec::new(), |options| options.tls = Some(tls));
    let mut bench = Bench::new();
    bench.options.tls.ca = vec![include_bytes!("testdata/authority.der").to_vec()];
    let name = format!("{host}/team/app:1.0");
    pushed(&bench, &name);
    again(&bench, &name);
    // plain HTTP on that port is refused, and the server lives on
    let mut plain = std::net::TcpStream::connect(&host).unwrap();
    std::io::Write::write_all(&mut plain, b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut plain, &mut answer).ok();
    assert!(!answer.starts_with(b"HTTP"));
    // half a renewal changes nothing
    fs_err::write(&key, "half").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    again(&bench, &name);
}

#[test]
fn metrics_count() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::default());
    let (_running, host) = serve(&dir, vec![Arc::clone(&metrics) as _], |_| ());
    let at = metrics.serve("127.0.0.1:0".parse().unwrap()).unwrap().to_string();
    pushed(&Bench::new(), &format!("{host}/team/app:1.0"));
    Bench::new().pull(&format!("{host}/team/app:1.0")).unwrap();
    ask(&host, "BREW", "/v2/", "", "");
    let (status, text) = ask(&at, "GET", "/metrics", "", "");
    assert_eq!(status, 200);
    let value = |line: &str| {
        let found = text.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{line} is not in {text}")).parse::<f64>().unwrap()
    };
    assert!(value(r#"cutover_registry_requests_total{method="GET",status="200"}"#) >= 4.0);
    assert!((value("cutover_registry_pushes_total") - 1.0).abs() < 0.1);
    assert!(value("cutover_registry_pulls_total") >= 1.0);
    assert!(value("cutover_registry_received_bytes_total") > 100.0);
    assert!(value("cutover_registry_request_seconds_count") > 5.0);
    assert!(text.contains(r#"method="other""#), "{text}");
    assert!(!text.contains("BREW") && text.trim_end().ends_with("# EOF"), "{text}");
    assert_eq!(ask(&at, "GET", "/", "", "").0, 404);
}

fn webhooks(url: String, secret: Option<&str>) -> Arc<Webhooks> {
    let options = WebhookOptions {
        urls: vec![url],
        secret: secret.map(str::to_owned),
        source: "https://registry.test".to_owned(),
        backoff: Duration::from_millis(5),
        tls: cutover_registry::Tls::default(),
        proxies: Proxies::default(),
        clock: || Duration::from_secs(1_800_000_000),
        random: || [0xab; 16],
    };
    Arc::new(Webhooks::start(&options).unwrap())
}

#[test]
fn webhooks_tell_of_pushes_and_deletions() {
    let failures = AtomicUsize::new(0);
    let receiver = Server::start(move |_| {
        let failed = failures.fetch_add(1, Ordering::SeqCst) < 2;
        Reply::new(if failed { 503 } else { 204 }, "")
    });
    let dir = tempfile::tempdir().unwrap();
    let hooks = webhooks(format!("http://{}/hook?key=x", receiver.host()), Some("it's a secret"));
    let (_running, host) = serve(&dir, vec![hooks], |_| ());
    let digest = pushed(&Bench::new(), &format!("{host}/team/app:latest"));
    let (status, _) = ask(&host, "DELETE", &format!("/v2/team/app/manifests/{digest}"), "", "");
    assert_eq!(status, 202);
    eventually("two events after two failures", || receiver.requests("/hook").len() >= 4);
    let requests = receiver.requests("/hook");
    let event =
        |request: &Request| serde_json::from_slice::<serde_json::Value>(&request.body).unwrap();
    assert_eq!(requests[0].body, requests[2].body, "the same event again, and no other before it");
    let first = event(&requests[2]);
    assert_eq!(first["specversion"], "1.0");
    assert_eq!(first["type"], "io.cutover.registry.push");
    assert_eq!(first["source"], "https://registry.test");
    assert_eq!(first["subject"], "team/app");
    assert_eq!(first["time"], "2027-01-15T08:00:00Z");
    assert_eq!(first["data"]["digest"], digest.as_str());
    assert_eq!(first["data"]["tags"][0], "latest");
    assert_eq!(first["data"]["actor"], "anonymous");
    let second = event(&requests[3]);
    assert_eq!(second["type"], "io.cutover.registry.delete");
    assert_ne!(first["id"], second["id"]);
    let request = &requests[2];
    assert_eq!(request.target, "/hook?key=x");
    let kind = request.header("content-type").unwrap();
    assert!(kind.starts_with("application/cloudevents+json"), "{kind}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"it's a secret");
    let expected = ring::hmac::sign(&key, &request.body);
    let expected = format!("sha256={}", cutover_core::digest::hex(expected.as_ref()));
    assert_eq!(request.header("x-cutover-signature"), Some(expected.as_str()));
}

#[test]
fn a_receiver_that_is_away_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let hooks = webhooks("http://127.0.0.1:1/".to_owned(), None);
    let (_running, host) = serve(&dir, vec![hooks], |_| ());
    let begun = Instant::now();
    pushed(&Bench::new(), &format!("{host}/team/app:latest"));
    assert!(begun.elapsed() < Duration::from_secs(10));
}
