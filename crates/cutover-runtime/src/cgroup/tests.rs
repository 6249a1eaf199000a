use std::process::{Child, Command, Stdio};

use super::*;

/// A group that is removed in the end, whatever happens.
struct Scratch(Cgroup);

impl Scratch {
    fn new(test: &str, resources: &Resources) -> Self {
        let name = format!("test-{test}-{}", std::process::id());
        Self(Cgroup::create(&name, resources, Some(&devices::DEFAULT)).expect("control group"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.0.kill_all());
        self.0.remove().expect("removal");
    }
}

/// A child in the group, moved from outside as only tests may do.
fn sleeper(cgroup: &Cgroup) -> Child {
    let mut child = Command::new("/bin/sleep");
    let child = child.arg("1000").stdout(Stdio::null()).spawn().expect("sleep");
    for (_, path) in cgroup.groups().filter(|(_, path)| path.exists()) {
        Dir::open(&path)
            .and_then(|dir| dir.write("cgroup.procs", &child.id().to_string()))
            .expect("move");
    }
    child
}

#[test]
fn names_stay_below_ours() {
    let check = |name: &str, valid: bool| assert_eq!(Cgroup::open(name).is_ok(), valid, "{name:?}");
    check("abc-1_2.3", true);
    check("app/abc", true);
    for name in ["", ".", "..", "a/../b", "/a", "a//b", "a b", "a\n", ".hidden"] {
        check(name, false);
    }
}

#[test]
fn limits_are_in_force_and_removed() {
    let resources = Resources {
        memory: Some(64 << 20),
        pids: Some(9),
        cpus: Some(0.5),
        cpuset_cpus: Some("0".to_owned()),
        ..Resources::default()
    };
    let scratch = Scratch::new("limits", &resources);
    let stats = scratch.0.stats().expect("stats");
    assert_eq!((stats.memory_limit, stats.pids_limit), (Some(64 << 20), Some(9)));
    let cgroup = scratch.0.clone();
    assert!(cgroup.exists());
    drop(scratch);
    assert!(!cgroup.exists());
    cgroup.remove().expect("removing nothing");
}

#[test]
fn freezing_killing_and_counting() {
    let scratch = Scratch::new("freeze", &Resources::default());
    let mut child = sleeper(&scratch.0);
    assert_eq!(scratch.0.pids().expect("pids"), [child.id().cast_signed()]);
    scratch.0.freeze().expect("freeze");
    assert!(scratch.0.frozen().expect("state"));
    scratch.0.kill_all().expect("kill a frozen group");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&child.wait().expect("wait")),
        Some(9)
    );
    scratch.0.thaw().expect("thaw");
}

#[test]
fn what_outlives_its_starter_has_a_group() {
    let v2 = Hierarchies::of_this_machine().expect("hierarchies").v2().cloned();
    let Some(v2) = v2 else {
        println!("SKIPPED: no v2 hierarchy is mounted");
        return;
    };
    let mut child = Command::new("/bin/sleep").arg("1000").spawn().expect("sleep");
    outlive(child.id());
    let procs =
        fs_err::read_to_string(v2.group("cutover/host").join("cgroup.procs")).expect("processes");
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert!(procs.lines().any(|pid| pid == child.id().to_string()), "{procs}");
}

#[test]
fn an_occupied_group_is_not_taken_over() {
    let scratch = Scratch::new("busy", &Resources::default());
    let mut child = sleeper(&scratch.0);
    let error = Cgroup::create(scratch.0.name(), &Resources::default(), None).expect_err("busy");
    assert!(matches!(error, CgroupError::Busy { .. }));
    assert!(scratch.0.exists(), "a refusal removes nothing");
    scratch.0.kill_all().expect("kill");
    child.wait().expect("wait");
}

/// Without `cgroup.kill`, as on kernels that have only v1.
#[test]
fn killing_one_by_one() {
    let scratch = Scratch::new("each", &Resources::default());
    let mut child = sleeper(&scratch.0);
    scratch.0.kill_each().expect("kill");
    child.wait().expect("wait");
}

/// The v2 program, attached to the v2 group even where v1 would do: there, nothing else restricts devices.
#[test]
fn the_device_program_decides() {
    use std::io::{Read, Write};
    let name = format!("test-bpf-{}", std::process::id());
    let cgroup = Cgroup::create(&name, &Resources::default(), None).expect("control group");
    let scratch = Scratch(cgroup);
    let Some(group) = scratch.0.unified() else {
        println!("SKIPPED: no v2 hierarchy is mounted");
        return;
    };
    devices::attach(&group, &devices::DEFAULT).expect("attached");
    let dir = tempfile::tempdir().expect("temporary directory");
    let script = "read go; for d in '1 3' '1 5' '1 11' '5 0' '10 237'; do mknod d c $d && echo made && \
        dd if=d of=/dev/null count=0 2>/dev/null && echo $d; rm d; done";
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("shell");
    let group = Dir::open(&group).expect("group");
    group.write("cgroup.procs", &child.id().to_string()).expect("moved");
    child.stdin.take().expect("stdin").write_all(b"go\n").expect("written");
    let mut text = String::new();
    child.stdout.take().expect("stdout").read_to_string(&mut text).expect("output");
    child.wait().expect("wait");
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        ["made", "1 3", "made", "1 5", "made", "made", "made"]
    );
}
