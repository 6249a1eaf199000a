//! Who may do what at the embedded registry, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cutover_core::Reference;
use cutover_registry::server::access::robots::{NewRobot, Robots};
use cutover_registry::server::access::{Access, AccessOptions};
use cutover_registry::server::{Ambient, Buckets, Guard, Options, Running, start};
use cutover_registry::{Basic, Credential, Silent, log_in, push};

use crate::fixture::{Bench, Content};

const BEGIN: u64 = 1_800_000_000;

fn clock() -> Duration {
    Duration::from_secs(BEGIN)
}

fn random() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    bytes
}

pub(crate) fn options(dir: &Path) -> Options {
    let ambient = Ambient { now: || Duration::from_secs(BEGIN), random };
    let mut options = Options::new(dir.join("data"), ambient);
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    options.threads = 1;
    options
}

/// A registry with `me:secret`, and the tokens `reader` and `writer` of `team/*`.
pub(crate) struct Guarded {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) reader: String,
    pub(crate) writer: String,
    pub(crate) host: String,
    _running: Running,
}

impl Guarded {
    pub(crate) fn start(choose: impl FnOnce(&mut AccessOptions, &mut Guard)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (htpasswd, tokens) = (dir.path().join("htpasswd"), dir.path().join("tokens.json"));
        fs_err::write(&htpasswd, line("me", "secret")).unwrap();
        let mut robots = Robots::default();
        let mut robot = |name, right: &str, seed| {
            let rights = vec![right.parse().unwrap()];
            let new = NewRobot { name, rights, created: BEGIN, expires: Some(BEGIN + 1000) };
            robots.create(new, &[seed; 32]).unwrap()
        };
        let (reader, writer) =
            (robot("reader", "pull:*", 1), robot("writer", "pull,push:team/*", 2));
        robots.write(&tokens).unwrap();
        let mut access = AccessOptions {
            htpasswd: Some(htpasswd),
            tokens: Some(tokens),
            anonymous_pull: false,
            public_url: None,
            tls: false,
            key: [3; 32],
            clock,
        };
        let mut guard = Guard::default();
        choose(&mut access, &mut guard);
        guard.access = Some(Access::open(access).unwrap());
        let mut options = options(dir.path());
        options.gate = Arc::new(guard);
        let running = start(options).unwrap();
        let host = running.addresses()[0].to_string();
        Self { dir, reader, writer, host, _running: running }
    }

    fn ask(&self, method: &str, path: &str, authorization: Option<&str>) -> (u16, String) {
        let header = authorization.map(|it| format!("authorization: {it}\r\n")).unwrap_or_default();
        ask(&self.host, method, path, &header, "")
    }

    fn token(&self, query: &str, authorization: Option<&str>) -> Option<String> {
        let (status, answer) = self.ask("GET", &format!("/token?{query}"), authorization);
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let answer: serde_json::Value = serde_json::from_str(body).unwrap();
        (status == 200).then(|| answer["token"].as_str().unwrap().to_owned())
    }
}

