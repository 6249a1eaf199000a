//! Directories of `RUN --mount=type=cache`, which outlive builds: `ROOT/cache-mounts`.
//!
//! A cache is known by its id and by what it began with (nothing, an owner and mode, or files of a
//! stage or image). It has a directory `KEY` with a `cache.json` that says what it is, and in it
//! numbered instances: more than one when `sharing=private` wanted its own. Each instance has a
//! lock file, held shared or exclusively for as long as a step uses it, so that builds of several
//! processes, the pruner and the exporter respect each other; a killed build's locks are gone with
//! it. What is in an instance is hostile: it is only ever looked at through [`Tree`].

mod archive;
mod list;

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use fs_err::File;
use rustix::fs::{FlockOperation, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Cancel;
use crate::fingerprint::Fingerprint;
use crate::mount::{Access, Sharing};

pub(crate) use archive::ArchiveError;
pub use list::CacheMount;

/// What is said of a cache beside its files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// With the namespace of BUILDKIT_CACHE_MOUNT_NS, if there is one: `NAMESPACE/ID`.
    pub(crate) id: String,
    /// `uid:gid mode`, or the digest of the files that it began with; empty for an empty one.
    #[serde(default)]
    pub(crate) base: String,
}

impl Identity {
    pub(crate) fn new(namespace: &str, id: &str) -> Self {
        let id = if namespace.is_empty() { id.to_owned() } else { format!("{namespace}/{id}") };
        Self { id, base: String::new() }
    }

    /// Of a directory that is given an owner and a mode.
    pub(crate) fn and_owned(self, access: Access) -> Self {
        let Access { mode, uid, gid } = access;
        let base = format!("{} {uid}:{gid} {mode:o}", self.base).trim_start().to_owned();
        Self { base, ..self }
    }

    /// Name of its directory.
    fn key(&self) -> String {
        let mut key = Fingerprint::new("cache mount 1");
        key.field("id", &self.id);
        key.field("base", &self.base);
        key.finish().hex().to_owned()
    }
}

/// Why caches cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheMountError {
    #[error("failed to {action} the cache mount `{id}`")]
    Io {
        action: &'static str,
        id: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to read the cache mounts in `{}`", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no cache mount `{id}`")]
    NotFound { id: String },
    #[error("`{id}` names several cache mounts: {}", keys.join(", "))]
    Ambiguous { id: String, keys: Vec<String> },
    #[error("the cache mount `{id}` is in use by a build")]
    InUse { id: String },
    #[error("the wait for the cache mount `{id}` was canceled")]
    Canceled { id: String },
    #[error("failed to copy the cache mount")]
    Archive(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<ArchiveError> for CacheMountError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(Box::new(error))
    }
}

/// The caches of one root.
#[derive(Clone, Debug)]
pub struct CacheMounts {
    dir: PathBuf,
}

/// An instance that nobody takes away as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) data: PathBuf,
    _lock: Lock,
}

/// A locked file. It is unlocked by more than closing it: a container that another thread is
/// making has a copy of the descriptor until its program runs.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _unlocked = rustix::fs::flock(self.0.file().as_fd(), FlockOperation::Unlock);
    }
}

/// How a step wants an instance.
pub(crate) struct Wish<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) sharing: Sharing,
    /// Seconds since 1970: when it was last used.
    pub(crate) now: i64,
    pub(crate) cancel: &'a Cancel,
}

impl CacheMounts {
    /// The caches of the store at `root`; the directory is made when the first cache is.
    pub fn of(root: &Path) -> Self {
        Self { dir: root.join("cache-mounts") }
    }

