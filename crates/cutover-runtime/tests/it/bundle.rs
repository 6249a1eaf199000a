//! A root file system of the host's static busybox, and running things in it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cutover_runtime::init::{self, Created, ExitStatus, Io, Running, StartError};
use cutover_runtime::spec::{ExecSpec, Network, Rootfs, Spec};
use cutover_runtime::sys::own_exe;

/// A throw-away container root.
pub(crate) struct Bundle {
    dir: Arc<tempfile::TempDir>,
    /// Change it before running.
    pub(crate) spec: Spec,
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

const BUSYBOX: &str = "/bin/busybox";

const APPLETS: &str = "sh ls cat echo id mkdir mknod mount umount chroot sleep grep wc ps kill env pwd true false \
    touch dd stat head tail hostname chown chmod ln rm mv cp find readlink sysctl ulimit tty stty timeout trap unshare \
    test [ seq ip nc setsid free nproc sort tr printf sync df tee";

impl Bundle {
    /// With an overlay: the busybox layer below, a writable one above.
    pub(crate) fn new() -> Self {
        own_exe::accept_unprotected();
        let dir = Arc::new(tempfile::tempdir().expect("temporary directory"));
        let path = |name: &str| dir.path().join(name);
        lay_out(&path("lower"));
        fs_err::create_dir(path("layer")).expect("directory");
        let spec = Spec {
            cgroup: name(),
            rootfs: Rootfs::Overlay {
                lowers: vec![path("layer"), path("lower")],
                upper: Some(path("upper")),
                work: Some(path("work")),
                read_only: false,
                volatile: true,
            },
            hostname: "box".to_owned(),
            network: Network::Private,
            ..Spec::default()
        };
        Self { dir, spec }
    }

    /// A path in the bundle's directory on the host (not in its root).
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The image's files, which may be changed before running.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.dir.path().join("lower").join(name)
    }

    /// Runs a shell script to its end.
    pub(crate) fn sh(&self, script: &str) -> Output {
        self.run(&["sh", "-c", script])
    }

    /// Runs a program to its end; a failed start shows as its message on `stderr`.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let (io, out, err) = streams();
        let spec = Spec { args: strings(args), ..self.spec.clone() };
        let started = init::create(&spec, io).map_err(StartError::from).and_then(Created::start);
        let output = collect(started, out, err);
        cutover_runtime::cgroup::Cgroup::open(&self.spec.cgroup)
            .and_then(|cgroup| cgroup.remove())
            .expect("control group removed");
        output
    }

    /// Starts a shell script and hands it back running, with its output.
    pub(crate) fn start(&self, script: &str) -> Started {
        let (io, out, err) = streams();
        let spec = Spec { args: strings(&["sh", "-c", script]), ..self.spec.clone() };
        let created = init::create(&spec, io).expect("created");
        let running = created.start().expect("started");
        Started { spec, running, out, _err: err, ended: false, _dir: Arc::clone(&self.dir) }
    }
}

/// A running container; killed and cleaned up in the end.
pub(crate) struct Started {
    pub(crate) spec: Spec,
    pub(crate) running: Running,
    pub(crate) out: File,
    /// Kept open, so that writing an error does not end the program.
    _err: File,
    ended: bool,
    /// Its root lives as long as it does.
    _dir: Arc<tempfile::TempDir>,
}

impl Started {
    /// Waits until the container has written this much.
    pub(crate) fn wait_for(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        self.out.read_exact(&mut got).expect("output");
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    /// Runs one more program to its end.
    pub(crate) fn exec(&self, args: &[&str]) -> Output {
        self.exec_as(ExecSpec { args: strings(args), ..ExecSpec::default() })
    }

    /// The same with more to say.
    pub(crate) fn exec_as(&self, exec: ExecSpec) -> Output {
        use std::os::fd::AsFd;
        let (io, out, err) = streams();
        collect(init::exec(&self.spec, self.running.pidfd.as_fd(), &exec, io), out, err)
    }

    /// Waits for its own end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.ended = true;
        self.running.wait().expect("waited")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let cgroup =
            cutover_runtime::cgroup::Cgroup::open(&self.spec.cgroup).expect("control group");
        if !self.ended {
            drop(self.running.signal(9));
            drop(self.running.wait());
        }
        drop(cgroup.kill_all());
        cgroup.remove().expect("control group removed");
    }
}

pub(crate) fn collect(
    started: Result<Running, StartError>,
    mut out: File,
    mut err: File,
) -> Output {
    match started {
        Ok(running) => {
            let errors = std::thread::spawn(move || {
                let mut text = String::new();
                err.read_to_string(&mut text).map(|_| text).unwrap_or_default()
            });
            let mut stdout = Vec::new();
            out.read_to_end(&mut stdout).expect("stdout");
            let status = running.wait().expect("waited");
            let stderr = errors.join().expect("reader");
            Output {
                code: status.code(),
                stdout: String::from_utf8_lossy(&stdout).into_owned(),
                stderr,
            }
        }
        Err(error) => {
            Output { code: error.exit_code(), stdout: String::new(), stderr: chain(&error) }
        }
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

/// Nothing to read, and pipes to write.
pub(crate) fn streams() -> (Io, File, File) {
    let null = fs_err::File::open("/dev/null").expect("/dev/null");
    let (out, stdout) = std::io::pipe().expect("pipe");
    let (err, stderr) = std::io::pipe().expect("pipe");
    let file = |reader: std::io::PipeReader| File::from(OwnedFd::from(reader));
    let io = Io::Streams { stdin: null.into(), stdout: stdout.into(), stderr: stderr.into() };
    (io, file(out), file(err))
}

pub(crate) fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn lay_out(root: &Path) {
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "var", "run"] {
        fs_err::create_dir_all(root.join(directory)).expect("directory");
    }
    assert!(
        Path::new(BUSYBOX).exists(),
        "these tests need a static busybox at {BUSYBOX} (package busybox-static)"
    );
    fs_err::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox");
    for applet in APPLETS.split_ascii_whitespace() {
        symlink("busybox", root.join("bin").join(applet)).expect("applet");
    }
    fs_err::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:\n")
        .expect("users");
    fs_err::write(root.join("etc/group"), "root:x:0:\nwww:x:34:\nssl:x:101:web\n").expect("groups");
}
