//! The first process: what it is, what it sees, how it ends.

use cutover_runtime::init::{self, ExitStatus};
use cutover_runtime::spec::{Network, Sharing, Spec, Ulimit};

use crate::bundle::{Bundle, streams, strings};

#[track_caller]
fn check(change: impl FnOnce(&mut Spec), script: &str, expected: &str) {
    let mut bundle = Bundle::new();
    change(&mut bundle.spec);
    let output = bundle.sh(script);
    assert_eq!((output.stdout.trim_end(), output.stderr.as_str()), (expected, ""));
    assert_eq!(output.code, 0);
}

#[test]
fn it_is_alone_and_named() {
    check(|_| (), "echo $$; hostname; pwd; set -- /proc/[0-9]*; echo $#", "1\nbox\n/\n1");
    check(|spec| spec.hostname = "other".to_owned(), "hostname", "other");
    check(|_| (), "cat /proc/self/cgroup | grep -v ':/$' | wc -l", "0");
}

#[test]
fn environment_and_home() {
    check(
        |spec| spec.env = strings(&["A=b c"]),
        "env | grep -v ^PATH | sort",
        "A=b c\nHOME=/root\nPWD=/\nSHLVL=1",
    );
    check(|spec| spec.env = strings(&["HOME=/x"]), "echo $HOME", "/x");
}

#[test]
fn users_of_the_image() {
    let user = |user: &'static str| move |spec: &mut Spec| spec.user = user.to_owned();
    let script = "id -u; id -g; id -G; echo $HOME";
    check(user(""), script, "0\n0\n0\n/root");
    check(user("web"), script, "33\n34\n34 101\n/srv");
    check(user("web:ssl"), script, "33\n101\n101\n/srv");
    check(user("1234:5678"), script, "1234\n5678\n5678\n/");
    let mut bundle = Bundle::new();
    for (user, expected) in [
        ("nobody", "invalid `user`: no user `nobody` in the container"),
        ("4294967296", "invalid `user`: user number `4294967296` is out of range"),
    ] {
        bundle.spec.user = user.to_owned();
        let output = bundle.sh("id");
        assert_eq!((output.code, output.stderr.as_str()), (125, expected));
    }
}

#[test]
fn working_directories() {
    let cwd = |cwd: &'static str| move |spec: &mut Spec| spec.cwd = cwd.to_owned();
    check(cwd("/etc"), "pwd", "/etc");
    check(cwd("/made/on/the/way"), "pwd; stat -c %a /made/on", "/made/on/the/way\n755");
    let mut bundle = Bundle::new();
    bundle.spec.cwd = "/etc/passwd/x".to_owned();
    assert_eq!(
        bundle.sh("pwd").stderr,
        "create the working directory `/etc/passwd/x`: Not a directory (os error 20)"
    );
}

#[test]
fn exit_codes() {
    let bundle = Bundle::new();
    fs_err::write(bundle.image("etc/data"), "not a program").expect("file");
    fs_err::write(bundle.image("bin/garbage"), "\x7fgarbage").expect("file");
    fs_err::write(bundle.image("bin/script"), "#!/no/such/shell\n").expect("file");
    for name in ["bin/garbage", "bin/script"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(bundle.image(name), mode).expect("mode");
    }
    for (args, code, error) in [
        (&["true"][..], 0, ""),
        (&["false"], 1, ""),
        (&["sh", "-c", "exit 42"], 42, ""),
        (&["sh", "-c", "kill -9 $$; sleep 1; exit 7"], 7, ""),
        (
            &["nothing"],
            127,
            "program `nothing` not found in the container: No such file or directory (os error 2)",
        ),
        (
            &["/bin/nothing"],
            127,
            "program `/bin/nothing` not found in the container: No such file or directory (os error 2)",
        ),
        (
            &["script"],
            127,
            "program `script` not found in the container: No such file or directory (os error 2)",
        ),
        (
            &["/etc/data"],
            126,
            "program `/etc/data` cannot be executed: Permission denied (os error 13)",
        ),
        (&["/etc"], 126, "program `/etc` cannot be executed: Permission denied (os error 13)"),
        (&["garbage"], 126, "program `garbage` cannot be executed: Exec format error (os error 8)"),
        (&[], 125, "invalid `args`: no program is given"),
        (&[""], 125, "invalid `args`: no program is given"),
        (&["a\0b"], 125, "invalid `args`: `a\\0b` contains a NUL"),
    ] {
        let output = bundle.run(args);
        assert_eq!((output.code, output.stderr.as_str()), (code, error), "{args:?}");
    }
}

#[test]
fn signals_end_it() {
    let mut started =
        Bundle::new().start("trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done");
    started.wait_for("up\n");
    started.running.signal(15).expect("signal");
    assert_eq!(started.wait(), ExitStatus::Exited(5));
    let bundle = Bundle::new();
    let mut started = bundle.start("echo up; sleep 1000");
    started.wait_for("up\n");
    started.running.signal(9).expect("signal");
    assert_eq!(started.wait(), ExitStatus::Signaled(9));
}

