//! `cutover runtime`: any OCI bundle, with runc's command line, by itself and under docker and podman.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{PATIENCE, binary, eventually, have};

const APPLETS: &str = "sh cat echo ls id sleep mount touch mkdir mknod stat env tty grep readlink \
    hostname pwd true wc tr head ulimit test [ date rm chmod";

/// A bundle of the machine's busybox, and a root for the state of its containers.
pub(crate) struct Bundle {
    dir: TempDir,
    /// Written to `config.json` before each command.
    pub(crate) config: Value,
    /// The runtime to drive.
    pub(crate) runtime: PathBuf,
}

impl Bundle {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("oci").tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static");
        for applet in APPLETS.split_ascii_whitespace() {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        let runtime = named(dir.path());
        let made = Command::new(&runtime).arg("spec").current_dir(dir.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let text = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["process"]["terminal"] = false.into();
        config["root"]["readonly"] = false.into();
        Self { dir, config, runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.dir.path().join("rootfs").join(name)
    }

    pub(crate) fn script(&mut self, script: &str) {
        self.config["process"]["args"] = json!(["sh", "-c", script]);
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        std::fs::write(self.path("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.path("state")).args(args).current_dir(self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Code, stdout, stderr.
    pub(crate) fn says(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.output(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let (code, out, err) = self.says(args);
        assert_eq!(code, 0, "{args:?}: {out} {err}");
        out
    }

    fn status(&self, id: &str) -> String {
        let (code, out, _) = self.says(&["state", id]);
        if code != 0 {
            return "none".to_owned();
        }
        let state: Value = serde_json::from_str(&out).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    /// `create`, whose streams the container keeps: its output goes to a file.
    #[track_caller]
    fn create(&self, id: &str) {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = self.command(&["create", "--bundle", ".", "--pid-file", "pid", id]);
        let status = command.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        assert!(status.success(), "{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let (_, ids, _) = self.says(&["list", "-q"]);
        for id in ids.lines() {
            drop(self.says(&["delete", "--force", id]));
        }
    }
}

/// The program under the name by which it is the runtime.
fn named(dir: &Path) -> PathBuf {
    let link = dir.join("cutover-runtime");
    symlink(binary(), &link).unwrap();
    link
}

#[test]
fn a_life_in_steps() {
    let mut bundle = Bundle::new();
    bundle.config["process"]["args"] = json!(["sh", "-c", "echo ran as $(id -u); exec sleep 600"]);
    bundle.create("one");
    assert_eq!(bundle.status("one"), "created");
    assert_eq!(bundle.log(), "");
    let state: Value = serde_json::from_str(&bundle.ok(&["state", "one"])).unwrap();
    assert_eq!(state["pid"].to_string(), std::fs::read_to_string(bundle.path("pid")).unwrap());
    let (code, _, err) = bundle.says(&["create", "one"]);
    assert_eq!((code, err.as_str()), (1, "error: container with id `one` exists already"));

    bundle.ok(&["start", "one"]);
    assert_eq!(bundle.status("one"), "running");
    eventually("its first words", || bundle.log() == "ran as 0\n");
    let (code, _, err) = bundle.says(&["start", "one"]);
    assert_eq!((code, err.as_str()), (1, "error: cannot start container `one`: it is running"));
    let (code, _, err) = bundle.says(&["delete", "one"]);
    assert_eq!((code, err.as_str()), (1, "error: cannot delete container `one`: it is running"));

    assert_eq!(
        bundle.ok(&["exec", "one", "sh", "-c", "echo $$ > /tmp/x; cat /tmp/x"]).lines().count(),
        1
    );
    assert_eq!(bundle.says(&["exec", "one", "sh", "-c", "exit 7"]).0, 7);
    assert_eq!(bundle.says(&["exec", "one", "nosuch"]).0, 127);
    assert_eq!(
        bundle.ok(&["exec", "--env", "A=b", "--cwd", "/etc", "one", "sh", "-c", "echo $A; pwd"]),
        "b\n/etc"
    );
    assert_eq!(bundle.ok(&["exec", "-t", "one", "tty"]), "/dev/pts/0");

    bundle.ok(&["pause", "one"]);
    assert_eq!(bundle.status("one"), "paused");
    assert_eq!(bundle.says(&["exec", "one", "true"]).0, 1);
    bundle.ok(&["resume", "one"]);
    let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "-f", "json", "one"])).unwrap();
    assert_eq!(pids.len(), 1);
    bundle.ok(&["kill", "one", "KILL"]);
    eventually("its end", || bundle.status("one") == "stopped");
    assert_eq!(bundle.says(&["kill", "one", "0"]).0, 1);
    bundle.ok(&["delete", "one"]);
    assert_eq!(bundle.status("one"), "none");
    assert_eq!(bundle.says(&["delete", "one"]).0, 1);
    bundle.ok(&["delete", "--force", "one"]);
    assert_eq!(std::fs::read_dir(bundle.path("state")).unwrap().count(), 0);
}

#[test]
fn run_hands_on_streams_and_exit_codes() {
    let mut bundle = Bundle::new();
    bundle.script("cat; echo err >&2; exit 3");
    let mut child = bundle.command(&["run", "x"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"in\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"in\n"[..], &b"err\n"[..]));
    assert_eq!(bundle.status("x"), "none");

    bundle.config["process"]["args"] = json!(["/nosuch"]);
    let (code, _, err) = bundle.says(&["--log", "log", "--log-format", "json", "run", "x"]);
    let words = "exec: \"/nosuch\": executable file not found in $PATH";
    assert_eq!((code, err), (127, format!("error: {words}")));
    let log: Value =
        serde_json::from_str(&std::fs::read_to_string(bundle.path("log")).unwrap()).unwrap();
    assert_eq!((&log["level"], &log["msg"]), (&json!("error"), &json!(words)));
    bundle.config["process"]["args"] = json!(["/etc/passwd"]);
    assert_eq!(bundle.says(&["run", "x"]).0, 126);
    bundle.script("sh -c 'kill -9 $$'; exit $?");
    assert_eq!(bundle.says(&["run", "x"]).0, 137);
    assert_eq!(std::fs::read_dir(bundle.path("state")).unwrap().count(), 0);
}

#[test]
fn what_a_bundle_says_is_done() {
    let mut bundle = Bundle::new();
    std::fs::write(bundle.root("etc/kept"), "kept").unwrap();
    std::fs::create_dir(bundle.path("volume")).unwrap();
    let config = &mut bundle.config;
    config["process"]["user"] =
        json!({"uid": 5, "gid": 6, "umask": 0o77, "additionalGids": [8, 7]});
    config["process"]["cwd"] = "/made/here".into();
    config["process"]["oomScoreAdj"] = 777.into();
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 99}]);
    config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 4});
    config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    config["hostname"] = "box".into();
    config["domainname"] = "dom".into();
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "81"});
    config["linux"]["personality"] = json!({"domain": "LINUX32"});
    config["linux"]["maskedPaths"] = json!(["/etc/passwd", "/root"]);
    config["linux"]["readonlyPaths"] = json!(["/tmp"]);
    config["linux"]["devices"] = json!([{"path": "/dev/my/full", "type": "c", "major": 1, "minor": 7, "uid": 5, "fileMode": 0o600}]);
    config["linux"]["resources"]["pids"] = json!({"limit": 42});
    config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/etc", "type": "tmpfs", "source": "t",
        "options": ["tmpcopyup", "mode=755"]}));
    mounts.push(json!({"destination": "/v", "type": "bind", "source": "volume", "options": ["rbind", "rro"]}));
    let script = "id; pwd; umask; hostname; cat /proc/sys/kernel/domainname /proc/self/oom_score_adj; \
        ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/self/personality; \
        cat /etc/passwd | wc -c; ls /root | wc -l; touch /tmp/x 2>/dev/null || echo ro; cat /etc/kept; echo; \
        stat -c '%a %u %t:%T' /dev/my/full; touch /v/x 2>/dev/null || echo rro; uname -m; \
        cut -d' ' -f41 /proc/self/stat";
    for applet in ["umask", "uname", "cut"] {
        symlink("busybox", bundle.root("bin").join(applet)).unwrap();
    }
    bundle.script(script);
    let expected = "uid=5 gid=6 groups=7,8\n/made/here\n0077\nbox\ndom\n777\n64\n99\n81\n00000008\n0\n0\nro\nkept\n\
        600 5 1:7\nrro\ni686\n3";
    assert_eq!(bundle.ok(&["run", "x"]), expected);
}

