//! Concurrency, and what is there after the registry was killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cutover_core::Digest;
use cutover_registry::server::start;

use super::client::Client;
use super::{Registry, movable, options};

const DATA: &str = "CUTOVER_TEST_REGISTRY_DATA";

/// Not a test: the registry that the others kill.
#[test]
#[ignore = "started by other tests"]
#[expect(clippy::disallowed_methods, reason = "a test tells its child where to work")]
fn child() {
    let Ok(data) = std::env::var(DATA) else { return };
    let running = start(options(data.as_ref())).unwrap();
    println!("port {}", running.addresses()[0].port());
    std::thread::park();
}

struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(data: &std::path::Path) -> Self {
        Self::of(&mut Command::new(std::env::current_exe().unwrap()), data)
    }

    /// One whose disk has so many megabytes.
    fn on_a_small_disk(data: &std::path::Path, megabytes: u32) -> Self {
        let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\" && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &mount]);
        Self::of(command.arg(data).arg(std::env::current_exe().unwrap()), data)
    }

    fn of(command: &mut Command, data: &std::path::Path) -> Self {
        let mut child = command
            .args(["serve::crash::child", "--exact", "--ignored", "--nocapture"])
            .env(DATA, data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ports = lines.filter_map(|line| {
            let line = line.unwrap();
            line.split_once("port ").and_then(|(_, port)| port.trim().parse().ok())
        });
        let port = ports.next().expect("it says its port");
        Self { child, port }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Everything that was acknowledged is there, and an upload goes on where it was.
#[test]
fn killed_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let process = Process::start(&data);
    let mut client = Client::connect(process.port);
    let digest = client.push_image("a", "1.0.0", "x");
    let at = client.begin("b/c");
    let bytes = [9; 300_000];
    client.send("PATCH", &at, &[("content-range", "0-199999")], &bytes[..200_000]).expect(202);
    process.kill();

    let process = Process::start(&data);
    let mut client = Client::connect(process.port);
    assert_eq!(Digest::sha256(&client.get("/v2/a/manifests/1.0.0").expect(200).body), digest);
    assert_eq!(client.push_manifest("a", "1.0.0", b"{}").short(), "409 DENIED");
    assert_eq!(client.get(&at).expect(204).header("range"), "0-199999");
    let blob = Digest::sha256(&bytes);
    let path = format!("{at}?digest={blob}");
    client.send("PUT", &path, &[("content-range", "200000-299999")], &bytes[200_000..]).expect(201);
    assert_eq!(client.get(&format!("/v2/b/c/blobs/{blob}")).expect(200).body, bytes);
    process.kill();
}

/// Killed at any moment of many pushes: whatever was answered with 201 is there, whole.
#[test]
fn killed_while_pushing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let process = Process::start(&data);
    let port = process.port;
    let pushers: Vec<_> =
        (0..4).map(|pusher| std::thread::spawn(move || push_until_killed(port, pusher))).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    // some way into it
    while PUSHED.load(Ordering::SeqCst) < 100 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    process.kill();
    let acknowledged: Vec<_> =
        pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()).collect();
    assert!(!acknowledged.is_empty());
    let process = Process::start(&data);
    let mut client = Client::connect(process.port);
    for path in &acknowledged {
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{path} was acknowledged and is gone");
        assert_eq!(Digest::sha256(&answer.body).as_str(), answer.header("docker-content-digest"));
    }
    process.kill();
}

/// Manifests that were acknowledged.
static PUSHED: AtomicUsize = AtomicUsize::new(0);

/// Pushes until the connection ends; what was acknowledged.
fn push_until_killed(port: u16, pusher: u32) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let (bytes, kept) = (format!("{pusher} {number}"), &mut acknowledged);
        let pushed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut client = Client::connect(port);
            let digest = client.push_blob("a", bytes.as_bytes());
            kept.push(format!("/v2/a/blobs/{digest}"));
            let tag = format!("t{pusher}-{number}");
            let text = format!("{{\"config\":{{\"digest\":\"{digest}\"}}}}");
            client.push_manifest("a", &tag, text.as_bytes()).expect(201);
            kept.push(format!("/v2/a/manifests/{tag}"));
            PUSHED.fetch_add(1, Ordering::SeqCst);
        }));
        if pushed.is_err() {
            break;
        }
    }
    acknowledged
}

