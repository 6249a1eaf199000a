//! [`Secrets`]: the contents of secrets and configs, by version.
//!
//! A release names a secret by version, never by content. The version is a keyed digest: without
//! the key, which never leaves this directory, a short password cannot be guessed from the version
//! that `diff` shows. Contents are kept as long as a kept release needs them, readable by root only,
//! so that a rollback restores them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cutover_core::Digest;
use cutover_core::digest::{Algorithm, Hasher};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A secret may have this many bytes, as in Swarm (500 KiB).
pub(crate) const LIMIT: u64 = 500 * 1024;

/// The file with the key, and the one that is locked.
const KEY: &str = "key";
const LOCK: &str = "lock";

/// See [`Secrets::pin`].
#[derive(Debug)]
pub(crate) struct Pin {
    _lock: fs::File,
}

/// The directory of kept contents.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    dir: PathBuf,
    key: [u8; 32],
}

impl Secrets {
    /// Opens `dir`, making it and its key if they are not there.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| io::Error::other(format!("make `{}`: {error}", dir.display())))?;
        Ok(Self { dir: dir.to_owned(), key: key(dir)? })
    }

    /// Keeps `contents` and returns its version.
    pub(crate) fn keep(&self, contents: &[u8]) -> io::Result<Digest> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&self.key);
        hasher.update(contents);
        let version = hasher.finish();
        let path = self.path(&version);
        if !path.exists() {
            publish(&self.dir, &path, contents)?;
        }
        Ok(version)
    }

    /// Nothing is collected for as long as the pin lives: what was kept a moment ago is not named by
    /// a release yet. The kernel lets go of it however its owner ends.
    pub(crate) fn pin(&self) -> io::Result<Pin> {
        let lock = self.lock()?;
        flock(&lock, FlockOperation::LockShared)?;
        Ok(Pin { _lock: lock })
    }

    /// Removes every version but those that `needed` says, which is asked once nobody can keep
    /// another one. Whoever forgets a release does so first, in the ledger: a crash between the two
    /// leaves versions that the next collection finds. `None`: somebody has a pin, nothing happened.
    pub(crate) fn collect<E: From<io::Error>>(
        &self,
        needed: impl FnOnce() -> Result<BTreeSet<Digest>, E>,
    ) -> Result<Option<usize>, E> {
        let lock = self.lock()?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            other => other.map_err(io::Error::from)?,
        }
        let needed = needed()?;
        let needed: BTreeSet<&str> = needed.iter().map(Digest::hex).collect();
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == KEY || name == LOCK || needed.contains(name.as_str()) {
                continue;
            }
            // also what a process that was killed left half written
            fs::remove_file(entry.path())?;
            removed += 1;
        }
        Ok(Some(removed))
    }

    fn lock(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().create(true).append(true).mode(0o600).open(self.dir.join(LOCK))
    }

    /// The contents of `version`.
    pub(crate) fn read(&self, version: &Digest) -> io::Result<Vec<u8>> {
        fs::read(self.path(version))
    }

    fn path(&self, version: &Digest) -> PathBuf {
        self.dir.join(version.hex())
    }
}

/// 32 random bytes made once; two processes that start together agree on the first one written.
fn key(dir: &Path) -> io::Result<[u8; 32]> {
    let path = dir.join(KEY);
    if !path.exists() {
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(io::Error::other)?;
        let temp = dir.join(format!("key.{}", std::process::id()));
        write_new(&temp, &fresh)?;
        // a hard link never replaces a key that another process has just made
        match fs::hard_link(&temp, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::remove_file(&temp)?,
        }
    }
    let bytes = fs::read(&path)?;
    bytes.try_into().map_err(|_wrong: Vec<u8>| {
        io::Error::other(format!("`{}` is damaged: expected 32 bytes", path.display()))
    })
}

fn publish(dir: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    let temp = path.with_extension(format!("{}.tmp", std::process::id()));
    write_new(&temp, contents)?;
    fs::rename(&temp, path)?;
    fs::File::open(dir)?.sync_all()
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_contents_and_depends_on_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&dir.path().join("a")).unwrap();
        let version = secrets.keep(b"hunter2").unwrap();
        assert_eq!(secrets.keep(b"hunter2").unwrap(), version);
        assert_eq!(
            Secrets::open(&dir.path().join("a")).unwrap().keep(b"hunter2").unwrap(),
            version
        );
        assert_eq!(secrets.read(&version).unwrap(), b"hunter2");
        let elsewhere = Secrets::open(&dir.path().join("b")).unwrap().keep(b"hunter2").unwrap();
        assert_ne!(elsewhere, version, "the version must not be guessable from the contents");
    }

    #[test]
    fn what_no_release_names_goes_unless_somebody_is_at_it() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(dir.path()).unwrap();
        let (old, new) = (secrets.keep(b"old").unwrap(), secrets.keep(b"new").unwrap());
        write_new(&dir.path().join("abc.4711.tmp"), b"half").unwrap();
        let needed = || io::Result::Ok(BTreeSet::from([new.clone()]));
        let pin = secrets.pin().unwrap();
        let unasked = || -> io::Result<BTreeSet<Digest>> { panic!("asked too early") };
        assert_eq!(secrets.collect(unasked).unwrap(), None, "a release is being sealed");
        assert_eq!(secrets.read(&old).unwrap(), b"old");
        drop(pin);
        assert_eq!(secrets.collect(needed).unwrap(), Some(2));
        assert_eq!(secrets.read(&new).unwrap(), b"new");
        secrets.read(&old).unwrap_err();
        assert_eq!(secrets.collect(needed).unwrap(), Some(0));
        assert_eq!(Secrets::open(dir.path()).unwrap().keep(b"new").unwrap(), new, "the key stays");
    }

    #[test]
    fn only_root_can_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&dir.path().join("s")).unwrap();
        let version = secrets.keep(b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&secrets.dir), 0o700);
        assert_eq!(mode(&secrets.path(&version)), 0o600);
    }
}
