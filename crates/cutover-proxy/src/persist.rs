//! The acknowledged state on disk: `proxy/routes.json`, and the previous good copy beside it.
//!
//! A save is temp → fsync → rename → fsync of the folder, before anything is acknowledged; the file
//! it replaces stays as `routes.previous.json`. Routes are never lost silently: a file that cannot
//! be read is moved aside as `routes.damaged.json` and its predecessor is used, and what happened is
//! told in every listing until the agent has pushed again. A file of a *newer* version stops the
//! start: this program would destroy what it does not understand.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::{NetworkNames, ServiceSpec, millis};

/// The format this program writes.
pub(crate) const VERSION: u32 = 1;

/// Everything that survives the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) services: BTreeMap<String, Kept>,
    pub(crate) networks: BTreeMap<String, NetworkNames>,
    /// The generations of removed services and networks: the fence outlives what it fences.
    pub(crate) removed: BTreeMap<String, u64>,
}

/// A service as it was last acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) spec: ServiceSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<Hold>,
}

/// A hold in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    #[serde(with = "millis")]
    pub(crate) timeout: Duration,
    pub(crate) limit: usize,
}

/// What a start finds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    /// What is wrong, for the agent and the log.
    pub(crate) problem: Option<String>,
    /// Nothing could be read: which routes there were is not known.
    pub(crate) lost: bool,
}

/// Why the state cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "`{}` has version {found}, this program knows versions up to {VERSION}: \
         start the newer program, or remove the file to give up its routes",
        path.display()
    )]
    Newer { path: PathBuf, found: u64 },
    #[error("read the routes")]
    Read(#[source] io::Error),
    #[error("save the routes")]
    Save(#[source] io::Error),
}

/// The folder that holds the files.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    folder: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    state: &'a State,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl StateFile {
    /// Makes the folder if need be.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    pub(crate) fn load(&self) -> Result<Loaded, StateError> {
        let current = self.path("routes.json");
        let problem = match read(&current)? {
            Read::Good(state) => return Ok(Loaded { state, problem: None, lost: false }),
            Read::Missing => None,
            Read::Bad(why) => Some(why),
        };
        let previous = read(&self.path("routes.previous.json"))?;
        match (problem, previous) {
            (None, Read::Missing) => Ok(Loaded::default()),
            (problem, previous) => Ok(self.recover(&current, problem, previous)),
        }
    }

    /// Chooses what to go on with when the current file is damaged or gone.
    fn recover(&self, current: &Path, problem: Option<String>, previous: Read) -> Loaded {
        if problem.is_some() {
            let aside = self.path("routes.damaged.json");
            if let Err(error) = fs_err::rename(current, aside) {
                tracing::warn!(%error, "cannot move the damaged routes aside");
            }
        }
        let why = problem.unwrap_or_else(|| "it is missing".to_owned());
        let file = current.display();
        let (state, outcome, lost) = match previous {
            Read::Good(state) => (state, "the routes before the last change are in force", false),
            Read::Missing => (State::default(), "no routes are in force", true),
            Read::Bad(_) => {
                (State::default(), "no routes are in force, the previous copy is bad too", true)
            }
        };
        let problem = Some(format!("cannot use `{file}`: {why}; {outcome}"));
        Loaded { state, problem, lost }
    }

    /// When this returns, the state survives a power cut.
    pub(crate) fn save(&self, state: &State) -> Result<(), StateError> {
        self.write(state).map_err(StateError::Save)
    }

    fn write(&self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&Written { version: VERSION, state })?;
        let (current, temp) = (self.path("routes.json"), self.path("routes.json.new"));
        let mut file = fs_err::File::create(&temp)?;
        file.write_all(&text)?;
        file.sync_all()?;
        self.keep_previous(&current)?;
        fs_err::rename(&temp, &current)?;
        fs_err::File::open(&self.folder)?.sync_all()
    }

    /// The current file gets a second name; at no moment has it none.
    fn keep_previous(&self, current: &Path) -> io::Result<()> {
        let (link, previous) =
            (self.path("routes.previous.json.new"), self.path("routes.previous.json"));
        match fs_err::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs_err::hard_link(current, &link) {
            Ok(()) => fs_err::rename(&link, &previous),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

enum Read {
    Good(State),
    Missing,
    Bad(String),
}

fn read(path: &Path) -> Result<Read, StateError> {
    let text = match fs_err::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Read::Missing),
        Err(error) => return Err(StateError::Read(error)),
    };
    // The version first: what else a newer file holds is not ours to judge.
    match serde_json::from_slice::<Version>(&text) {
        Ok(Version { version }) if version > u64::from(VERSION) => {
            return Err(StateError::Newer { path: path.to_owned(), found: version });
        }
        Ok(_) => {}
        Err(error) => return Ok(Read::Bad(error.to_string())),
    }
    Ok(match serde_json::from_slice(&text) {
        Ok(state) => Read::Good(state),
        Err(error) => Read::Bad(error.to_string()),
    })
}