#[test]
fn the_same_blob_at_the_same_time() {
    let registry = Registry::start();
    let bytes: Vec<u8> = vec![5; 400_000];
    let digest = Digest::sha256(&bytes);
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (registry, barrier, bytes, digest) = (&registry, &barrier, &bytes, &digest);
            scope.spawn(move || {
                let (mut client, name) = (registry.client(), format!("r{}", number % 3));
                let at = client.begin(&name);
                barrier.wait();
                client.send("PUT", &format!("{at}?digest={digest}"), &[], bytes).expect(201);
            });
        }
    });
    let mut client = registry.client();
    for name in ["r0", "r1", "r2"] {
        assert!(client.get(&format!("/v2/{name}/blobs/{digest}")).expect(200).body == bytes);
    }
}

/// A tag that many push at once is one of them, and its history is a chain without gaps.
#[test]
fn one_tag_pushed_by_many() {
    let registry = Registry::with_policy(movable);
    let fixed = Registry::start();
    let barrier = Barrier::new(8);
    let created: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (registry, fixed, barrier) = (&registry, &fixed, &barrier);
                scope.spawn(move || {
                    let (mut client, mut other) = (registry.client(), fixed.client());
                    barrier.wait();
                    for round in 0..10 {
                        let text = format!("{{\"n\":\"{number}-{round}\"}}");
                        client.push_manifest("a", "latest", text.as_bytes()).expect(201);
                    }
                    let text = format!("{{\"n\":\"{number}\"}}");
                    let answer = other.push_manifest("a", "1.2.3", text.as_bytes());
                    assert!(matches!(answer.status, 201 | 409), "{answer:?}");
                    usize::from(answer.status == 201)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(created, 1, "an immutable tag was set by several");
    let mut client = registry.client();
    let history = client.get("/v2/a/_cutover/tags/history?n=1000").expect(200).json();
    let history = history["history"].as_array().unwrap();
    assert_eq!(history.len(), 80);
    for pair in history.windows(2) {
        assert_eq!(pair[0]["old"], pair[1]["new"]);
    }
    let now = client.get("/v2/a/manifests/latest").expect(200);
    assert_eq!(history[0]["new"], now.header("docker-content-digest"));
}

/// Refused with 507, nothing half-written is seen, and it goes on when there is room again.
#[test]
fn a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::on_a_small_disk(dir.path(), 12);
    let mut client = Client::connect(process.port);
    let piece: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    let kept = client.push_image("a", "latest", "kept");
    let mut filled = Vec::new();
    let refused = loop {
        let bytes = [&[u8::try_from(filled.len()).unwrap()], &piece[..]].concat();
        let digest = Digest::sha256(&bytes);
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        let answer = client.send("POST", &path, &[], &bytes);
        if answer.status != 201 {
            assert_eq!(answer.short(), "507 UNKNOWN");
            client = Client::connect(process.port);
            break digest;
        }
        filled.push(digest);
        assert!(filled.len() < 10, "the disk does not get full");
    };
    assert_eq!(client.head(&format!("/v2/a/blobs/{refused}")).status, 404);
    // one whose size is not said beforehand is cut off in the middle
    let at = client.begin("a");
    let mut body = Vec::new();
    for _ in 0..4 {
        body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        body.extend_from_slice(&piece);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    let answer = client.send("PATCH", &at, &[("transfer-encoding", "chunked")], &body);
    assert_eq!(answer.short(), "507 UNKNOWN");
    let mut client = Client::connect(process.port);
    client.delete(&at).expect(204);
    for digest in filled {
        assert_eq!(client.get(&format!("/v2/a/blobs/{digest}")).expect(200).body.len(), 3_000_001);
    }
    client.get(&format!("/v2/a/manifests/{kept}")).expect(200);
    client.push_image("a", "latest", "there is room for a small one");
    process.kill();
}