#[test]
fn user_and_time_namespaces() {
    let mut bundle = Bundle::new();
    std::fs::create_dir(bundle.path("volume")).unwrap();
    std::fs::write(bundle.path("volume/file"), "").unwrap();
    // Root of the container may make nothing in a directory of the host's root.
    std::fs::create_dir(bundle.root("v")).unwrap();
    let linux = &mut bundle.config["linux"];
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    linux["uidMappings"] = maps.clone();
    linux["gidMappings"] = maps;
    linux["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000, "nanosecs": 0}});
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    namespaces.push(json!({"type": "time"}));
    bundle.config["mounts"].as_array_mut().unwrap().push(
        json!({"destination": "/v", "type": "bind", "source": "volume", "options": ["bind", "idmap"]}),
    );
    bundle.script(
        "id -u; tr -s ' ' < /proc/self/uid_map; stat -c %u /v/file /bin; echo x > /dev/null; \
         head -c 1 /dev/zero | wc -c; [ $(head -c 10 /proc/uptime) -gt 1000000000 ] 2>/dev/null; \
         head -c 1 /proc/uptime; touch /v/new",
    );
    assert_eq!(bundle.ok(&["run", "x"]), "0\n 0 100000 65536\n0\n65534\n1\n1");
    let owner = std::fs::metadata(bundle.path("volume/new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 0);
}

#[test]
fn hooks_run_in_their_order_with_the_state() {
    let mut bundle = Bundle::new();
    let log = bundle.path("hooks");
    let hook = |name: &str| {
        let script = format!("echo {name} $(grep -o '\"status\":\"[a-z]*\"') >> {}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    let mut hooks = json!({});
    for name in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        hooks[name] = hook(name);
    }
    hooks["startContainer"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/state"], "env": []}]);
    bundle.config["hooks"] = hooks;
    bundle.script("grep -c '\"pid\":1' /tmp/state");
    assert_eq!(bundle.ok(&["run", "x"]), "1");
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        "prestart \"status\":\"creating\"\ncreateRuntime \"status\":\"creating\"\n\
         createContainer \"status\":\"creating\"\npoststart \"status\":\"running\"\npoststop \"status\":\"stopped\"\n"
    );
    bundle.config["hooks"] = json!({"createRuntime":
        [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 4"]}]});
    let (code, out, err) = bundle.says(&["run", "x"]);
    let expected = "error: createRuntime hook `/bin/sh` ended with 4: no";
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", expected));
    bundle.config["hooks"] = json!({"prestart":
        [{"path": "/bin/sleep", "args": ["sleep", "600"], "timeout": 1}]});
    let (_, _, err) = bundle.says(&["run", "x"]);
    assert_eq!(err, "error: prestart hook `/bin/sleep` took longer than 1 s");
    assert_eq!(std::fs::read_dir(bundle.path("state")).unwrap().count(), 0);
}

#[test]
fn namespaces_are_joined() {
    let mut bundle = Bundle::new();
    bundle.script("sleep 600");
    bundle.create("first");
    bundle.ok(&["start", "first"]);
    let pid = std::fs::read_to_string(bundle.path("pid")).unwrap();
    for kind in ["pid", "net", "ipc", "uts"] {
        let name = if kind == "net" { "network" } else { kind };
        for namespace in bundle.config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == name {
                namespace["path"] = format!("/proc/{pid}/ns/{kind}").into();
            }
        }
    }
    bundle.config["hostname"] = "shared".into();
    bundle.script(
        "for n in pid net ipc uts; do readlink /proc/self/ns/$n; done; ls /proc | grep -c '^1$'",
    );
    let out = bundle.ok(&["run", "second"]);
    let mut expected: Vec<String> = ["pid", "net", "ipc", "uts"]
        .iter()
        .map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap())
        .map(|link| link.display().to_string())
        .collect();
    expected.push("1".to_owned());
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    bundle.config["linux"]["namespaces"][0] =
        json!({"type": "pid", "path": format!("/proc/{pid}/ns/net")});
    let (_, _, err) = bundle.says(&["run", "third"]);
    assert!(err.ends_with("is not a namespace of the kind `pid`"), "{err}");
}

/// Whoever creates a container may be killed at any moment: nothing runs on, and `delete` cleans up.
#[test]
fn a_killed_create_leaves_nothing_running() {
    let mut bundle = Bundle::new();
    bundle.config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "5"]}]});
    let mut child = bundle.command(&["create", "one"]).process_group(0).spawn().unwrap();
    eventually("its child", || {
        let state = std::fs::read_to_string(bundle.path("state/one/state.json"));
        let Ok(state) = serde_json::from_str::<Value>(&state.unwrap_or_default()) else {
            return false;
        };
        let group = state["cgroup"].as_str().unwrap();
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].iter().any(|mount| {
            std::fs::read_to_string(format!("{mount}/{group}/cgroup.procs"))
                .is_ok_and(|pids| !pids.is_empty())
        })
    });
    assert_eq!(bundle.status("one"), "creating");
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("its end", || bundle.status("one") == "stopped");
    bundle.ok(&["delete", "one"]);
    assert_eq!(std::fs::read_dir(bundle.path("state")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let mut bundle = Bundle::new();
    for (args, expected) in [
        (vec!["--systemd-cgroup", "create", "x"], "unsupported `--systemd-cgroup`"),
        (vec!["create", "../x"], "invalid `id`: `../x`"),
        (vec!["create", "a/b"], "invalid `id`: `a/b`"),
        (vec!["state", ".."], "invalid `id`: `..`"),
        (vec!["delete", "."], "invalid `id`: `.`"),
        (vec!["create", "--console-socket", "s", "x"], "invalid `--console-socket`"),
        (vec!["create", "--bundle", "/nonexistent", "x"], "find the bundle `/nonexistent`"),
    ] {
        let (code, _, err) = bundle.says(&args);
        assert!(code == 1 && err.contains(expected), "{args:?}: {code} {err}");
    }
    bundle.config["process"]["terminal"] = true.into();
    let (_, _, err) = bundle.says(&["create", "x"]);
    assert!(err.contains("nobody would hold the terminal"), "{err}");
    assert!(!bundle.path("state").exists());
}

fn podman(dir: &Path, runtime: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("podman");
    for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        command.arg(flag).arg(dir.join(name));
    }
    command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
    command.args(["--events-backend", "file", "--runtime"]).arg(runtime).args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

/// An image archive of a bundle's root.
fn archive(bundle: &Bundle) -> PathBuf {
    let path = bundle.path("image.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    tar.follow_symlinks(false);
    tar.append_dir_all(".", bundle.path("rootfs")).unwrap();
    tar.finish().unwrap();
    path
}

/// Limits that this machine can set, whatever the peer's defaults are.
const LIMITS: [&str; 2] = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];

/// What an engine wrote on stdout.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Imports `box` into an engine and tries what each must do by this runtime. Returns a check of more: flags and
/// command, exit code, output.
fn checked<'a>(
    bundle: &Bundle,
    run: &'a dyn Fn(&[&str]) -> Output,
) -> impl Fn(&[&str], i32, &str) + 'a {
    let made = run(&["import", archive(bundle).to_str().unwrap(), "box"]);
    assert!(made.status.success(), "{made:?}");
    let base = ["run", "--rm", "--network=none", LIMITS[0], LIMITS[1]];
    let check = move |more: &[&str], code: i32, expected: &str| {
        let args: Vec<&str> = base.iter().chain(more).copied().collect();
        let output = run(&args);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {output:?}");
        assert_eq!(text(&output), expected, "{more:?}: {output:?}");
    };
    check(&["box", "echo", "through it"], 0, "through it");
    check(
        &[
            "--user",
            "5:6",
            "--read-only",
            "box",
            "sh",
            "-c",
            "id -u; touch /x 2>/dev/null || echo ro",
        ],
        0,
        "5\nro",
    );
    check(
        &[
            "-m",
            "64m",
            "--pids-limit",
            "20",
            "-v",
            "/etc:/v:ro",
            "box",
            "sh",
            "-c",
            "touch /v/x 2>/dev/null || echo ro",
        ],
        0,
        "ro",
    );
    check(&["-t", "box", "tty"], 0, "/dev/pts/0");
    check(&["box", "sh", "-c", "exit 9"], 9, "");
    check(&["box", "nosuch"], 127, "");
    check
}

