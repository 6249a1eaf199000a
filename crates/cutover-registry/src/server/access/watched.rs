//! [`Watched`]: what a file says, read again when the file changes.

use std::fmt::Debug;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// More is no file of users, tokens or certificates.
const MAX: u64 = 16 << 20;

/// A parsed file. A change that cannot be read leaves what was there, and is logged once.
pub struct Watched<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> Result<T, String>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    mark: Mark,
    looked: Instant,
}

/// When, how large, which file: an editor may write in place, or another file.
type Mark = Option<(i64, i64, u64, u64)>;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{}`: {reason}", path.display())]
pub struct WatchError {
    pub path: PathBuf,
    pub reason: String,
}

impl<T> Watched<T> {
    pub fn open(
        path: impl Into<PathBuf>,
        parse: fn(&[u8]) -> Result<T, String>,
        now: Instant,
    ) -> Result<Self, WatchError> {
        let path = path.into();
        let mark = mark(&path);
        let value = Arc::new(read(&path, parse)?);
        Ok(Self { path, parse, state: Mutex::new(State { value, mark, looked: now }) })
    }

    /// What the file says now.
    pub fn get(&self, now: Instant) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) >= EVERY {
            state.looked = now;
            let mark = mark(&self.path);
            if mark != state.mark {
                state.mark = mark;
                match read(&self.path, self.parse) {
                    Ok(value) => state.value = Arc::new(value),
                    Err(error) => tracing::error!(%error, "keeping what was read before"),
                }
            }
        }
        Arc::clone(&state.value)
    }
}

fn mark(path: &Path) -> Mark {
    let data = fs_err::metadata(path).ok()?;
    Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
}

fn read<T>(path: &Path, parse: fn(&[u8]) -> Result<T, String>) -> Result<T, WatchError> {
    let fail = |reason: String| WatchError { path: path.to_owned(), reason };
    let size = fs_err::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > MAX {
        return Err(fail(format!("it has {size} bytes, more than the {MAX} allowed for it")));
    }
    let bytes = fs_err::read(path).map_err(|error| fail(error.to_string()))?;
    parse(&bytes).map_err(fail)
}

impl<T> Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.path).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<String, String> {
        match String::from_utf8_lossy(bytes).into_owned() {
            bad if bad.contains('!') => Err("it has a `!`".to_owned()),
            text => Ok(text),
        }
    }

    #[test]
    fn a_change_is_seen_and_a_bad_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(Watched::open(&path, parse, Instant::now()).is_err());
        fs_err::write(&path, "one").unwrap();
        let begun = Instant::now();
        let watched = Watched::open(&path, parse, begun).unwrap();
        let check = |seconds: u64, expected: &str| {
            assert_eq!(*watched.get(begun + Duration::from_secs(seconds)), expected);
        };
        fs_err::write(&path, "three").unwrap();
        check(0, "one");
        check(1, "three");
        fs_err::write(&path, "bad!").unwrap();
        check(2, "three");
        fs_err::remove_file(&path).unwrap();
        check(3, "three");
        fs_err::write(&path, "again").unwrap();
        check(4, "again");
    }
}
