//! [`Containers`]: the directory of all containers.

use std::path::{Path, PathBuf};

use super::{Container, ContainerConfig, Result, State};
use crate::volume::Volumes;

/// The containers under one root. Cheap to open and to clone.
#[derive(Clone, Debug)]
pub struct Containers {
    root: PathBuf,
    run: PathBuf,
}

/// A container as `ps` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub config: ContainerConfig,
    pub state: State,
}

/// What [`Containers::recover`] did about a container whose shim was gone.
#[derive(Debug)]
pub struct Recovered {
    pub name: String,
    /// Started again by its restart policy; `Some(Err)` when that failed.
    pub restarted: Option<Result<()>>,
}

impl Containers {
    /// `root` keeps containers and volumes, `run` their sockets.
    pub fn open(root: &Path, run: &Path) -> Result<Self> {
        Ok(Self { root: root.to_owned(), run: run.to_owned() })
    }

    /// Makes a container's directory and claims its name; nothing runs yet. Volumes that it needs
    /// are created, and empty ones filled with what the image has at their mount point.
    pub fn create(&self, config: ContainerConfig) -> Result<Container> {
        let _ = config;
        todo!()
    }

    /// By name, id, or the beginning of an id. A container whose shim was killed is set right on
    /// the way: its processes are killed, its network is detached, its state says so.
    pub fn get(&self, name: &str) -> Result<Container> {
        let _ = name;
        todo!()
    }

    /// All of them, newest first; sets right as [`Containers::get`] does.
    pub fn list(&self) -> Result<Vec<Summary>> {
        todo!()
    }

    /// For an agent at its start: sets right what a crash or a reboot left, removes what was being
    /// removed, and starts again what its restart policy says.
    pub fn recover(&self) -> Result<Vec<Recovered>> {
        todo!()
    }

    /// Wakes on changes of state of any container.
    pub fn watch(&self) -> Result<Watch> {
        todo!()
    }

    pub fn volumes(&self) -> Volumes {
        Volumes::new(&self.root)
    }
}

/// Becomes readable when the state of some container changed.
#[derive(Debug)]
pub struct Watch {}

impl Watch {
    /// Blocks until a container changed; its id (with repetitions, without order).
    pub fn next(&mut self, timeout: Option<std::time::Duration>) -> Result<Vec<String>> {
        let _ = timeout;
        todo!()
    }
}
