//! What is kept of containers: `ROOT/ID/state.json`, `config.json`, the lock, and the socket at which a created
//! container waits.
//!
//! The state is written before anything is made, so that what a killed `create` left can be found and deleted. Files
//! appear whole. A process is known by its number and the moment at which it started, so that another one with the
//! same number is never taken for it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::config::{Config, VERSION};
use super::error::{Error, Result};

/// The directory that holds all containers.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

/// The part of a container that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Of this format.
    version: u32,
    /// Its name.
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// Below the mount points of control groups.
    pub cgroup: String,
    /// The first process, once there is one.
    pub process: Option<ProcessId>,
    /// The number of the root's mount, where it is in the host's own mount table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mount: Option<u64>,
}

/// A process, never to be mistaken for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// On the host.
    pub pid: i32,
    /// Clock ticks after boot.
    pub started: u64,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "as in the specification")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// What hooks and `state` are told.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name.
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// The bundle's.
    pub annotations: BTreeMap<String, String>,
}

impl Facts {
    /// The state document of the specification.
    pub fn json(&self, status: &str, pid: Option<i32>) -> Vec<u8> {
        let document = serde_json::json!({
            "ociVersion": VERSION,
            "id": self.id,
            "status": status,
            "pid": pid.unwrap_or(0),
            "bundle": self.bundle,
            "annotations": self.annotations,
        });
        document.to_string().into_bytes()
    }
}

const FORMAT: u32 = 1;

/// The socket at which a created container waits.
pub(super) const WAITING: &str = "start.sock";

/// Letters, digits and a few marks, and nothing that is a path.
pub fn check_id(id: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
    if id.is_empty() || id.len() > 1024 || id.starts_with('.') || !id.bytes().all(fine) {
        return Err(Error::invalid("id", format!("`{}`", id.escape_debug())));
    }
    Ok(())
}

impl Store {
    /// Makes the directory when it is missing.
    pub fn open(root: &Path) -> Result<Self> {
        let path = std::path::absolute(root).map_err(Error::from_io("find", root))?;
        Ok(Self(path))
    }

    /// Of a container.
    pub fn directory(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    /// Makes the directory of a new container and takes its lock.
    pub(super) fn claim(&self, id: &str) -> Result<Locked> {
        check_id(id)?;
        let directory = self.directory(id);
        fs_err::create_dir_all(&self.0).map_err(Error::from_io("create", &self.0))?;
        match rustix::fs::mkdir(&directory, Mode::from_raw_mode(0o711)) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(Error::Exists(id.to_owned())),
            Err(errno) => {
                return Err(Error::step("create", directory.display().to_string())(errno));
            }
        }
        lock(&directory, id)
    }

    /// A container with its lock: nobody else starts or deletes it meanwhile.
    pub fn lock(&self, id: &str) -> Result<Locked> {
        check_id(id)?;
        let directory = self.directory(id);
        lock(&directory, id)
    }

    /// What is kept of a container.
    pub fn read(&self, id: &str) -> Result<State> {
        check_id(id)?;
        read(&self.directory(id), id)
    }

    /// Its config as it was when it was created.
    pub fn config(&self, id: &str) -> Result<Config> {
        let path = self.directory(id).join("config.json");
        let text = fs_err::read(&path).map_err(Error::from_io("read", &path))?;
        super::config::parse(&text)
    }

    /// Names of all, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match fs_err::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::from_io("list", &self.0)(error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<String> =
            names.filter(|id| self.directory(id).join("state.json").exists()).collect();
        ids.sort();
        Ok(ids)
    }

    /// Where it is in its life.
    pub fn status(&self, state: &State) -> Status {
        let Some(process) = state.process else {
            // Whoever creates it holds the lock.
            let busy = self.lock_is_held(&state.id);
            return if busy { Status::Creating } else { Status::Stopped };
        };
        if process.find().is_none() {
            return Status::Stopped;
        }
        if self.is_waiting(&state.id) {
            return Status::Created;
        }
        let frozen = crate::cgroup::Cgroup::at(&state.cgroup).and_then(|group| group.frozen());
        if frozen.unwrap_or(false) { Status::Paused } else { Status::Running }
    }

    fn lock_is_held(&self, id: &str) -> bool {
        let Ok(file) = open_lock(&self.directory(id)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }

    fn is_waiting(&self, id: &str) -> bool {
        self.directory(id).join(WAITING).exists() && self.connect(id).is_ok()
    }

    /// To the created container.
    pub(super) fn connect(&self, id: &str) -> rustix::io::Result<OwnedFd> {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(self.directory(id), flags, Mode::empty())?;
        let kind = SocketType::SEQPACKET;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        // By its directory: a path of any length.
        let number = std::os::fd::AsRawFd::as_raw_fd(&dir);
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{number}/{WAITING}"))?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket)
    }
}