#[test]
fn the_reaper_forwards_and_reaps() {
    let mut bundle = Bundle::new();
    bundle.spec.init = true;
    let output = bundle.sh("echo $$; cat /proc/1/comm; exit 3");
    assert_eq!((output.stdout.as_str(), output.code), ("2\ninit\n", 3));
    let output = bundle.run(&["nothing"]);
    assert_eq!(output.code, 127);
    // Orphans become children of process 1 and vanish.
    let orphan = "(sleep 0.01 & ) ; sleep 0.2; cat /proc/[0-9]*/status | grep -c '(zombie)'";
    assert_eq!(bundle.sh(orphan).stdout, "0\n");
    let mut started = bundle.start("trap 'exit 6' USR1; echo up; while :; do sleep 0.01; done");
    started.wait_for("up\n");
    started.running.signal(10).expect("signal");
    assert_eq!(started.wait(), ExitStatus::Exited(6));
}

#[test]
fn shared_namespaces() {
    let host = fs_err::read_link("/proc/self/ns/net").expect("namespace");
    check(
        |spec| spec.network = Network::Host,
        "readlink /proc/self/ns/net",
        &host.to_string_lossy(),
    );
    let uts = fs_err::read_link("/proc/self/ns/uts").expect("namespace");
    check(|spec| spec.uts = Sharing::Host, "readlink /proc/self/ns/uts", &uts.to_string_lossy());
    let pid = std::process::id().to_string();
    check(|spec| spec.pid = Sharing::Host, &format!("ls -d /proc/{pid}"), &format!("/proc/{pid}"));
}

#[test]
fn another_containers_network() {
    let first = Bundle::new().start("sleep 1000");
    let path = format!("/proc/{}/ns/net", first.running.pid);
    let namespace = fs_err::read_link(&path).expect("namespace");
    check(
        |spec| spec.network = Network::Path(path.into()),
        "readlink /proc/self/ns/net",
        &namespace.to_string_lossy(),
    );
}

#[test]
fn settings_of_the_kernel() {
    check(
        |spec| spec.sysctls = vec![("net.ipv4.ip_forward".to_owned(), "1".to_owned())],
        "cat /proc/sys/net/ipv4/ip_forward; echo 0 2>/dev/null > /proc/sys/net/ipv4/ip_forward || echo refused",
        "1\nrefused",
    );
    let mut bundle = Bundle::new();
    bundle.spec.sysctls = vec![("net.no.such".to_owned(), "1".to_owned())];
    let output = bundle.sh("true");
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (125, "set the sysctl `net/no/such`: No such file or directory (os error 2)")
    );
    check(|spec| spec.oom_score_adj = Some(500), "cat /proc/self/oom_score_adj", "500");
    let ulimit = Ulimit { name: "nofile".to_owned(), soft: 77, hard: 88 };
    check(|spec| spec.ulimits = vec![ulimit], "ulimit -n; ulimit -H -n", "77\n88");
}

#[test]
fn created_but_never_started() {
    let bundle = Bundle::new();
    let spec = Spec { args: strings(&["true"]), ..bundle.spec.clone() };
    let created = init::create(&spec, streams().0).expect("created");
    let (pid, cgroup) = (created.pid, created.cgroup.clone());
    assert_eq!(cgroup.pids().expect("pids"), [pid]);
    drop(created);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    cgroup.remove().expect("removed");
}

#[test]
fn a_failure_leaves_nothing() {
    let mut bundle = Bundle::new();
    bundle.spec.cwd = "/etc/passwd/x".to_owned();
    bundle.sh("true");
    let cgroup = cutover_runtime::cgroup::Cgroup::open(&bundle.spec.cgroup).expect("name");
    assert!(!cgroup.exists());
    let table = fs_err::read_to_string("/proc/self/mountinfo").expect("mount table");
    assert!(!table.contains(&bundle.path("").display().to_string()));
}

/// The child of a process with threads finds their locks as they were: it must need none of them. Threads that
/// allocate all the time hold the allocator's at almost any moment.
#[test]
fn many_threads_at_once() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop(std::hint::black_box(
                        (1..64).map(|n| vec![n; n * 100]).collect::<Vec<_>>(),
                    ));
                }
            });
        }
        let creators: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn(move || {
                    for round in 0..5 {
                        let mut bundle = Bundle::new();
                        bundle.spec.init = round % 2 == 0;
                        let output = bundle.sh(&format!("echo {number}"));
                        assert_eq!(output.stdout, format!("{number}\n"), "{}", output.stderr);
                    }
                })
            })
            .collect();
        let results: Vec<_> =
            creators.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
}

/// The program dies with the thread that made it, also behind the reaper.
#[test]
fn it_dies_with_its_parent() {
    for init in [false, true] {
        let mut bundle = Bundle::new();
        bundle.spec.init = init;
        bundle.spec.parent_death_signal = Some(9);
        let maker = bundle.spec.clone();
        let pidfd = std::thread::spawn(move || {
            let spec = Spec { args: strings(&["sleep", "1000"]), ..maker };
            let running =
                init::create(&spec, streams().0).expect("created").start().expect("started");
            running.pidfd
        })
        .join()
        .expect("maker");
        let status = cutover_runtime::sys::process::wait(std::os::fd::AsFd::as_fd(&pidfd));
        assert_eq!(status.expect("waited"), ExitStatus::Signaled(9));
        let cgroup = cutover_runtime::cgroup::Cgroup::open(&bundle.spec.cgroup).expect("name");
        cgroup.remove().expect("removed");
    }
}
