//! `push --to`: images from one root to another, through a pipe and through a real sshd.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Root, binary, eventually, have};
use crate::run::free_port;

fn receiver(root: &Root) -> String {
    format!(
        "exec:exec '{}' --root '{}' receive",
        binary().display(),
        root.path().join("root").display()
    )
}

#[test]
fn pushed_through_a_pipe_and_run_there() {
    let (here, there) = (Root::with_busybox(), Root::new());
    let to = receiver(&there);
    let first = here.run(["push", "--to", &to, "busybox"]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.out.starts_with("latest: digest: sha256:"), "{}", first.out);
    assert!(first.err.contains("Pushed"), "{}", first.err);
    let again = here.run(["push", "--to", &to, "busybox"]);
    assert!(again.err.contains("Layer already exists"), "{}", again.err);
    assert_eq!(again.out, first.out, "the image keeps its digest");
    assert_eq!(there.ok(["run", "--rm", "busybox", "echo", "works"]), "works");
    let id = ["images", "--quiet", "--no-trunc"];
    assert_eq!(here.ok(id), there.ok(id));
}

#[test]
fn what_the_other_side_says_is_told() {
    let here = Root::with_busybox();
    let error = here.fails(4, ["push", "--to", "exec:echo no such command", "busybox"]);
    assert!(error.contains("it said `no such command`"), "{error}");
    assert!(error.contains("hint: "), "{error}");
    let error = here.fails(4, ["push", "--to", "exec:exit 1", "busybox"]);
    assert!(error.contains("it said nothing"), "{error}");
    here.fails(2, ["push", "--to", "ssh://-oProxyCommand=x", "busybox"]);
}

/// An sshd of our own, with keys that nobody else has.
struct Sshd {
    child: Child,
    /// A folder with an `ssh` that knows this server.
    path: PathBuf,
    port: u16,
}

impl Sshd {
    fn start(dir: &Path, there: &Root) -> Self {
        let key = |name: &str| {
            let file = dir.join(name);
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file);
            assert!(keygen.status().unwrap().success());
            file
        };
        let (host, user) = (key("host"), key("user"));
        let bin = dir.join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(binary(), bin.join("cutover")).unwrap();
        let port = free_port();
        let config = dir.join("sshd_config");
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nAuthorizedKeysFile {}\n\
             SetEnv PATH={}:/usr/bin:/bin CUTOVER_ROOT={}\n",
            host.display(),
            user.with_extension("pub").display(),
            bin.display(),
            there.path().join("root").display(),
        );
        std::fs::write(&config, text).unwrap();
        // it refuses to start without, whether or not it separates privileges there
        std::fs::create_dir_all("/run/sshd").unwrap();
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.arg("-D").arg("-f").arg(&config).stdin(Stdio::null());
        sshd.arg("-E").arg(dir.join("sshd.log"));
        let child = sshd.spawn().unwrap();
        let path = dir.join("path");
        std::fs::create_dir(&path).unwrap();
        let wrapper = format!(
            "#!/bin/sh\nexec /usr/bin/ssh -F none -i '{}' -o UserKnownHostsFile='{}' \
             -o StrictHostKeyChecking=accept-new -o BatchMode=yes \"$@\"\n",
            user.display(),
            dir.join("known").display(),
        );
        std::fs::write(path.join("ssh"), wrapper).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path.join("ssh"), executable).unwrap();
        let sshd = Self { child, path, port };
        eventually("sshd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        sshd
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn pushed_over_ssh() {
    if !have("sshd") || !have("ssh") {
        return;
    }
    let (here, there) = (Root::with_busybox(), Root::new());
    let dir = here.work();
    let sshd = Sshd::start(&dir, &there);
    let path = format!("{}:/usr/bin:/bin", sshd.path.display());
    let to = format!("ssh://root@127.0.0.1:{}", sshd.port);
    let push = |expected: &str| {
        let mut command = here.command(["push", "--to", &to, "busybox"]);
        let output = command.env("PATH", &path).stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let log = std::fs::read_to_string(dir.join("sshd.log")).unwrap_or_default();
        assert!(output.status.success() && error.contains(expected), "{error}\n{log}");
    };
    push("Pushed");
    push("Layer already exists");
    assert_eq!(there.ok(["run", "--rm", "busybox", "echo", "works"]), "works");
}