/// Asks again until `check` says yes: there is nothing to wait for but the time.
fn eventually(mut check: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(std::time::Instant::now() < deadline, "never happened");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn line(name: &str, password: &str) -> String {
    format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
}

/// One request; status and the whole answer.
pub(crate) fn ask(
    host: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

fn basic(name: &str, password: &str) -> String {
    let plain = format!("{name}:{password}");
    format!("Basic {}", data_encoding::BASE64.encode(plain.as_bytes()))
}

fn credential(name: &str, password: &str) -> Credential {
    Basic { username: name.to_owned(), password: password.to_owned() }.into()
}

#[test]
fn nobody_is_told_where_to_get_a_token() {
    let registry = Guarded::start(|_, _| ());
    let host = &registry.host;
    let check = |method: &str, path: &str, scope: &str| {
        let (status, answer) = registry.ask(method, path, None);
        assert_eq!(status, 401, "{answer}");
        let expected = format!(
            "www-authenticate: Bearer realm=\"http://{host}/token\",service=\"{host}\"{scope}\r\n"
        );
        assert!(answer.contains(&expected), "{answer}");
        assert!(answer.contains(r#""code":"UNAUTHORIZED""#), "{answer}");
    };
    check("GET", "/v2/", "");
    check("GET", "/v2/_catalog", ",scope=\"registry:catalog:*\"");
    check("GET", "/v2/team/app/manifests/1", ",scope=\"repository:team/app:pull\"");
    check("POST", "/v2/team/app/blobs/uploads/", ",scope=\"repository:team/app:pull,push\"");
    check("DELETE", "/v2/team/app/manifests/1", ",scope=\"repository:team/app:pull,delete\"");
    assert_eq!(registry.ask("GET", "/nothing", None).0, 404);
}

#[test]
fn people_and_tokens_by_basic() {
    let registry = Guarded::start(|_, _| ());
    let check = |method: &str, path: &str, name: &str, password: &str, expected: u16| {
        let (status, answer) = registry.ask(method, path, Some(&basic(name, password)));
        assert_eq!(status, expected, "{name} {method} {path}: {answer}");
    };
    let (reader, writer) = (registry.reader.as_str(), registry.writer.as_str());
    let upload = "/v2/team/app/blobs/uploads/";
    check("GET", "/v2/", "me", "secret", 200);
    check("GET", "/v2/", "me", "wrong", 401);
    check("GET", "/v2/", "you", "secret", 401);
    check("GET", "/v2/_catalog", "me", "secret", 200);
    check("POST", upload, "me", "secret", 202);
    check("GET", "/v2/", "any", reader, 200);
    check("GET", "/v2/team/app/manifests/1", "any", reader, 404);
    check("POST", upload, "any", reader, 403);
    check("GET", "/v2/_catalog", "any", reader, 403);
    check("POST", upload, "any", writer, 202);
    check("POST", "/v2/other/app/blobs/uploads/", "any", writer, 403);
    check("DELETE", "/v2/team/app/manifests/1", "any", writer, 403);
    check("GET", "/v2/", "any", &format!("{writer}x"), 401);
    let (status, _) = registry.ask("POST", upload, Some(&format!("Bearer {writer}")));
    assert_eq!(status, 202, "a token as it is");
    assert_eq!(registry.ask("GET", "/v2/", Some("Digest x")).0, 401);
}

#[test]
fn tokens_for_minutes() {
    let registry = Guarded::start(|_, _| ());
    let me = basic("me", "secret");
    let bearer = |token: String| format!("Bearer {token}");
    let token = registry.token("service=x&scope=repository:team/app:pull", Some(&me)).unwrap();
    let check = |token: &str, method: &str, path: &str, expected: u16| {
        let (status, answer) = registry.ask(method, path, Some(token));
        assert_eq!(status, expected, "{method} {path}: {answer}");
        answer
    };
    let upload = "/v2/team/app/blobs/uploads/";
    let pull = bearer(token);
    check(&pull, "GET", "/v2/", 200);
    check(&pull, "GET", "/v2/team/app/manifests/1", 404);
    let answer = check(&pull, "POST", upload, 401);
    assert!(answer.contains(r#"error="insufficient_scope""#), "{answer}");
    let both = "scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository:other:pull";
    let both = bearer(registry.token(both, Some(&me)).unwrap());
    check(&both, "POST", upload, 202);
    check(&both, "GET", "/v2/other/manifests/1", 404);
    check(&both, "GET", "/v2/third/manifests/1", 401);
    let robot = basic("ci", &registry.reader);
    let robot = registry.token("scope=repository:team/app:pull,push", Some(&robot)).unwrap();
    check(&bearer(robot), "POST", upload, 401);
    assert_eq!(registry.token("", None), None);
    assert_eq!(registry.token("", Some(&basic("me", "wrong"))), None);
    // containerd's way
    let form = "grant_type=password&username=me&password=secret&scope=repository:team/app:push";
    let (status, answer) = ask(&registry.host, "POST", "/token", "", form);
    assert!(status == 200 && answer.contains("access_token"), "{answer}");
    let (status, _) = ask(&registry.host, "POST", "/token", "", "grant_type=refresh_token");
    assert_eq!(status, 400);
    let (status, _) = ask(&registry.host, "POST", "/token", "", &"x".repeat(20_000));
    assert_eq!(status, 400);
}

#[test]
fn a_token_ends_with_its_holder_and_its_time() {
    let registry = Guarded::start(|_, _| ());
    let me = registry.token("scope=repository:a:pull", Some(&basic("me", "secret"))).unwrap();
    let me = format!("Bearer {me}");
    assert_eq!(registry.ask("GET", "/v2/a/manifests/1", Some(&me)).0, 404);
    fs_err::write(registry.dir.path().join("htpasswd"), line("other", "secret")).unwrap();
    let tokens = registry.dir.path().join("tokens.json");
    let mut robots = Robots::read(&tokens).unwrap();
    robots.remove("reader").unwrap();
    robots.write(&tokens).unwrap();
    // the files are looked at once a second
    eventually(|| registry.ask("GET", "/v2/a/manifests/1", Some(&me)).0 == 401);
    let other = basic("other", "secret");
    assert_eq!(registry.ask("GET", "/v2/", Some(&other)).0, 200, "a new name");
    eventually(|| registry.ask("GET", "/v2/", Some(&basic("x", &registry.reader))).0 == 401);
}

#[test]
fn anonymous_pull() {
    let registry = Guarded::start(|access, _| access.anonymous_pull = true);
    assert_eq!(registry.ask("GET", "/v2/", None).0, 401, "or nobody would ever log in");
    assert_eq!(registry.ask("GET", "/v2/team/app/manifests/1", None).0, 404);
    assert_eq!(registry.ask("GET", "/v2/_catalog", None).0, 401);
    assert_eq!(registry.ask("POST", "/v2/team/app/blobs/uploads/", None).0, 401);
    let token = registry.token("scope=repository:team/app:pull,push", None).unwrap();
    let token = format!("Bearer {token}");
    assert_eq!(registry.ask("GET", "/v2/", Some(&token)).0, 200);
    assert_eq!(registry.ask("GET", "/v2/team/app/manifests/1", Some(&token)).0, 404);
    assert_eq!(registry.ask("POST", "/v2/team/app/blobs/uploads/", Some(&token)).0, 401);
}

#[test]
fn guessing_is_slowed_down_but_not_for_who_is_known() {
    let registry = Guarded::start(|_, _| ());
    assert_eq!(registry.ask("GET", "/v2/", Some(&basic("me", "secret"))).0, 200);
    let guesses: Vec<u16> = (0..12)
        .map(|it| registry.ask("GET", "/v2/", Some(&basic("me", &format!("guess{it}")))).0)
        .collect();
    assert_eq!(guesses[..10], [401; 10]);
    assert_eq!(guesses[10..], [429; 2], "{guesses:?}");
    let (_, answer) = registry.ask("GET", "/v2/", Some(&basic("other", "x")));
    assert!(answer.contains("retry-after: "), "{answer}");
    assert_eq!(registry.ask("GET", "/v2/", Some(&basic("me", "secret"))).0, 200);
    assert_eq!(registry.ask("GET", "/v2/", Some(&basic("x", &registry.reader))).0, 200);
}

#[test]
fn so_many_requests_a_second() {
    let registry = Guarded::start(|_, guard| guard.rate = Some(Buckets::new(0.01, 3.0)));
    let me = basic("me", "secret");
    let statuses: Vec<u16> = (0..4).map(|_| registry.ask("GET", "/v2/", Some(&me)).0).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
}

#[test]
fn our_own_client_logs_in_and_pushes() {
    let registry = Guarded::start(|_, _| ());
    let host = &registry.host;
    let mut bench = Bench::new();
    log_in(host, &credential("me", "secret"), &bench.options).unwrap();
    assert!(log_in(host, &credential("me", "wrong"), &bench.options).is_err());
    let content = Content::image(2);
    for blob in content.blobs.values() {
        bench.store.blobs().put(blob).unwrap();
    }
    let (_, manifest) = &content.manifests["1.0"];
    let digest = bench.store.blobs().put(manifest).unwrap();
    let reference: Reference = format!("{host}/team/app:1.0").parse().unwrap();
    let denied = push(&bench.store, &digest, &reference, &bench.options, &Silent).unwrap_err();
    assert!(denied.cause.to_string().contains("denied"), "{denied:?}");
    bench.options.auth = Some(credential("ci", &registry.writer));
    push(&bench.store, &digest, &reference, &bench.options, &Silent).unwrap();
    let elsewhere: Reference = format!("{host}/other/app:1.0").parse().unwrap();
    assert!(push(&bench.store, &digest, &elsewhere, &bench.options, &Silent).is_err());
    let mut other = Bench::new();
    other.options.auth = Some(credential("ci", &registry.reader));
    other.pull(&reference.to_string()).unwrap();
}
