//! `registry serve` with people and tokens, as skopeo, podman and we meet it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::{Root, have};

/// `me:secret`, bcrypt with 2^8 rounds.
const PEOPLE: &str = "me:$2b$08$MipU9.GYw/YGJJS6ocHmgu/Y7ZXprSNYCub9nqQFvOkgkms1ofq7a\n";

struct Serving {
    child: Child,
    host: String,
}

impl Serving {
    fn start(root: &Root, flags: &[&str]) -> Self {
        let args = ["registry", "serve", "--listen", "127.0.0.1:0", "--data", "registry"];
        let mut command = root.command(args.iter().chain(flags));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let host = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            if let Some((_, rest)) = line.split_once("the registry listens on ") {
                break rest.split(',').next().unwrap().to_owned();
            }
        };
        // what it logs must not stop it
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, host }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn people_and_tokens() {
    let root = Root::with_busybox();
    root.write("people", PEOPLE);
    let create = |name: &str, right: &str| {
        root.ok(["registry", "token", "create", name, "--allow", right, "--file", "tokens.json"])
    };
    let (writer, reader) = (create("ci", "pull,push:team/*"), create("reader", "pull:*"));
    let listed = root.ok(["registry", "token", "ls", "--file", "tokens.json"]);
    assert!(listed.contains("pull,push:team/*") && !listed.contains(&writer), "{listed}");
    root.fails(
        2,
        ["registry", "token", "create", "x", "--allow", "look:*", "--file", "tokens.json"],
    );
    let serving = Serving::start(&root, &["--htpasswd", "people", "--tokens", "tokens.json"]);
    let host = &serving.host;
    let auth = root.work().join("auth.json");
    let ours = |args: &[&str], input: &str| {
        let mut command = root.command(args);
        command.env("REGISTRY_AUTH_FILE", &auth).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).ok();
        child.wait().unwrap().success()
    };
    let name = format!("{host}/team/box:1");
    root.ok(["tag", "busybox", &name]);
    assert!(!ours(&["push", &name], ""), "nobody may push");
    assert!(!ours(&["login", host, "--username", "me", "--password-stdin"], "wrong"));
    assert!(ours(&["login", host, "--username", "ci", "--password-stdin"], &writer));
    // docker's own form, which old tools read
    assert!(ours(&["push", "--compression", "gzip", &name], ""));
    let elsewhere = format!("{host}/other/box:1");
    root.ok(["tag", "busybox", &elsewhere]);
    assert!(!ours(&["push", &elsewhere], ""), "a token's rights end at its repositories");

    if have("skopeo") {
        let copy = |credentials: &str, to: &str| {
            let mut skopeo = Command::new("skopeo");
            skopeo.args(["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]);
            skopeo.arg("--src-creds").arg(format!("x:{reader}"));
            skopeo.args(["--dest-creds", credentials]).arg(format!("docker://{name}"));
            skopeo.arg(format!("docker://{host}/{to}")).stderr(Stdio::null());
            skopeo.status().unwrap().success()
        };
        assert!(copy("me:secret", "any/where:1"));
        assert!(copy(&format!("ci:{writer}"), "team/copy:1"));
        assert!(!copy(&format!("ci:{writer}"), "any/copy:1"));
        assert!(!copy(&format!("x:{reader}"), "team/copy:2"));
    }
    if have("podman") {
        let store = root.work().join("podman");
        let podman = |args: &[&str]| {
            let mut podman = Command::new("podman");
            podman.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
            podman.args(["--storage-driver", "vfs"]).args(args);
            podman.env("REGISTRY_AUTH_FILE", root.work().join("podman.json"));
            podman.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            podman.status().unwrap().success()
        };
        let login = |password: &str| {
            podman(&["login", "--tls-verify=false", "-u", "me", "-p", password, host])
        };
        assert!(!podman(&["pull", "--tls-verify=false", &name]));
        assert!(!login("wrong"));
        assert!(login("secret"));
        assert!(podman(&["pull", "--tls-verify=false", &name]));
        assert!(podman(&["push", "--tls-verify=false", &name, &format!("{host}/pod/box:1")]));
    }
    root.ok(["registry", "token", "rm", "ci", "--file", "tokens.json"]);
    crate::harness::eventually("a removed token is no good", || !ours(&["push", &name], ""));
}