#[test]
fn podman_runs_containers_through_it() {
    if !have("podman") {
        return;
    }
    let bundle = Bundle::new();
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| podman(dir.path(), &bundle.runtime, args);
    let check = checked(&bundle, &run);
    check(
        &["--uidmap", "0:100000:65536", "box", "cat", "/proc/self/uid_map"],
        0,
        "0     100000      65536",
    );
    check(&["box", "/etc/passwd"], 126, "");
    let started = run(&[
        "run",
        "-d",
        "--name=named",
        "--network=none",
        LIMITS[0],
        LIMITS[1],
        "box",
        "sleep",
        "600",
    ]);
    assert!(started.status.success(), "{started:?}");
    assert_eq!(text(&run(&["exec", "named", "echo", "inside"])), "inside");
    assert_eq!(text(&run(&["exec", "-t", "named", "tty"])), "/dev/pts/0");
    assert!(run(&["pause", "named"]).status.success());
    assert!(run(&["unpause", "named"]).status.success());
    let removed = run(&["rm", "-f", "-t", "0", "named"]);
    assert!(removed.status.success(), "{removed:?}");
    drop(run(&["rmi", "-af"]));
}

/// A dockerd of the test's own, ended with the test.
struct Dockerd {
    daemon: Child,
    dir: TempDir,
}

