//! Registries: Debian's docker-registry, a server that wants a password, and docker's own files.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{Root, Said, eventually, finish, have};
use crate::run::free_port;

pub(crate) struct Registry {
    child: Child,
    pub(crate) host: String,
}

impl Registry {
    pub(crate) fn start(dir: &Path) -> Self {
        let port = free_port();
        let config = dir.join("registry.yml");
        let data = dir.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let registry = Self { child, host: format!("127.0.0.1:{port}") };
        eventually("docker-registry listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn pushed_here_run_there() {
    if !have("docker-registry") {
        return;
    }
    let root = Root::with_busybox();
    let registry = Registry::start(&root.work());
    let name = format!("{}/team/box:1.0", registry.host);
    root.ok(["tag", "busybox", &name]);
    let first = root.ok(["push", &name]);
    let digest = first.split_whitespace().nth(2).unwrap().to_owned();
    assert!(first.starts_with("1.0: digest: sha256:"), "{first}");
    let again = root.run(["push", &name]);
    assert_eq!(again.out.trim_end(), first);
    assert!(again.err.contains("Layer already exists"), "{}", again.err);
    assert_eq!(root.ok(["push", "--quiet", &name]), name);

    let second = format!("{}/team/box:2.0", registry.host);
    root.ok(["tag", "busybox", &second]);
    root.ok(["push", "--all-tags", &format!("{}/team/box", registry.host)]);
    let found = root.ok(["search-tags", &format!("{}/team/box", registry.host)]);
    let mut found: Vec<_> = found.lines().collect();
    found.sort_unstable();
    assert_eq!(found, ["1.0", "2.0"]);

    let other = Root::new();
    let copy = format!("{}/other/box:1", registry.host);
    assert_eq!(other.ok(["image", "copy", &name, "oci:layout:1"]), digest);
    assert_eq!(other.ok(["image", "copy", "oci:layout:1", &copy]), digest);
    assert_eq!(other.ok(["run", "--rm", &copy, "echo", "works"]), "works");
    assert_eq!(
        other.ok(["pull", &name]),
        format!("{}/team/box@{digest}", registry.host),
        "the same image under both names"
    );
}

#[test]
fn a_pull_killed_in_the_middle_is_finished_by_the_next() {
    if !have("docker-registry") {
        return;
    }
    let root = Root::with_busybox();
    let registry = Registry::start(&root.work());
    let name = format!("{}/team/box:1.0", registry.host);
    root.ok(["tag", "busybox", &name]);
    root.ok(["push", "--compression", "uncompressed", &name]);
    let other = Root::new();
    let tmp = other.path().join("root/tmp");
    let mut child = other.spawn(["pull", &name]);
    eventually("something comes", || {
        tmp.read_dir().is_ok_and(|mut entries| entries.next().is_some())
            || child.try_wait().unwrap().is_some()
    });
    drop(child.kill());
    finish(child);
    other.ok(["pull", &name]);
    assert_eq!(other.ok(["run", "--rm", &name, "echo", "whole"]), "whole");
    let parts = tmp.read_dir().unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "part")
    });
    assert_eq!(parts.count(), 0);
}

#[test]
fn what_cannot_be_pushed() {
    let root = Root::with_busybox();
    let said = root.fails(1, ["push", "nothing-like-it"]);
    assert!(said.contains("does not exist locally with the tag: nothing-like-it:latest"), "{said}");
    root.ok(["tag", "busybox", "127.0.0.1:1/a/b"]);
    let said = root.fails(4, ["push", "127.0.0.1:1/a/b"]);
    assert!(said.contains("cannot connect to `127.0.0.1:1`"), "{said}");
    assert!(
        root.fails(2, ["push", "--compression", "xz", "busybox"]).contains("is not a compression")
    );
}

