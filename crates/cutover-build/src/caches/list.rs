//! Which caches there are, and taking away those that are not wanted.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use fs_err::File;
use rustix::fs::FlockOperation;

use super::{
    CacheMountError, CacheMounts, DESCRIPTION, Identity, Lock, flock, lock_path, try_lock,
};
use crate::tree::{Tree, TreeError};

/// One instance of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    /// `KEY.NUMBER`: names exactly this one.
    pub name: String,
    /// As in the Dockerfile; a namespace is in front of it.
    pub id: String,
    /// What it began with, if not with nothing: owner and mode, or a digest of files.
    pub base: String,
    /// Bytes of its files.
    pub size: u64,
    /// Seconds since 1970.
    pub last_used: i64,
    /// A build has it mounted.
    pub in_use: bool,
    /// Where its files are.
    pub path: PathBuf,
}

/// Longest description that is read.
const MAX_DESCRIPTION: u64 = 64 * 1024;
/// Characters of a key in a name.
const SHORT: usize = 12;

impl CacheMounts {
    /// All instances, by id, then by name.
    pub fn list(&self) -> Result<Vec<CacheMount>, CacheMountError> {
        let failed = |source| CacheMountError::List { path: self.dir.clone(), source };
        let mut found = Vec::new();
        for dir in names(&self.dir).map_err(failed)? {
            let path = self.dir.join(&dir);
            // One that is being made or was half removed: not a cache yet, or no more.
            let Ok(identity) = read_description(&path) else { continue };
            for number in names(&path).map_err(failed)? {
                if number.parse::<usize>().is_err() {
                    continue;
                }
                let key = dir.get(..SHORT).unwrap_or(&dir);
                let one = instance(&path, &number, &identity, format!("{key}.{number}"));
                found.extend(one.map_err(failed)?);
            }
        }
        found.sort_by(|a, b| (&a.id, &a.name).cmp(&(&b.id, &b.name)));
        Ok(found)
    }

    /// The instance with this name, or the only one with this id.
    pub(super) fn one(&self, name: &str) -> Result<CacheMount, CacheMountError> {
        let all = self.list()?;
        let mut named: Vec<_> =
            all.into_iter().filter(|c| c.name == name || c.id == name).collect();
        match (named.pop(), named.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(one), false) => {
                let keys = named.iter().chain([&one]).map(|one| format!("`{}`", one.name));
                Err(CacheMountError::Ambiguous { id: name.to_owned(), keys: keys.collect() })
            }
            (None, _) => Err(CacheMountError::NotFound { id: name.to_owned() }),
        }
    }

    /// Removes an instance that no build uses, named as for [`CacheMounts::export`].
    pub fn remove(&self, name: &str) -> Result<CacheMount, CacheMountError> {
        let one = self.one(name)?;
        self.take_away(&one)?;
        Ok(one)
    }

    /// Removes the instances that `wanted` picks and no build uses, and what killed builds left.
    /// Says what went.
    pub fn prune(
        &self,
        wanted: &dyn Fn(&CacheMount) -> bool,
    ) -> Result<Vec<CacheMount>, CacheMountError> {
        let mut removed = Vec::new();
        for one in self.list()? {
            if !wanted(&one) {
                continue;
            }
            match self.take_away(&one) {
                Ok(()) => removed.push(one),
                Err(CacheMountError::InUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let failed = |source| CacheMountError::List { path: self.dir.clone(), source };
        self.sweep().map_err(failed)?;
        Ok(removed)
    }

    /// Removes what killed builds left, and caches without instances.
    fn sweep(&self) -> io::Result<()> {
        let dirs = names(&self.dir)?;
        if dirs.is_empty() {
            return Ok(());
        }
        let all = Lock(File::open(&self.dir)?);
        flock(&all.0, FlockOperation::LockExclusive)?;
        dirs.iter().try_for_each(|dir| sweep(&self.dir.join(dir)))
    }

    /// Locked against everybody.
    pub(super) fn lock_for_good(&self, one: &CacheMount) -> Result<Lock, CacheMountError> {
        let io = |source| CacheMountError::Io { action: "lock", id: one.id.clone(), source };
        let lock = try_lock(&beside(&one.path), true).map_err(io)?;
        lock.ok_or_else(|| CacheMountError::InUse { id: one.id.clone() })
    }

    fn take_away(&self, one: &CacheMount) -> Result<(), CacheMountError> {
        let _lock = self.lock_for_good(one)?;
        let io = |source| CacheMountError::Io { action: "remove", id: one.id.clone(), source };
        // Under a name that nobody takes for an instance, should the removal be broken off.
        let gone = one.path.with_extension("gone");
        fs_err::rename(&one.path, &gone).map_err(io)?;
        fs_err::remove_dir_all(&gone).map_err(io)?;
        fs_err::remove_file(beside(&one.path)).map_err(io)
    }
}

/// The lock file of an instance.
fn beside(instance: &Path) -> PathBuf {
    instance.with_extension("lock")
}

fn read_description(dir: &Path) -> io::Result<Identity> {
    use std::io::Read as _;
    let mut text = Vec::new();
    File::open(dir.join(DESCRIPTION))?.take(MAX_DESCRIPTION).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Names in a directory of ours; none when it is not there.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs_err::read_dir(dir) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        result => result?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.collect())
}

fn instance(
    dir: &Path,
    number: &str,
    identity: &Identity,
    name: String,
) -> io::Result<Option<CacheMount>> {
    let lock = lock_path(dir, number.parse().unwrap_or(0));
    let Ok(meta) = fs_err::metadata(&lock) else { return Ok(None) };
    let path = dir.join(number);
    let last_used = std::os::unix::fs::MetadataExt::mtime(&meta);
    let in_use = try_lock(&lock, true)?.is_none();
    // What vanishes meanwhile is not counted.
    let size = Tree::open(&path).and_then(|tree| size(&tree)).unwrap_or(0);
    let (id, base) = (identity.id.clone(), identity.base.clone());
    Ok(Some(CacheMount { name, id, base, size, last_used, in_use, path }))
}

/// Bytes of all files; one with several names counts once.
fn size(tree: &Tree) -> Result<u64, TreeError> {
    let mut sum = 0_u64;
    let mut seen = HashSet::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        for (path, meta) in tree.entries(&directory)? {
            match meta.is_dir() {
                true => todo.push(path),
                false if meta.links > 1 && !seen.insert((meta.dev, meta.ino)) => {}
                false => sum = sum.saturating_add(meta.size),
            }
        }
    }
    Ok(sum)
}

/// Removes what is no instance any more or never became one, and a cache without instances. Nobody
/// makes any meanwhile.
fn sweep(dir: &Path) -> io::Result<()> {
    let left = names(dir)?;
    for name in left.iter().filter(|name| name.starts_with("new-") || name.ends_with(".gone")) {
        let path = dir.join(name);
        if path.is_dir() { fs_err::remove_dir_all(path)? } else { fs_err::remove_file(path)? }
    }
    if !left.iter().any(|name| name.parse::<usize>().is_ok()) && dir.is_dir() {
        fs_err::remove_dir_all(dir)?;
    }
    Ok(())
}
