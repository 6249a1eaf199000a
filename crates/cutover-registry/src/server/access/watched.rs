//! [`Watched`]: what files say together, read again when one of them changes.

use std::fmt::Debug;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// More is no file of users, tokens or certificates.
const MAX: u64 = 16 << 20;

/// Parsed files. A change that cannot be read leaves what was there, and is logged once.
pub struct Watched<T> {
    paths: Vec<PathBuf>,
    parse: fn(&[Vec<u8>]) -> Result<T, String>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    marks: Vec<Mark>,
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
        paths: Vec<PathBuf>,
        parse: fn(&[Vec<u8>]) -> Result<T, String>,
        now: Instant,
    ) -> Result<Self, WatchError> {
        let marks = paths.iter().map(|path| mark(path)).collect();
        let value = Arc::new(read(&paths, parse)?);
        Ok(Self { paths, parse, state: Mutex::new(State { value, marks, looked: now }) })
    }

    /// What the files say now.
    pub fn get(&self, now: Instant) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) >= EVERY {
            state.looked = now;
            let marks = self.paths.iter().map(|path| mark(path)).collect();
            if marks != state.marks {
                state.marks = marks;
                match read(&self.paths, self.parse) {
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

fn read<T>(paths: &[PathBuf], parse: fn(&[Vec<u8>]) -> Result<T, String>) -> Result<T, WatchError> {
    let files: Vec<Vec<u8>> = paths.iter().map(|path| bytes(path)).collect::<Result<_, _>>()?;
    let path = paths.first().cloned().unwrap_or_default();
    parse(&files).map_err(|reason| WatchError { path, reason })
}

fn bytes(path: &Path) -> Result<Vec<u8>, WatchError> {
    let fail = |reason: String| WatchError { path: path.to_owned(), reason };
    // errors of fs_err name the path, which this one does, too
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > MAX {
        return Err(fail(format!("it has {size} bytes, more than the {MAX} allowed for it")));
    }
    fs_err::read(path).map_err(|error| fail(error.to_string()))
}

impl<T> Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.paths).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(files: &[Vec<u8>]) -> Result<String, String> {
        match String::from_utf8_lossy(&files[0]).into_owned() {
            bad if bad.contains('!') => Err("it has a `!`".to_owned()),
            text => Ok(text),
        }
    }

    #[test]
    fn a_change_is_seen_and_a_bad_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(Watched::open(vec![path.clone()], parse, Instant::now()).is_err());
        fs_err::write(&path, "one").unwrap();
        let begun = Instant::now();
        let watched = Watched::open(vec![path.clone()], parse, begun).unwrap();
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