/// A server that lets `me` with `pa55word` in. Ends with the test's process.
fn guarded() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> =
                lines.map_while(Result::ok).take_while(|it| !it.is_empty()).collect();
            // me:pa55word
            let good = head.iter().any(|line| line.ends_with("Basic bWU6cGE1NXdvcmQ="));
            let status = if good { "200 OK" } else { "401 Unauthorized" };
            let reply = format!(
                "HTTP/1.1 {status}\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
            );
            drop(stream.write_all(reply.as_bytes()));
        }
    });
    host
}

fn login(root: &Root, config: &Path, password: &str, args: &[&str]) -> Said {
    let mut child = root
        .command(args)
        .env("DOCKER_CONFIG", config)
        .env("CUTOVER_LOG", "trace")
        .env_remove("REGISTRY_AUTH_FILE")
        .env("PATH", format!("{}:{}", config.display(), std::env::var("PATH").unwrap()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take().unwrap().write_all(password.as_bytes()));
    finish(child)
}

#[test]
fn logging_in_and_out() {
    let (root, host) = (Root::new(), guarded());
    let config = root.path().join("docker");
    let file = config.join("config.json");
    let arguments = ["login", &host, "--username", "me", "--password-stdin"];
    let wrong = login(&root, &config, "wr0ng\n", &arguments);
    assert_eq!(wrong.code, 4, "{}", wrong.err);
    assert!(wrong.err.contains("does not accept these credentials"), "{}", wrong.err);
    assert!(!wrong.err.contains("wr0ng") && !file.exists());
    let right = login(&root, &config, "pa55word\n", &arguments);
    assert_eq!((right.code, right.out.as_str()), (0, "Login Succeeded\n"), "{}", right.err);
    assert!(right.err.contains("not encrypted") && !right.err.contains("pa55word"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).unwrap().contains("bWU6cGE1NXdvcmQ="));
    let shown = login(&root, &config, "", &["login", &host, "-u", "me", "-p", "pa55word"]);
    assert!(shown.err.contains("shows the password to every user"), "{}", shown.err);
    let out = login(&root, &config, "", &["logout", &host]);
    assert_eq!(out.out, format!("Removing login credentials for {host}\n"));
    assert!(!std::fs::read_to_string(&file).unwrap().contains("bWU6cGE1NXdvcmQ="));
    assert_eq!(
        login(&root, &config, "", &["logout", &host]).out,
        format!("Not logged in to {host}\n")
    );
}

#[test]
fn a_helper_keeps_the_secret() {
    let (root, host) = (Root::new(), guarded());
    let config = root.path().join("docker");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.json"), r#"{"credsStore": "safe", "x": 1}"#).unwrap();
    let safe = config.join("safe.json");
    let script = format!(
        "#!/bin/sh\ncase $1 in store) cat > {0} ;; get) cat {0} 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;; erase) rm -f {0} ;; esac\n",
        safe.display()
    );
    let helper = config.join("docker-credential-safe");
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    // nothing there yet: anonymous, and so not let in
    let tags = ["search-tags", &format!("{host}/team/app")];
    let said = login(&root, &config, "", &tags);
    assert!(said.err.contains("see `cutover login"), "{}", said.err);
    let arguments = ["login", &host, "--username", "me", "--password-stdin"];
    let right = login(&root, &config, "pa55word", &arguments);
    assert_eq!(right.code, 0, "{}", right.err);
    assert!(std::fs::read_to_string(&safe).unwrap().contains("pa55word"));
    let text = std::fs::read_to_string(config.join("config.json")).unwrap();
    assert!(!text.contains("bWU6") && text.contains("\"x\""), "{text}");
    let said = login(&root, &config, "", &tags);
    assert_eq!(said.code, 0, "{}", said.err);
    login(&root, &config, "", &["logout", &host]);
    assert!(!safe.exists());
}

#[test]
fn a_configuration_with_a_mistake() {
    let root = Root::new();
    let file = root.write("config.toml", "[registry.x]\nmirror = []\n");
    let mut command = root.command(["search-tags", "127.0.0.1:1/a"]);
    let output = command.env("CUTOVER_CONFIG", file).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("unknown field `mirror`"), "{said}");
}
