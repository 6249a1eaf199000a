//! Overwriting the runtime's own executable from inside (CVE-2019-5736).
//!
//! The victim is a copy of this test program. It makes a container whose program is `/proc/self/exe`, the victim once
//! more, and ends. What then runs inside is the attacker's (an image chooses the libraries): it keeps the victim's file
//! open, becomes another program, so that the file is no longer busy, and writes to it.

use fs_err::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cutover_runtime::cgroup::Cgroup;
use cutover_runtime::init::{self, Created, Io, StartError};
use cutover_runtime::spec::Spec;
use cutover_runtime::sys::own_exe;

use crate::bundle::{Bundle, chain, streams, strings};
use crate::mounts::{bind, host_libraries};

const ATTACK: &str = "i=0; while [ $i -lt 100 ]; do \
    (echo overwritten > /proc/self/fd/0) 2> /shared/error && break; \
    i=$((i+1)); sleep 0.003; done; echo end > /shared/done";

/// Where the victim finds its orders: in its working directory.
const ORDERS: &str = "orders.json";

/// Whether the victim was overwritten, and what the attacker heard.
fn attacked(protect: bool) -> (bool, String) {
    let bundle = Bundle::new();
    let (place, shared) = (bundle.path("victim"), bundle.path("shared"));
    for path in [&place, &shared] {
        fs_err::create_dir(path).expect("directory");
    }
    let victim = place.join("victim");
    fs_err::copy(std::env::current_exe().expect("this program"), &victim).expect("copy");
    let mut mounts = host_libraries();
    mounts.push(bind(&shared, "/shared"));
    let attacker = "escape::executable::as_the_attacker";
    let spec = Spec {
        args: strings(&["/proc/self/exe", "--exact", attacker, "--ignored", "--nocapture"]),
        mounts,
        ..bundle.spec.clone()
    };
    fs_err::write(place.join(ORDERS), serde_json::to_string(&spec).expect("orders")).expect("file");
    let before = fs_err::read(&victim).expect("victim");

    let role = if protect { "as_the_protected_victim" } else { "as_the_bare_victim" };
    let role = format!("escape::executable::{role}");
    let output = Command::new(&victim)
        .args(["--exact", &role, "--ignored", "--nocapture"])
        .current_dir(&place)
        .output()
        .expect("victim");
    assert!(output.status.success(), "{output:?}");
    let end = shared.join("done");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !end.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let cgroup = Cgroup::open(&spec.cgroup).expect("name");
    cgroup.kill_all().and_then(|()| cgroup.remove()).expect("removed");
    let log = fs_err::read_to_string(place.join("log")).unwrap_or_default();
    assert!(end.exists(), "the attack did not run: {output:?} {log}");
    let error = fs_err::read_to_string(shared.join("error")).unwrap_or_default();
    (fs_err::read(&victim).expect("victim") != before, error)
}

/// Not a test of its own: what the first copy runs.
#[test]
#[ignore = "run by the tests below, as a copy of this program"]
fn as_the_protected_victim() {
    if Path::new(ORDERS).exists() {
        own_exe::ensure().expect("run again from a read-only mount");
        assert!(own_exe::is_protected());
        obey();
    }
}

/// Not a test of its own: what the second copy runs.
#[test]
#[ignore = "run by the tests below, as a copy of this program"]
fn as_the_bare_victim() {
    if Path::new(ORDERS).exists() {
        assert!(!own_exe::is_protected());
        own_exe::accept_unprotected();
        obey();
    }
}

fn obey() {
    let orders = fs_err::read_to_string(ORDERS).expect("orders");
    let spec: Spec = serde_json::from_str(&orders).expect("orders");
    let log = || std::fs::File::from(File::create("log").expect("log")).into();
    let io = Io::Streams { stdin: log(), stdout: log(), stderr: log() };
    let started = init::create(&spec, io).map_err(StartError::from).and_then(Created::start);
    if let Err(error) = started {
        panic!("{}", chain(&error));
    }
}

/// Not a test of its own: what runs inside.
#[test]
#[ignore = "run by the tests below, as the program of a container"]
fn as_the_attacker() {
    if std::process::id() != 1 {
        return;
    }
    let victim = File::open("/proc/self/exe").expect("the victim");
    let error = Command::new("/bin/busybox")
        .args(["sh", "-c", ATTACK])
        .stdin(std::fs::File::from(victim))
        .exec();
    panic!("{error}");
}

#[test]
fn an_executable_behind_a_read_only_mount() {
    let (overwritten, error) = attacked(true);
    assert!(!overwritten, "the executable was overwritten");
    assert!(error.contains("Read-only file system"), "{error}");
}

/// The same attack succeeds without the defence: the probe bites.
#[test]
fn an_executable_without_it() {
    let (overwritten, error) = attacked(false);
    assert!(overwritten, "{error}");
}

#[test]
fn without_it_nothing_is_made() {
    let exe = std::env::current_exe().expect("this program");
    let role = ["--exact", "escape::executable::as_the_careless", "--ignored", "--nocapture"];
    assert!(Command::new(exe).args(role).status().expect("this program").success());
}

/// Not a test of its own: accepting is for the whole process, so refusing needs a fresh one.
#[test]
#[ignore = "run by the test above"]
fn as_the_careless() {
    if own_exe::is_protected() {
        return;
    }
    let error = init::create(&Spec::default(), streams().0).expect_err("refused");
    assert!(matches!(error, init::CreateError::Unprotected));
}

/// Nobody inside may follow the links of a process that is just joining.
#[test]
fn joining_processes() {
    let bundle = Bundle::new();
    let hunter = "echo up; while :; do for p in /proc/[0-9]*; do \
        e=$(readlink $p/exe) && case $e in /bin/busybox) ;; *) echo caught $e ;; esac; done; done 2>/dev/null";
    let mut started = bundle.start(hunter);
    started.wait_for("up\n");
    for _ in 0..30 {
        assert_eq!(started.exec(&["true"]).code, 0);
    }
    started.running.signal(9).expect("signal");
    started.wait();
    let mut caught = String::new();
    std::io::Read::read_to_string(&mut started.out, &mut caught).expect("output");
    assert_eq!(caught, "");
}
