//! Reading and writing `config.json` and `state.json`.
//!
//! Written aside and renamed, so that a reader sees the old or the new one, whole. What a power
//! loss may leave is decided by cost:
//!
//! - `config.json` is written once and says all there is to know: it is synced, but for a container
//!   that is removed when it ends, which would not outlive the loss anyway;
//! - `state.json` is written at every step of a life and is not synced. One that comes back blank
//!   says that the container was interrupted, no more and no less.

use std::io::{self, Write as _};
use std::path::Path;

use fs_err as fs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::CONFIG_VERSION;
use super::state::STATE_VERSION;
use super::{ContainerConfig, Error, Result, State};

pub(crate) fn read_config(path: &Path) -> Result<ContainerConfig> {
    let config: ContainerConfig = read(path, CONFIG_VERSION)?;
    Ok(config)
}

pub(crate) fn read_state(path: &Path) -> Result<State> {
    match read(path, STATE_VERSION) {
        Err(Error::Damaged { .. }) if is_blank(path) => Ok(State::lost()),
        found => found,
    }
}

/// Whether a power loss took the contents: nothing is left of them, or zeros.
pub(crate) fn is_blank(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

pub(crate) fn write_state(path: &Path, state: &State) -> io::Result<()> {
    write(path, state)
}

/// Writes `value` as JSON to `path`, atomically.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let aside = path.with_extension("new");
    fs::write(&aside, bytes)?;
    fs::rename(aside, path)
}

/// Writes `value` as JSON to `path` so that a power loss does not take it.
pub(crate) fn write_synced<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let aside = path.with_extension("new");
    let mut file = fs::File::create(&aside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(aside, path)?;
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads JSON that says its version; refuses one that is newer than `known`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, known: u32) -> Result<T> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let bytes = fs::read(path)?;
    let damaged = |source| Error::Damaged { path: path.to_owned(), source };
    match serde_json::from_slice(&bytes) {
        Ok(value) => {
            let Versioned { version } = serde_json::from_slice(&bytes).map_err(damaged)?;
            refuse_newer(path, version, known)?;
            Ok(value)
        }
        // A newer version may well not parse: say that rather than "damaged".
        Err(source) => {
            if let Ok(Versioned { version }) = serde_json::from_slice(&bytes) {
                refuse_newer(path, version, known)?;
            }
            Err(damaged(source))
        }
    }
}

fn refuse_newer(path: &Path, found: u32, known: u32) -> Result<()> {
    match found > known {
        true => Err(Error::Newer { path: path.to_owned(), found, known }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(&path, text).unwrap();
        let found = match read_state(&path) {
            Ok(state) => state.status.as_str().to_owned(),
            Err(Error::Newer { found, known, .. }) => format!("newer: {found} > {known}"),
            Err(Error::Damaged { .. }) => "damaged".to_owned(),
            Err(other) => other.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn versions() {
        let state = serde_json::to_string(&State::created()).unwrap();
        check(&state, "created");
        check(&state.replace("\"version\":1", "\"version\":2"), "newer: 2 > 1");
        check(r#"{"version":9,"status":"hibernating"}"#, "newer: 9 > 1");
        check(r#"{"version":1,"status":"hibernating"}"#, "damaged");
        check(r#"{"version":1,"#, "damaged");
        // what a power loss leaves
        check("", "exited");
        check("\0\0\0\0", "exited");
    }

    #[test]
    fn a_lost_state_is_that_of_an_interrupted_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(&path, "").unwrap();
        let state = read_state(&path).unwrap();
        assert!(state.interrupted && !state.stopped_by_user && state.boot_id.is_empty());
        assert!(state.status.can_start() && state.status.can_remove());
    }

    #[test]
    fn what_is_synced_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_synced(&path, &State::created()).unwrap();
        assert_eq!(read_state(&path).unwrap(), State::created());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn writing_leaves_nothing_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_state(&path, &State::created()).unwrap();
        write_state(&path, &State::created()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