impl Dockerd {
    fn start(runtime: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("dk").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--storage-driver", "vfs", "-H", &format!("unix://{}", at("d.sock"))])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .arg("--add-runtime")
            .arg(format!("cutover={}", runtime.display()))
            .args(["--default-runtime", "cutover", "--exec-opt", "native.cgroupdriver=cgroupfs"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut this = Self { daemon, dir };
        let started = Instant::now();
        while !this.docker(&["version"]).status.success() {
            let log = std::fs::read_to_string(this.dir.path().join("log")).unwrap();
            assert!(this.daemon.try_wait().unwrap().is_none(), "dockerd ended: {log}");
            assert!(started.elapsed() < PATIENCE, "dockerd does not answer: {log}");
            std::thread::yield_now();
        }
        this
    }

    fn docker(&self, args: &[&str]) -> Output {
        let socket = format!("unix://{}", self.dir.path().join("d.sock").display());
        let mut command = Command::new("docker");
        command.arg("-H").arg(socket).args(args).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        drop(self.daemon.wait());
    }
}

#[test]
fn docker_runs_containers_through_it() {
    if !have("docker") || !have("dockerd") {
        return;
    }
    let bundle = Bundle::new();
    let daemon = Dockerd::start(&bundle.runtime);
    let run = |args: &[&str]| daemon.docker(args);
    let check = checked(&bundle, &run);
    check(
        &["--privileged", "box", "sh", "-c", "mount -t tmpfs t /tmp && echo mounted"],
        0,
        "mounted",
    );
    let started = daemon.docker(&[
        "run",
        "-d",
        "--name=named",
        "--network=none",
        LIMITS[0],
        LIMITS[1],
        "box",
        "sleep",
        "600",
    ]);
    assert!(started.status.success(), "{started:?}");
    assert_eq!(text(&daemon.docker(&["exec", "named", "echo", "inside"])), "inside");
    assert!(text(&daemon.docker(&["top", "named"])).contains("sleep 600"));
    assert!(daemon.docker(&["pause", "named"]).status.success());
    assert!(daemon.docker(&["unpause", "named"]).status.success());
    let updated = daemon.docker(&["update", "--pids-limit", "30", "named"]);
    assert!(updated.status.success(), "{updated:?}");
    let removed = daemon.docker(&["rm", "-f", "named"]);
    assert!(removed.status.success(), "{removed:?}");
}
