//! Directories exchanged for symlinks while mounts are made below them (CVE-2021-30465, CVE-2024-45310).

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Canary;
use crate::bundle::Bundle;
use crate::mounts::bind;

/// Containers per race: enough for the attacker's loop to win thousands of exchanges.
const ROUNDS: usize = 40;

/// Exchanges two names until dropped.
struct Exchange {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Exchange {
    fn start(a: std::path::PathBuf, b: std::path::PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !seen.load(Ordering::Relaxed) {
                renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).expect("exchanged");
                count += 1;
            }
            count
        });
        Self { stop, thread: Some(thread) }
    }

    fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().expect("exchanger"))
    }
}

#[test]
fn in_a_shared_volume() {
    let canary = Canary::new();
    for to in [
        canary.path().display().to_string(),
        "/".to_owned(),
        "/proc".to_owned(),
        "/../../../../..".to_owned(),
    ] {
        let mut bundle = Bundle::new();
        let (shared, payload) = (bundle.path("shared"), bundle.path("payload"));
        fs_err::create_dir_all(shared.join("a")).expect("directory");
        fs_err::create_dir(&payload).expect("directory");
        fs_err::write(payload.join("null"), "attacker").expect("file");
        symlink(&to, shared.join("b")).expect("symlink");
        bundle.spec.mounts = vec![
            bind(&shared, "/shared"),
            bind(&payload, "/shared/a/null"),
            bind(&payload, "/shared/a/new/deep"),
            bind(&payload, "/shared/a/self/attr"),
        ];
        bundle.spec.cwd = "/shared/a/made".to_owned();
        let exchange = Exchange::start(shared.join("a"), shared.join("b"));
        let mut ran = 0;
        for _ in 0..ROUNDS {
            let output = bundle.sh("echo ran; [ -e /proc/self/status ] || echo 'no proc'");
            assert!(matches!(output.stdout.as_str(), "" | "ran\n"), "{}", output.stdout);
            ran += usize::from(output.code == 0);
        }
        let exchanged = exchange.finish();
        println!("{to}: {ran} of {ROUNDS} ran, {exchanged} exchanges");
        canary.is_alive();
    }
}

/// The source of a volume's subpath.
#[test]
fn in_a_subpath() {
    let canary = Canary::new();
    let mut bundle = Bundle::new();
    let shared = bundle.path("shared");
    fs_err::create_dir_all(shared.join("a/self")).expect("directory");
    symlink(canary.path(), shared.join("b")).expect("symlink");
    let mut mount = bind(&shared, "/v");
    let cutover_runtime::spec::MountKind::Bind { subpath, .. } = &mut mount.kind else {
        unreachable!()
    };
    *subpath = Some("a/self".to_owned());
    bundle.spec.mounts = vec![mount];
    let exchange = Exchange::start(shared.join("a"), shared.join("b"));
    for _ in 0..ROUNDS {
        let output = bundle.sh("cat /v/attr 2>/dev/null; touch /v/touched");
        assert!(!output.stdout.contains("canary"), "{}", output.stdout);
    }
    exchange.finish();
    canary.is_alive();
}
