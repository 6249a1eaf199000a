//! Named and anonymous volumes: directories that outlive containers.
//!
//! Owns `ROOT/volumes`: `NAME/_data` is what is mounted, `NAME/meta.json` what is known about it. A
//! volume that a container mounts is never removed. An empty new volume takes the image's content at its
//! mount point, once, whole or not at all.

mod fill;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::container::paths::Places;
use crate::container::{Error, MountKind, Result, check_name, files, make_private};

/// The version of `meta.json`.
pub const VOLUME_VERSION: u32 = 1;

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

impl Volume {
    /// A named volume without labels.
    pub fn named(name: &str, created_at: Timestamp) -> Self {
        Self {
            version: VOLUME_VERSION,
            name: name.to_owned(),
            created_at,
            anonymous: false,
            labels: BTreeMap::new(),
        }
    }
}

impl Volumes {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Creates the volume unless it exists; either way it is there afterwards.
    pub fn create(&self, volume: &Volume) -> Result<Volume> {
        check_name(&volume.name)?;
        let _lock = self.lock()?;
        match self.get(&volume.name) {
            Err(Error::VolumeNotFound(_)) => {}
            found => return found,
        }
        let dir = self.dir(&volume.name);
        fs::create_dir_all(dir.join("_data"))?;
        // Last: a volume without it is one that was being made, and is made again.
        files::write_synced(&dir.join("meta.json"), volume)?;
        Ok(volume.clone())
    }

    /// What is known about a volume.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let missing = || Error::VolumeNotFound(name.to_owned());
        check_name(name).map_err(|_not_a_name| missing())?;
        match files::read(&self.dir(name).join("meta.json"), VOLUME_VERSION) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            // its data is there: only who made it and when was lost with the machine's power
            Err(Error::Damaged { path, .. }) if files::is_blank(&path) => {
                Ok(Volume::named(name, Timestamp::UNIX_EPOCH))
            }
            found => found,
        }
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for name in names(&self.all())? {
            match self.get(&name) {
                Err(Error::VolumeNotFound(_)) => {}
                found => volumes.push(found?),
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Removes a volume that no container uses.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.get(name)?;
        let _lock = self.lock()?;
        if let Some(holder) = self.users(name)?.into_iter().next() {
            let holder = holder.chars().take(12).collect();
            return Err(Error::VolumeInUse { name: name.to_owned(), holder });
        }
        // Renamed first, so that an interruption leaves no half of a volume.
        let aside = self.all().join(format!(".removing-{name}"));
        fs::rename(self.dir(name), &aside)?;
        Ok(fs::remove_dir_all(aside)?)
    }

    /// Removes it if it is there and unused.
    pub(crate) fn remove_if_unused(&self, name: &str) -> Result<()> {
        match self.remove(name) {
            Err(Error::VolumeNotFound(_) | Error::VolumeInUse { .. }) => Ok(()),
            result => result,
        }
    }

    /// Where its content is on the host.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir(name).join("_data")
    }

    /// The ids of the containers that mount it.
    pub fn users(&self, name: &str) -> Result<Vec<String>> {
        let places = Places { root: self.root.clone(), run: PathBuf::new() };
        let mut users = Vec::new();
        for id in names(&places.containers())?.iter().filter_map(|id| id.parse().ok()) {
            // One that vanishes meanwhile uses nothing.
            let Ok(config) = files::read_config(&places.container(&id).config()) else { continue };
            let uses = config.mounts.iter().any(|mount| {
                matches!(&mount.kind, MountKind::Volume { name: Some(used), .. } if used == name)
            });
            if uses {
                users.push(id.to_string());
            }
        }
        Ok(users)
    }

    /// Copies what the image (`lowers`, topmost first) has at `target` into the volume, if that is
    /// empty and the image has a directory there.
    pub(crate) fn fill(&self, name: &str, lowers: &[PathBuf], target: &str) -> Result<()> {
        let _lock = self.lock()?;
        Ok(fill::fill(&self.data(name), lowers, target)?)
    }

    fn all(&self) -> PathBuf {
        self.root.join("volumes")
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.all().join(name)
    }

    /// One at a time makes, fills or removes volumes; ends with the file.
    fn lock(&self) -> io::Result<File> {
        make_private(&self.all(), 0o711)?;
        let path = self.all().join(".lock");
        let file = fs::OpenOptions::new().create(true).append(true).open(path)?.into_file();
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

/// The names in a directory that need not exist, without hidden ones.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    Ok(names)
}
