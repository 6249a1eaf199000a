//! One more process in a running container: the same walls, the same codes.

use std::os::fd::AsFd;

use cutover_runtime::init::{self, ExitStatus};
use cutover_runtime::spec::ExecSpec;

use crate::bundle::{Bundle, Started, streams, strings};

fn running() -> (Bundle, Started) {
    let bundle = Bundle::new();
    let mut started = bundle.start("echo up; sleep 1000");
    started.wait_for("up\n");
    (bundle, started)
}

#[track_caller]
fn check(started: &Started, change: impl FnOnce(&mut ExecSpec), script: &str, expected: &str) {
    let mut exec = ExecSpec { args: strings(&["sh", "-c", script]), ..ExecSpec::default() };
    change(&mut exec);
    let output = started.exec_as(exec);
    assert_eq!((output.stdout.trim_end(), output.stderr.as_str()), (expected, ""));
    assert_eq!(output.code, 0);
}

#[test]
fn it_joins_everything() {
    let (_bundle, started) = running();
    for kind in ["net", "mnt", "ipc", "uts", "pid", "cgroup"] {
        let path = format!("/proc/{}/ns/{kind}", started.running.pid);
        let namespace = fs_err::read_link(path).expect("namespace");
        let script = format!("readlink /proc/self/ns/{kind}");
        check(&started, |_| (), &script, &namespace.to_string_lossy());
    }
    check(&started, |_| (), "hostname; pwd; cat /proc/1/comm", "box\n/\nsleep");
    check(&started, |_| (), "grep -v ':/$' /proc/self/cgroup | wc -l", "0");
}

#[test]
fn the_walls_are_the_containers() {
    let (_bundle, started) = running();
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\n\\t'";
    let expected = "CapInh:0000000000000000CapPrm:00000000a80425fbCapEff:00000000a80425fb\
        CapBnd:00000000a80425fbCapAmb:0000000000000000NoNewPrivs:1Seccomp:2";
    check(&started, |_| (), script, expected);
    // The filter itself takes part in the count of processes that could not be seen.
    let output = started.exec(&["unshare", "-m", "true"]);
    assert_ne!(output.code, 0);
}

#[test]
fn users_directories_and_environment() {
    let (_bundle, started) = running();
    check(
        &started,
        |exec| exec.user = "web".to_owned(),
        "id -u; id -G; echo $HOME",
        "33\n34 101\n/srv",
    );
    check(&started, |exec| exec.cwd = "/etc".to_owned(), "pwd", "/etc");
    check(&started, |exec| exec.env = strings(&["A=1"]), "echo $A", "1");
    let exec =
        ExecSpec { args: strings(&["pwd"]), cwd: "/missing".to_owned(), ..ExecSpec::default() };
    assert_eq!(
        started.exec_as(exec).stderr,
        "enter the working directory `/missing`: No such file or directory (os error 2)"
    );
}

#[test]
fn exit_codes() {
    let (_bundle, started) = running();
    for (args, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 42"], 42),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["nothing"], 127),
        (&["/etc/passwd"], 126),
        (&[], 125),
    ] {
        assert_eq!(started.exec(args).code, code, "{args:?}");
    }
}

/// Every one is reaped: the caller has no zombie left.
#[test]
fn nothing_is_left_of_it() {
    let (_bundle, started) = running();
    for args in [&["true"][..], &["nothing"]] {
        started.exec(args);
    }
    let children =
        format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero());
    let children = fs_err::read_to_string(children).expect("children");
    assert_eq!(children.trim(), started.running.pid.to_string());
}

#[test]
fn it_is_in_the_control_group() {
    let (_bundle, started) = running();
    let exec = ExecSpec { args: strings(&["sleep", "1000"]), ..ExecSpec::default() };
    let more = init::exec(&started.spec, started.running.pidfd.as_fd(), &exec, streams().0)
        .expect("executed");
    let cgroup = cutover_runtime::cgroup::Cgroup::open(&started.spec.cgroup).expect("name");
    assert!(cgroup.pids().expect("pids").contains(&more.pid));
    cgroup.kill_all().expect("killed");
    assert_eq!(more.wait().expect("waited"), ExitStatus::Signaled(9));
}

#[test]
fn a_paused_or_dead_container_is_refused() {
    let (_bundle, mut started) = running();
    let cgroup = cutover_runtime::cgroup::Cgroup::open(&started.spec.cgroup).expect("name");
    cgroup.freeze().expect("frozen");
    assert_eq!(started.exec(&["true"]).stderr, "invalid `container`: it is paused");
    cgroup.thaw().expect("thawed");
    assert_eq!(started.exec(&["true"]).code, 0);
    started.running.signal(9).expect("signal");
    started.wait();
    assert_eq!(started.exec(&["true"]).stderr, "invalid `container`: it is not running");
}
