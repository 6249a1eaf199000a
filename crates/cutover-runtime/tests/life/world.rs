//! A root of its own for each test, an image made of busybox, and shorthands.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cutover_core::{Digest, oci};
use cutover_runtime::container::{
    Container, Containers, Ended, ExecOptions, ExitStatus, NetworkMode, Result, Session, SessionIo,
    State,
};
use cutover_runtime::logs::LogOptions;
use cutover_runtime::merge::{ImageSource, RunOptions, merge};
use fs_err as fs;
use jiff::Timestamp;

const APPLETS: [&str; 26] = [
    "sh", "sleep", "cat", "echo", "true", "false", "yes", "stty", "kill", "mkdir", "id", "env",
    "head", "dd", "ls", "touch", "printf", "wc", "seq", "hostname", "grep", "chmod", "rm", "ip",
    "nc", "tty",
];

/// Everything is removed when it is dropped, also after a failed test.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) containers: Containers,
    pub(crate) image: oci::Config,
}

/// What a container or an exec wrote, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) exit: Ended,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn code(&self) -> i32 {
        match self.exit {
            Ended::Exited(exit) => exit.code,
            Ended::Detached => panic!("detached"),
        }
    }
}

impl World {
    /// `None`, said aloud, where the test cannot run.
    pub(crate) fn new() -> Option<Self> {
        if !Path::new("/bin/busybox").exists() || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root and /bin/busybox (Debian's busybox-static)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("snapshots/image");
        fs::create_dir_all(image.join("bin")).unwrap();
        fs::create_dir_all(image.join("etc")).unwrap();
        fs::copy("/bin/busybox", image.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            fs_err::os::unix::fs::symlink("busybox", image.join("bin").join(applet)).unwrap();
        }
        let users = "root:x:0:0:root:/:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n";
        fs::write(image.join("etc/passwd"), users).unwrap();
        fs::write(image.join("etc/group"), "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n").unwrap();
        let own = std::env::current_exe().unwrap();
        let containers = Containers::open(dir.path(), &dir.path().join("run")).unwrap();
        let containers = containers.with_shim(&own);
        Some(Self { dir, containers, image: oci::Config::default() })
    }

    pub(crate) fn lower(&self) -> PathBuf {
        self.dir.path().join("snapshots/image")
    }

    /// Options without a network: most tests need none.
    pub(crate) fn options(&self, script: &str) -> RunOptions {
        let mut options = RunOptions::new(random_id().parse().unwrap(), Timestamp::now());
        options.cmd = ["sh", "-c", script].map(str::to_owned).to_vec();
        options.network = NetworkMode::None;
        options
    }

    pub(crate) fn try_create(&self, options: RunOptions) -> Result<Container> {
        let image = ImageSource {
            name: "busybox".to_owned(),
            digest: Digest::sha256(b"busybox"),
            config: &self.image,
            lowers: vec![self.lower()],
        };
        self.containers.create(merge(&image, options).unwrap())
    }

    pub(crate) fn create(&self, options: RunOptions) -> Container {
        self.try_create(options).unwrap()
    }

    /// Runs a script in the foreground.
    pub(crate) fn run(&self, options: RunOptions) -> Output {
        let container = self.create(options);
        collect(container.start_attached(false, None).unwrap(), None)
    }

    /// Starts a script in the background.
    pub(crate) fn start(&self, options: RunOptions) -> Container {
        let container = self.create(options);
        container.start().unwrap();
        container
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Ok(all) = self.containers.list() else { return };
        for summary in all {
            if let Ok(container) = self.containers.get(summary.config.id.as_str())
                && let Err(error) = container.remove(true, true)
            {
                eprintln!("left behind: {error}");
            }
        }
        let run = self.dir.path().join("run");
        if let Ok(networks) = cutover_runtime::net::Networks::open(self.dir.path(), &run)
            && let Err(error) = networks.remove_all()
        {
            eprintln!("left behind: {error}");
        }
    }
}

pub(crate) fn random_id() -> String {
    let uuid = || fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    let text = uuid() + &uuid();
    text.chars().filter(char::is_ascii_hexdigit).collect()
}

/// Runs a session to its end.
pub(crate) fn collect(session: Session, stdin: Option<&OwnedFd>) -> Output {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = session
        .run(SessionIo {
            stdin: stdin.map(AsFd::as_fd),
            stdout: &mut stdout,
            stderr: &mut stderr,
            forward_signals: false,
            detach_keys: Vec::new(),
        })
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { exit, stdout: text(stdout), stderr: text(stderr) }
}

pub(crate) fn exec(container: &Container, script: &str) -> Output {
    let args = ["sh", "-c", script].map(str::to_owned).to_vec();
    let options = ExecOptions { args, ..ExecOptions::default() };
    collect(container.exec(&options).unwrap(), None)
}

/// A pipe that holds `text` and is at its end.
pub(crate) fn input(text: &str) -> OwnedFd {
    let (read, write) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&write, text.as_bytes()).unwrap();
    read
}

pub(crate) fn logs(container: &Container, options: &LogOptions) -> Vec<String> {
    let mut lines = Vec::new();
    let mut sink = |entry: &cutover_runtime::logs::Entry| {
        lines.push(format!("{}: {}", entry.stream.as_str(), entry.text.trim_end()));
        Ok(())
    };
    container.logs(options, &mut sink).unwrap();
    lines
}

/// Waits until the state is as wanted, woken by its changes; what happened meanwhile is not lost.
pub(crate) fn await_state(
    world: &World,
    container: &Container,
    wanted: impl Fn(&State) -> bool,
) -> State {
    let mut watch = world.containers.watch().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let state = container.state().unwrap();
        if wanted(&state) {
            return state;
        }
        assert!(Instant::now() < end, "still {state:?}");
        watch.next(Some(Duration::from_secs(1))).unwrap();
    }
}

/// Waits until a line was logged: the script says when it is where the test wants it.
pub(crate) fn await_line(container: &Container, wanted: &str) {
    let mut seen = false;
    let mut sink = |entry: &cutover_runtime::logs::Entry| {
        seen |= entry.text.trim_end() == wanted;
        if seen { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    };
    let options = LogOptions { follow: true, ..LogOptions::default() };
    container.logs(&options, &mut sink).unwrap();
    assert!(seen, "`{wanted}` was never logged");
}

pub(crate) fn exited(code: i32) -> Ended {
    Ended::Exited(ExitStatus::exited(code))
}

/// Whether a process exists (and is not only a zombie).
pub(crate) fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
