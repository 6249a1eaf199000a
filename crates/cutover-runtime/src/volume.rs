//! Named and anonymous volumes: directories that outlive containers.
//!
//! Owns `ROOT/volumes`: `NAME/_data` is what is mounted, `NAME/meta.json` what is known about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::Result;

/// The volumes under a root.
#[derive(Clone, Debug)]
pub struct Volumes {
    root: PathBuf,
}

/// What is known about a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub version: u32,
    pub name: String,
    pub created_at: Timestamp,
    /// Made for one container and removed with it.
    pub anonymous: bool,
    pub labels: BTreeMap<String, String>,
}

impl Volumes {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.join("volumes") }
    }

    /// Creates the volume unless it exists; either way it is there afterwards.
    pub fn create(&self, volume: &Volume) -> Result<Volume> {
        let _ = volume;
        todo!()
    }

    pub fn get(&self, name: &str) -> Result<Volume> {
        let _ = name;
        todo!()
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        todo!()
    }

    /// Removes a volume that no container uses.
    pub fn remove(&self, name: &str) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// Where its content is on the host.
    pub fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    /// The ids of the containers that mount it.
    pub fn users(&self, name: &str) -> Result<Vec<String>> {
        let _ = name;
        todo!()
    }
}