fn open_lock(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(directory.join("lock"), flags, Mode::from_raw_mode(0o600))
}

fn lock(directory: &Path, id: &str) -> Result<Locked> {
    let file = match open_lock(directory) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Err(Error::NoContainer(id.to_owned())),
        Err(errno) => return Err(Error::step("lock", directory.display().to_string())(errno)),
    };
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::step("lock", directory.display().to_string())(errno)),
        }
    }
    Ok(Locked { directory: directory.to_owned(), id: id.to_owned(), file })
}

fn read(directory: &Path, id: &str) -> Result<State> {
    let path = directory.join("state.json");
    let text = match fs_err::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoContainer(id.to_owned()));
        }
        Err(error) => return Err(Error::from_io("read", &path)(error)),
    };
    let state: State = serde_json::from_slice(&text)
        .map_err(|error| Error::from_io("understand", &path)(error.into()))?;
    if state.version > FORMAT {
        return Err(Error::unsupported(
            path.display().to_string(),
            "it was written by a newer version",
        ));
    }
    Ok(state)
}

/// A container that nobody else changes meanwhile.
#[derive(Debug)]
pub struct Locked {
    directory: PathBuf,
    id: String,
    file: OwnedFd,
}

impl Locked {
    /// Of the container.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The lock is held as long as anybody has this open: a child closes it.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// What is kept; `None` when a killed `create` did not get as far.
    pub(super) fn read(&self) -> Result<Option<State>> {
        match read(&self.directory, &self.id) {
            Err(Error::NoContainer(_)) => Ok(None),
            result => result.map(Some),
        }
    }

    pub(super) fn write(&self, state: &State) -> Result<()> {
        let text = serde_json::to_vec(state).unwrap_or_default();
        self.publish("state.json", &text)
    }

    pub(super) fn write_config(&self, config: &Config) -> Result<()> {
        let text = serde_json::to_vec(config).unwrap_or_default();
        self.publish("config.json", &text)
    }

    fn publish(&self, name: &str, text: &[u8]) -> Result<()> {
        let (path, temporary) =
            (self.directory.join(name), self.directory.join(format!(".{name}.new")));
        fs_err::write(&temporary, text)
            .and_then(|()| fs_err::rename(&temporary, &path))
            .map_err(Error::from_io("write", &path))
    }

    /// Nothing is kept any more.
    pub(super) fn forget(self) -> Result<()> {
        // The name goes first, so that nobody sees half of it; the lock's file goes with it.
        let gone = self.directory.with_file_name(format!(".{}.deleted", self.id));
        let moved = fs_err::rename(&self.directory, &gone);
        let at = if moved.is_ok() { gone } else { self.directory.clone() };
        fs_err::remove_dir_all(&at).map_err(Error::from_io("remove", &at))
    }
}

impl State {
    pub(super) fn new(id: &str, bundle: &Path, created: String, cgroup: String) -> Self {
        Self {
            version: FORMAT,
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            created,
            cgroup,
            process: None,
            mount: None,
        }
    }

    /// Takes the root out of the host's mount table, if it is there.
    pub(super) fn unmount(&self, config: &Config) -> Result<()> {
        let Some(mount) = self.mount else { return Ok(()) };
        let path = self.bundle.join(config.root.clone().unwrap_or_default().path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(root) = rustix::fs::open(&path, flags, Mode::empty()) else { return Ok(()) };
        if mount_of(&root) != Some(mount) {
            return Ok(());
        }
        use rustix::mount::UnmountFlags;
        rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(Error::step("unmount", path.display().to_string()))
    }

    /// What hooks and callers are told.
    pub fn facts(&self, config: &Config) -> Facts {
        Facts {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            annotations: config.annotations.clone(),
        }
    }
}

impl ProcessId {
    /// Of a process that cannot end meanwhile without becoming a zombie of ours.
    pub(super) fn of(pid: i32) -> Result<Self> {
        let started = started(pid).ok_or(Error::Died)?;
        Ok(Self { pid, started })
    }

    /// The living process, `None` when it has ended (a zombie too).
    pub fn find(self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        (started(self.pid) == Some(self.started)).then_some(pidfd)
    }
}

/// The number of the mount that a descriptor is on.
pub(super) fn mount_of(fd: &OwnedFd) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags};
    let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    Some(found.stx_mnt_id)
}

/// When a process started, `None` when it is gone or only waits to be reaped.
fn started(pid: i32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, also parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_no_paths() {
        for id in ["a", "A.b-c_d+e", "0"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\n", "x\0"] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn processes_are_known_again() {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let own = ProcessId::of(pid).expect("this process");
        assert!(own.find().is_some());
        assert!(ProcessId { started: own.started + 1, ..own }.find().is_none());
    }
}
