//! `run`, `exec`, `logs`, `ps`, `stop`, `rm`: docker's verbs with docker's results.

use crate::harness::{Root, eventually, finish};

#[test]
fn runs_a_command_and_leaves_nothing() {
    let root = Root::with_busybox();
    assert_eq!(root.ok(["run", "--rm", "busybox", "echo", "hello"]), "hello");
    assert_eq!(root.ok(["ps", "-aq"]), "");
}

#[test]
fn exit_codes_are_dockers() {
    let root = Root::with_busybox();
    let run = |args: &[&str]| {
        let said = root.run(["run", "--rm", "--network", "none", "busybox"].iter().chain(args));
        (said.code, said.err)
    };
    assert_eq!(run(&["sh", "-c", "exit 42"]).0, 42);
    // process 1 of a container cannot be killed from inside, so something else must be it
    let killed = root.run(["run", "--rm", "--init", "busybox", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code, 137, "{}", killed.err);
    let (code, err) = run(&["nosuch"]);
    assert_eq!(code, 127, "{err}");
    assert!(err.contains("nosuch"), "{err}");
    let (code, err) = run(&["/etc/passwd"]);
    assert_eq!(code, 126, "{err}");
    let said = root.run(["run", "--rm", "--memory", "1m", "busybox", "true"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert_eq!(root.ok(["ps", "-aq"]), "", "failed runs leave no container");
}

#[test]
fn streams_stay_apart_and_stdin_is_passed() {
    let root = Root::with_busybox();
    let said = root.run(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
    let said = root.feed(b"one\ntwo\n", ["run", "--rm", "-i", "busybox", "wc", "-l"]);
    assert_eq!((said.code, said.out.trim()), (0, "2"), "{}", said.err);
    let big = vec![b'x'; 3 << 20];
    let said = root.feed(&big, ["run", "--rm", "-i", "busybox", "wc", "-c"]);
    assert_eq!(said.out.trim(), "3145728", "{}", said.err);
}

#[test]
fn configuration_comes_from_flags_and_the_environment() {
    let root = Root::with_busybox();
    let file = root.write("vars", "# a comment\nFROM_FILE=1\nBOTH=file\n");
    let script = "echo $FROM_FILE $BOTH; pwd; id -un; id -G; hostname; cat /data/x; ls -ld /t";
    std::fs::create_dir_all(root.work().join("data")).unwrap();
    std::fs::write(root.work().join("data/x"), "mounted\n").unwrap();
    let out = root.ok([
        "run",
        "--rm",
        "--env-file",
        file.to_str().unwrap(),
        "-e",
        "BOTH=flag",
        "-w",
        "/tmp",
        "-u",
        "web",
        "--hostname",
        "box",
        "-v",
        "./data:/data:ro",
        "--tmpfs",
        "/t:mode=0700,size=1m",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..6], ["1 flag", "/tmp", "web", "1000 2000", "box", "mounted"]);
    assert!(lines[6].starts_with("drwx------"), "{}", lines[6]);
}

#[test]
fn a_container_cannot_do_what_it_should_not() {
    let root = Root::with_busybox();
    let sh = |script: &str| root.run(["run", "--rm", "busybox", "sh", "-c", script]);
    assert_ne!(sh("mount -t tmpfs none /tmp").code, 0, "no mounting");
    assert_ne!(sh("echo 1 > /proc/sys/kernel/panic").code, 0, "/proc/sys is read-only");
    assert_eq!(sh("cat /proc/kcore | wc -c").out.trim(), "0", "kcore is masked");
    assert_ne!(sh("dd if=/dev/vda of=/dev/null count=1").code, 0, "no host devices");
    assert_eq!(sh("grep NoNewPrivs /proc/self/status").out.trim(), "NoNewPrivs:\t1");
    assert_eq!(sh("grep Seccomp: /proc/self/status").out.trim(), "Seccomp:\t2");
    assert_eq!(
        sh("grep CapEff /proc/self/status").out.trim(),
        "CapEff:\t00000000a80425fb",
        "docker's fourteen capabilities"
    );
    assert_ne!(
        root.run(["run", "--rm", "--read-only", "busybox", "touch", "/x"]).code,
        0,
        "a read-only root is read-only"
    );
    assert!(sh("ps | wc -l").out.trim().parse::<u32>().unwrap() < 6, "own pids only");
}

#[test]
fn limits_hold() {
    let root = Root::with_busybox();
    let hog = "dd if=/dev/zero of=/dev/null bs=64M count=1";
    let said = root.run(["run", "--rm", "-m", "16m", "busybox", "sh", "-c", hog]);
    assert_eq!(said.code, 137, "killed for memory: {}", said.err);
    let forks = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; wait";
    let said = root.run(["run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", forks]);
    assert_ne!(said.code, 0, "cannot fork without end: {}", said.err);
}

#[test]
fn a_detached_container_lives_on() {
    let root = Root::with_busybox();
    let id =
        root.ok(["run", "-d", "--name", "web", "busybox", "sh", "-c", "echo up; exec sleep 600"]);
    assert_eq!(id.len(), 64);
    assert_eq!(root.ok(["ps", "-q", "--no-trunc"]), id);
    eventually("the log has a line", || root.ok(["logs", "web"]) == "up");
    assert_eq!(root.ok(["exec", "web", "hostname"]), id[..12]);
    assert_eq!(root.run(["exec", "web", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(root.run(["exec", "web", "nosuch"]).code, 127);
    let taken = root.fails(125, ["run", "-d", "--name", "web", "busybox", "true"]);
    assert!(taken.contains("`web`") && taken.contains("cutover rm"), "{taken}");
    let refused = root.fails(1, ["rm", "web"]);
    assert!(refused.contains("stop it first"), "{refused}");
    assert_eq!(root.ok(["stop", "-t", "0", "web"]), "web");
    assert_eq!(root.ok(["wait", "web"]), "137");
    assert_eq!(root.ok(["logs", "web"]), "up", "the log outlives the process");
    root.ok(["start", "web"]);
    root.ok(["rm", "-f", "web"]);
    assert_eq!(root.ok(["ps", "-aq"]), "");
}

#[test]
fn a_stop_signal_is_given_time() {
    let root = Root::with_busybox();
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    root.ok(["run", "-d", "--name", "polite", "busybox", "sh", "-c", script]);
    eventually("it is up", || root.ok(["logs", "polite"]).contains("up"));
    root.ok(["stop", "polite"]);
    assert_eq!(root.ok(["wait", "polite"]), "3");
    assert!(root.ok(["logs", "polite"]).contains("bye"));
}

#[test]
fn restart_policies_bring_it_back() {
    let root = Root::with_busybox();
    root.ok([
        "run",
        "-d",
        "--name",
        "flaky",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "echo try; exit 1",
    ]);
    eventually("it gave up", || !root.ok(["ps", "-q", "-f", "status=exited"]).is_empty());
    assert_eq!(root.ok(["logs", "flaky"]).lines().count(), 3, "one start and two restarts");
}

#[test]
fn health_is_told() {
    let root = Root::with_busybox();
    root.ok([
        "run",
        "-d",
        "--name",
        "health",
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "--health-timeout",
        "2s",
        "busybox",
        "sleep",
        "600",
    ]);
    eventually("unhealthy", || !root.ok(["ps", "-q", "-f", "health=unhealthy"]).is_empty());
    root.ok(["exec", "health", "touch", "/tmp/well"]);
    eventually("healthy", || !root.ok(["ps", "-q", "-f", "health=healthy"]).is_empty());
}

#[test]
fn ports_are_published_on_localhost_and_checked() {
    let root = Root::with_busybox();
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:80");
    let serve = "echo served > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
    root.ok(["run", "-d", "--name", "web", "-p", &publish, "busybox", "sh", "-c", serve]);
    let get = || http_get(port);
    eventually("it answers", || get().is_some_and(|answer| answer.contains("served")));
    let taken = root.run(["run", "-d", "--name", "two", "-p", &publish, "busybox", "true"]);
    assert_ne!(taken.code, 0);
    assert!(taken.err.contains(&port.to_string()), "{}", taken.err);
    root.ok(["rm", "-f", "web"]);
    eventually("the port is free", || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
}

#[test]
fn containers_on_a_network_reach_each_other() {
    let root = Root::with_busybox();
    root.ok(["network", "create", "backend"]);
    let serve = "echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
    root.ok([
        "run",
        "-d",
        "--name",
        "server",
        "--network",
        "backend",
        "busybox",
        "sh",
        "-c",
        serve,
    ]);
    let state = root.json(&["inspect", "server"]);
    let ip = state[0]["state"]["addresses"][0]["ip"].as_str().unwrap().to_owned();
    let url = format!("http://{ip}/");
    let fetch =
        || root.run(["run", "--rm", "--network", "backend", "busybox", "wget", "-qO-", &url]);
    eventually("it answers", || fetch().out == "hello\n");
    let other = root.run(["run", "--rm", "busybox", "wget", "-T", "2", "-qO-", &url]);
    assert_ne!(other.code, 0, "networks are apart");
    root.ok(["rm", "-f", "server"]);
    root.ok(["network", "rm", "backend"]);
}

#[test]
fn volumes_outlive_containers_and_take_the_images_files() {
    let root = Root::with_busybox();
    root.ok([
        "run",
        "--rm",
        "-v",
        "data:/etc",
        "busybox",
        "sh",
        "-c",
        "test -e /etc/passwd && echo x > /etc/mine",
    ]);
    assert_eq!(root.ok(["run", "--rm", "-v", "data:/d", "busybox", "cat", "/d/mine"]), "x");
    assert_eq!(root.ok(["volume", "ls", "-q"]), "data");
    root.ok(["volume", "rm", "data"]);
    assert_eq!(root.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn a_flood_of_output_cannot_fill_the_disk() {
    let root = Root::with_busybox();
    let flood = "yes 0123456789012345678901234567890123456789 | head -c 8000000";
    root.ok([
        "run",
        "-d",
        "--name",
        "flood",
        "--log-opt",
        "max-size=1m",
        "--log-opt",
        "max-file=2",
        "busybox",
        "sh",
        "-c",
        flood,
    ]);
    assert_eq!(root.ok(["wait", "flood"]), "0");
    let logs = root.path().join("root/containers");
    let size: u64 = walk(&logs)
        .iter()
        .filter(|path| path.to_string_lossy().contains("/log/"))
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(size > 0 && size <= (2 << 20) + (64 << 10), "{size} bytes of log");
}

#[test]
fn signals_reach_the_container() {
    let root = Root::with_busybox();
    let script = "trap 'exit 9' INT; echo up; while :; do sleep 0.05; done";
    let child = root.spawn(["run", "--rm", "--name", "sig", "busybox", "sh", "-c", script]);
    eventually("it is up", || root.run(["logs", "sig"]).out.contains("up"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(finish(child).code, 9);
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The whole answer to `GET /`, or `None` when there is none.
pub(crate) fn http_get(port: u16) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return files };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(walk(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

#[test]
fn what_runs_in_a_container_and_what_it_uses() {
    let root = Root::with_busybox();
    root.ok([
        "run",
        "-d",
        "--name",
        "busy",
        "--memory",
        "64m",
        "busybox",
        "sh",
        "-c",
        "sleep 1000 & wait",
    ]);
    let top = root.ok(["top", "busy"]);
    assert!(top.starts_with("UID"), "{top}");
    assert!(top.contains("sleep 1000"), "{top}");
    let processes = root.json(&["top", "busy", "--json"]);
    let processes = processes.as_array().unwrap();
    let first = processes.iter().find(|one| one["command"].as_str().unwrap().starts_with("sh -c"));
    let child = processes.iter().find(|one| one["command"] == "sleep 1000").unwrap();
    assert_eq!(child["ppid"], first.unwrap()["pid"]);
    let stats = root.json(&["stats", "--no-stream", "--json"]);
    assert_eq!(stats[0]["name"], "busy");
    assert_eq!(stats[0]["memoryLimitBytes"], 64 << 20);
    assert_eq!(stats[0]["pids"], processes.len());
    let table = root.ok(["stats", "--no-stream", "busy"]);
    assert!(table.contains("CPU %") && table.contains("busy"), "{table}");
    root.ok(["stop", "-t", "0", "busy"]);
    let said = root.run(["top", "busy"]);
    assert!(
        said.err.contains("`busy` is exited") && said.err.contains("start it first"),
        "{}",
        said.err
    );
    assert_eq!(root.json(&["stats", "--no-stream", "--json"]).as_array().unwrap().len(), 0);
    assert_eq!(root.run(["stats", "nope"]).code, 1);
}

#[test]
fn attach_gives_output_input_and_the_exit_code() {
    let root = Root::with_busybox();
    root.ok([
        "run",
        "-d",
        "-i",
        "--name",
        "echo",
        "busybox",
        "sh",
        "-c",
        "read line; echo got $line; exit 3",
    ]);
    let said = root.feed(b"this\n", ["attach", "echo"]);
    assert_eq!((said.code, said.out.as_str()), (3, "got this\n"), "{}", said.err);
    let said = root.run(["attach", "echo"]);
    assert!(said.err.contains("`echo` is exited"), "{}", said.err);
}