    /// Takes an instance of a cache. A new one is filled by `fill`, which gets an empty directory.
    pub(crate) fn take<E: From<CacheMountError>>(
        &self,
        wish: &Wish<'_>,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Held, E> {
        let failed =
            |source| CacheMountError::Io { action: "open", id: wish.identity.id.clone(), source };
        loop {
            let making = self.making().map_err(failed)?;
            let dir = self.dir.join(wish.identity.key());
            if let Some((number, lock)) = choose(&dir, wish).map_err(failed)? {
                describe(&dir, wish.identity).map_err(failed)?;
                let data = dir.join(number.to_string());
                if fs_err::symlink_metadata(&data).is_err() {
                    let fresh = empty(&dir).map_err(failed)?;
                    fill(fresh.path())?;
                    publish(fresh, &data).map_err(failed)?;
                }
                touch(&lock, wish.now).map_err(failed)?;
                return Ok(Held { data, _lock: lock });
            }
            drop(making);
            if wish.cancel.is_raised() {
                return Err(CacheMountError::Canceled { id: wish.identity.id.clone() }.into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Held by who makes a cache or an instance: nobody sweeps meanwhile.
    fn making(&self) -> io::Result<Lock> {
        use std::os::unix::fs::DirBuilderExt as _;
        // What is in it may be set-user-id and belong to anybody: not for other users of the host.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let dir = File::open(&self.dir)?;
        flock(&dir, FlockOperation::LockShared)?;
        Ok(Lock(dir))
    }
}

/// An empty directory beside the instances of a cache, to become one.
fn empty(dir: &Path) -> io::Result<tempfile::TempDir> {
    let fresh = tempfile::Builder::new().prefix("new-").tempdir_in(dir)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(fresh.path(), mode)?;
    Ok(fresh)
}

/// Says in a cache's directory which it is.
fn describe(dir: &Path, identity: &Identity) -> io::Result<()> {
    let description = dir.join(DESCRIPTION);
    if !description.exists() {
        let mut file = tempfile::Builder::new().prefix("new-").tempfile_in(dir)?;
        serde_json::to_writer(&mut file, identity)?;
        file.persist(description).map_err(|error| error.error)?;
    }
    Ok(())
}

const DESCRIPTION: &str = "cache.json";

/// Gives a new instance its name, unless somebody who shares the lock was faster.
fn publish(fresh: tempfile::TempDir, data: &Path) -> io::Result<()> {
    let cwd = rustix::fs::CWD;
    let renamed = rustix::fs::renameat_with(cwd, fresh.path(), cwd, data, RenameFlags::NOREPLACE);
    match renamed {
        Ok(()) => {
            let _published = fresh.keep();
            Ok(())
        }
        Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn touch(lock: &Lock, now: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: now, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::futimens(lock.0.file(), &times)?)
}

/// Most instances of one cache.
const MAX_INSTANCES: usize = 1000;
/// Between two looks at a lock that is held by another build.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(25);

/// The instance that `wish` gets, locked. Who shares or wants its own takes the first that is free
/// for that; who wants the one and only is to come again.
fn choose(dir: &Path, wish: &Wish<'_>) -> io::Result<Option<(usize, Lock)>> {
    let exclusive = wish.sharing != Sharing::Shared;
    for number in 0..MAX_INSTANCES {
        if wish.sharing == Sharing::Locked && number > 0 && !has_instance(dir, number) {
            break;
        }
        if let Some(lock) = try_lock(&lock_path(dir, number), exclusive)? {
            return Ok(Some((number, lock)));
        }
    }
    Ok(None)
}

fn has_instance(dir: &Path, number: usize) -> bool {
    lock_path(dir, number).exists()
}

fn lock_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number}.lock"))
}

/// `None` when somebody else has it in a way that does not fit.
fn try_lock(path: &Path, exclusive: bool) -> io::Result<Option<Lock>> {
    loop {
        let mut options = fs_err::OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = match opened {
            // The pruner took the whole cache away: it is made anew by who comes next.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs_err::create_dir_all(path.parent().unwrap_or(path))?;
                continue;
            }
            result => result?,
        };
        let operation = match exclusive {
            true => FlockOperation::NonBlockingLockExclusive,
            false => FlockOperation::NonBlockingLockShared,
        };
        match flock(&file, operation) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            result => result?,
        }
        // A lock on a file that the pruner removed meanwhile protects nothing.
        if rustix::fs::fstat(file.file())?.st_nlink > 0 {
            return Ok(Some(Lock(file)));
        }
    }
}

fn flock(file: &File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file.file().as_fd(), operation) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests;
