//! Reading and writing `config.json` and `state.json`.
//!
//! Written aside and renamed, so that a reader sees the old or the new one, whole. Not synced to
//! the disk: after a crash of the machine a container is made anew, not continued.

use std::io;
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
    read(path, STATE_VERSION)
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
        check("", "damaged");
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
