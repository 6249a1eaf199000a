//! Limits in force.

use cutover_runtime::cgroup::Cgroup;
use cutover_runtime::spec::Resources;

use crate::bundle::Bundle;

fn with(resources: Resources) -> Bundle {
    let mut bundle = Bundle::new();
    bundle.spec.resources = resources;
    bundle
}

#[test]
fn too_much_memory() {
    let resources =
        Resources { memory: Some(16 << 20), memory_swap: Some(16 << 20), ..Resources::default() };
    let bundle = with(resources);
    let script = "echo up; dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?; sleep 1000";
    let mut started = bundle.start(script);
    started.wait_for("up\n137\n");
    let stats = Cgroup::open(&bundle.spec.cgroup).and_then(|cgroup| cgroup.stats()).expect("stats");
    assert_eq!(stats.memory_limit, Some(16 << 20));
    assert!(stats.oom_kills > 0 && stats.memory > 0 && stats.pids > 0, "{stats:?}");
}

#[test]
fn a_fork_bomb() {
    let bundle = with(Resources { pids: Some(20), ..Resources::default() });
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do sleep 1000 & done; echo all";
    let output = bundle.sh(script);
    assert!(output.stderr.contains("can't fork"), "{}", output.stderr);
    assert_ne!(output.stdout, "all\n");
}

#[test]
fn everything_is_killed_at_once() {
    let bundle = Bundle::new();
    let mut started = bundle
        .start("for i in 1 2 3 4 5; do setsid sleep 1000 & done; trap '' TERM; echo up; wait");
    started.wait_for("up\n");
    let cgroup = Cgroup::open(&bundle.spec.cgroup).expect("name");
    assert!(cgroup.pids().expect("pids").len() >= 2);
    cgroup.kill_all().expect("killed");
    assert_eq!(started.wait().code(), 137);
    cgroup.remove().expect("empty");
}

#[test]
fn pause_and_go_on() {
    let mut bundle = Bundle::new();
    let shared = bundle.path("shared");
    fs_err::create_dir(&shared).expect("directory");
    bundle.spec.mounts = vec![crate::mounts::bind(&shared, "/shared")];
    let mut started =
        bundle.start("echo up; while [ ! -e /shared/go ]; do :; done; echo went on; exit 3");
    started.wait_for("up\n");
    let cgroup = Cgroup::open(&bundle.spec.cgroup).expect("name");
    cgroup.freeze().expect("frozen");
    assert!(cgroup.frozen().expect("state"));
    fs_err::write(shared.join("go"), "").expect("file");
    assert_eq!(started.running.try_wait().expect("state"), None);
    cgroup.thaw().expect("thawed");
    assert!(!cgroup.frozen().expect("state"));
    started.wait_for("went on\n");
    assert_eq!(started.wait().code(), 3);
}

#[test]
fn what_cannot_be_enforced_is_said() {
    let bundle = with(Resources { cpuset_cpus: Some("4000".to_owned()), ..Resources::default() });
    let output = bundle.sh("true");
    assert_eq!(output.code, 125);
    assert!(output.stderr.starts_with("write control group file `"), "{}", output.stderr);
    assert!(!Cgroup::open(&bundle.spec.cgroup).expect("name").exists());
}
