//! [`Root`]: a root of its own for each test, with the binary to drive on it. Dropping it ends and
//! removes everything that was started there.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    match std::env::var_os("CUTOVER_BIN") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_cutover").into(),
    }
}

/// Whether a peer is installed; says so when a test is left out for want of it.
pub(crate) fn have(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into()])
        .any(|dir| dir.join(program).is_file());
    if !found {
        eprintln!("SKIPPED: `{program}` is not installed; `make test` installs it");
    }
    found
}

#[derive(Debug)]
pub(crate) struct Root {
    dir: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Root {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("cut").tempdir().unwrap() }
    }

    /// A root with the image `busybox`.
    pub(crate) fn with_busybox() -> Self {
        let root = Self::new();
        root.busybox();
        root
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A place for the test's own files.
    pub(crate) fn work(&self) -> PathBuf {
        let dir = self.path().join("work");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command.env("CUTOVER_ROOT", self.path().join("root")).env("NO_COLOR", "1");
        command.env_remove("SOURCE_DATE_EPOCH").current_dir(self.work()).args(args);
        command
    }

    /// Runs to the end, whatever the end is.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        said(self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs and must succeed; what it printed.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let mut command = self.command(args);
        let shown = format!("{command:?}");
        let said = said(command.stdin(Stdio::null()).output().unwrap());
        assert_eq!(said.code, 0, "{shown}\nstdout: {}\nstderr: {}", said.out, said.err);
        said.out.trim_end().to_owned()
    }

    /// Runs and must fail with `code`; what it said on stderr.
    #[track_caller]
    pub(crate) fn fails<S: AsRef<OsStr>>(
        &self,
        code: i32,
        args: impl IntoIterator<Item = S>,
    ) -> String {
        let mut command = self.command(args);
        let shown = format!("{command:?}");
        let said = said(command.stdin(Stdio::null()).output().unwrap());
        assert_eq!(said.code, code, "{shown}\nstdout: {}\nstderr: {}", said.out, said.err);
        said.err
    }

    /// Runs with `input` on stdin.
    pub(crate) fn feed<S: AsRef<OsStr>>(
        &self,
        input: &[u8],
        args: impl IntoIterator<Item = S>,
    ) -> Said {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // a command that does not read its input closes it: that is no failure
        drop(child.stdin.take().unwrap().write_all(input));
        said(child.wait_with_output().unwrap())
    }

    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Imports an image `busybox` made of the machine's static busybox.
    fn busybox(&self) {
        let tar = self.work().join("busybox.tar");
        std::fs::write(&tar, busybox_tar()).unwrap();
        self.ok([OsStr::new("import"), tar.as_os_str(), OsStr::new("busybox")]);
    }

    /// The containers of this root that live, by pid.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        drop(self.run(["reset", "--force"]));
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits for a child and what it said.
pub(crate) fn finish(child: Child) -> Said {
    said(child.wait_with_output().unwrap())
}

/// Asks again until `check` says yes.
#[track_caller]
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A tar with a static busybox and links for its applets.
fn busybox_tar() -> Vec<u8> {
    const APPLETS: [&str; 44] = [
        "sh",
        "ls",
        "cat",
        "echo",
        "true",
        "false",
        "sleep",
        "id",
        "env",
        "hostname",
        "mkdir",
        "touch",
        "rm",
        "ps",
        "kill",
        "stat",
        "wget",
        "nslookup",
        "ping",
        "ip",
        "mount",
        "head",
        "seq",
        "dd",
        "yes",
        "httpd",
        "nc",
        "grep",
        "chmod",
        "chown",
        "ln",
        "readlink",
        "test",
        "printf",
        "tr",
        "cut",
        "date",
        "sha256sum",
        "find",
        "sync",
        "stty",
        "wc",
        "tail",
        "pwd",
    ];
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, mode: u32, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_700_000_000);
        header
    };
    for dir in ["bin/", "etc/", "tmp/", "root/", "var/", "dev/", "proc/", "sys/"] {
        let mode = if dir == "tmp/" { 0o1777 } else { 0o755 };
        let mut header = header(tar::EntryType::Directory, mode, 0);
        tar.append_data(&mut header, dir, std::io::empty()).unwrap();
    }
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut file = header(tar::EntryType::Regular, 0o755, busybox.len() as u64);
    tar.append_data(&mut file, "bin/busybox", busybox.as_slice()).unwrap();
    for applet in APPLETS {
        let mut link = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut link, format!("bin/{applet}"), "busybox").unwrap();
    }
    for (path, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/tmp:/bin/sh\n"),
        ("etc/group", "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n"),
    ] {
        let mut file = header(tar::EntryType::Regular, 0o644, text.len() as u64);
        tar.append_data(&mut file, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}
