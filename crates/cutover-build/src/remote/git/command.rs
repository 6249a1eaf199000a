//! Starting `git`: with an environment of ours, without anybody's configuration, hooks or
//! questions, and over protocols that only read what they are given.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::super::{RemoteError, url};
use crate::Cancel;

/// Most bytes of what git says that are kept.
const MAX_OUTPUT: u64 = 16 << 20;
/// How often a running git looks whether it still should.
const PATIENCE: Duration = Duration::from_millis(20);

/// How git is started.
#[derive(Clone, Debug)]
pub(super) struct Git<'a> {
    environment: &'a [(String, String)],
    cancel: &'a Cancel,
    own: Vec<(String, String)>,
    /// Configuration that may be secret: the command line could be read by others.
    config: Vec<(String, String)>,
    directory: Option<PathBuf>,
    with_file: bool,
}

impl<'a> Git<'a> {
    pub(super) fn new(environment: &'a [(String, String)], cancel: &'a Cancel) -> Self {
        let mut git = Self {
            environment,
            cancel,
            own: Vec::new(),
            config: Vec::new(),
            directory: None,
            with_file: false,
        };
        for (key, value) in [
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.symlinks", "true"),
            ("core.autocrlf", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("advice.detachedHead", "false"),
            ("safe.directory", "*"),
            ("transfer.fsckObjects", "true"),
            ("fetch.fsckObjects", "true"),
            // Real repositories have these old mistakes.
            ("fetch.fsck.zeroPaddedFilemode", "ignore"),
            ("fetch.fsck.badTimezone", "ignore"),
            ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
        ] {
            git.config.push((key.to_owned(), value.to_owned()));
        }
        git
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.own.retain(|(known, _)| known != name);
        self.own.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn in_repository(self, path: &Path) -> Self {
        self.set("GIT_DIR", &path.to_string_lossy())
    }

    pub(super) fn without_repository(mut self) -> Self {
        self.own.retain(|(name, _)| name != "GIT_DIR");
        self
    }

    /// The directory of the files.
    pub(super) fn with_files(mut self, path: &Path) -> Self {
        self.directory = Some(path.to_owned());
        self.set("GIT_WORK_TREE", &path.to_string_lossy())
    }

    pub(super) fn with_index(self, path: &Path) -> Self {
        self.set("GIT_INDEX_FILE", &path.to_string_lossy())
    }

    pub(super) fn with_files_of_this_machine(mut self, allowed: bool) -> Self {
        self.with_file = allowed;
        self
    }

    /// Submodules are named by the repository, not by the user.
    pub(super) fn without_files_of_this_machine(self) -> Self {
        self.with_files_of_this_machine(false)
    }

    pub(super) fn with_agent(self, socket: Option<&Path>) -> Self {
        match socket {
            Some(socket) => self.set("SSH_AUTH_SOCK", &socket.to_string_lossy()),
            None => self,
        }
    }

    /// A host's key is believed the first time and must be the same later.
    pub(super) fn with_known_hosts(self, path: &Path) -> Self {
        let ssh = format!(
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o 'UserKnownHostsFile={}'",
            path.display()
        );
        self.set("GIT_SSH_COMMAND", &ssh)
    }

    /// An `Authorization` header for the remote's own host.
    pub(super) fn with_header(mut self, remote: &str, header: Option<String>) -> Self {
        if let (Some(header), Some((scheme, _))) = (header, remote.split_once("://")) {
            let key = format!("http.{scheme}://{}/.extraheader", url::host(remote));
            self.config.push((key, format!("Authorization: {header}")));
        }
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let protocols =
            if self.with_file { "http:https:git:ssh:file" } else { "http:https:git:ssh" };
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("HOME", "/dev/null"),
            ("XDG_CONFIG_HOME", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "/bin/false"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_ALLOW_PROTOCOL", protocols),
            ("GIT_HTTP_LOW_SPEED_LIMIT", "100"),
            ("GIT_HTTP_LOW_SPEED_TIME", "60"),
            ("LC_ALL", "C"),
        ] {
            command.env(name, value);
        }
        command.envs(self.own.iter().map(|(name, value)| (name, value)));
        command.env("GIT_CONFIG_COUNT", self.config.len().to_string());
        for (index, (key, value)) in self.config.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.args(words).current_dir(self.directory.as_deref().unwrap_or(Path::new("/")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs git to its end and returns what it wrote. `remote` is for messages.
    pub(super) fn run(&self, words: &[&str], remote: &str) -> Result<String, RemoteError> {
        let mut child = match self.command(words).spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(RemoteError::NoGit { url: url::shown(remote) });
            }
            spawned => spawned?,
        };
        let output = collect(child.stdout.take());
        let errors = collect(child.stderr.take());
        let status = self.wait(&mut child)?;
        let text = |thread: std::thread::JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
        };
        let (output, errors) = (text(output), text(errors));
        if status.success() {
            return Ok(output);
        }
        let command = words.iter().find(|word| !word.starts_with('-') && !word.contains('='));
        Err(RemoteError::Git {
            url: url::shown(remote),
            command: (*command.unwrap_or(&"")).to_owned(),
            message: message(&errors, remote),
        })
    }

    fn wait(&self, child: &mut Child) -> Result<std::process::ExitStatus, RemoteError> {
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if self.cancel.is_raised() {
                drop(child.kill());
                drop(child.wait());
                return Err(RemoteError::Interrupted);
            }
            std::thread::sleep(PATIENCE);
        }
    }
}

/// Reads a pipe to its end and keeps its beginning.
fn collect(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            drop(pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept));
            drop(std::io::copy(&mut pipe, &mut std::io::sink()));
        }
        kept
    })
}

/// The lines that say something, on one line, without passwords and control characters.
fn message(errors: &str, remote: &str) -> String {
    let lines = errors.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<&str> = lines.take(10).collect();
    let text = said.join("; ").replace(remote, &url::shown(remote));
    text.chars().filter(|ch| !ch.is_control()).take(1000).collect()
}
