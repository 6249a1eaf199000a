//! [`Containers`]: the directory of all containers.

use std::io;
use std::path::{Path, PathBuf};

use cutover_core::Digest;
use fs_err as fs;
use rustix::fs::{FlockOperation, flock};

use super::paths::{Places, relative_to};
use super::remove::{REMOVING, release_name, remove_directory};
use super::spawn::Program;
use super::{
    Container, ContainerConfig, Error, Id, Missing, MountKind, Result, State, Status, Watch, clock,
    files, reconcile,
};
use crate::restart::{Found, starts_on_recovery};
use crate::volume::{VOLUME_VERSION, Volume, Volumes};

/// The containers under one root. Cheap to open and to clone.
#[derive(Clone, Debug)]
pub struct Containers {
    places: Places,
    program: Program,
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
    /// One that is removed at its exit (`--rm`).
    pub removed: bool,
    /// Started again by its restart policy; `Some(Err)` when that failed.
    pub restarted: Option<Result<()>>,
}

impl Containers {
    /// `root` keeps containers and volumes, `run` their sockets.
    pub fn open(root: &Path, run: &Path) -> Result<Self> {
        let places = Places { root: std::path::absolute(root)?, run: std::path::absolute(run)? };
        // Configs hold environments, and environments hold passwords.
        make_private(&places.containers(), 0o700)?;
        fs::create_dir_all(places.names())?;
        Ok(Self { places, program: Program::default() })
    }

    /// Makes a container's directory and claims its name; nothing runs yet. Volumes that it needs
    /// are created, and empty ones filled with what the image has at their mount point.
    pub fn create(&self, mut config: ContainerConfig) -> Result<Container> {
        super::check_name(&config.name)?;
        let lowers = config.lowers.clone();
        for lower in &mut config.lowers {
            *lower = relative_to(&self.places.root, lower);
        }
        name_volumes(&mut config);
        self.make_directory(&config)?;
        let made = self.claim_name(&config).and_then(|()| self.make_volumes(&config, &lowers));
        if let Err(error) = made {
            // The first error is the one to tell.
            drop(remove_directory(&self.places, &config, true));
            return Err(error);
        }
        Ok(self.handle(config))
    }

    /// By name, id, or the beginning of an id. A container whose shim was killed is set right on
    /// the way: its processes are killed, its network is detached, its state says so.
    pub fn get(&self, name: &str) -> Result<Container> {
        let id = self.resolve(name)?;
        let paths = self.places.container(&id);
        let config = files::read_config(&paths.config()).map_err(|error| gone(error, name))?;
        reconcile::reconcile(&self.places, &config).map_err(|error| gone(error, name))?;
        Ok(self.handle(config))
    }

    /// All of them, newest first; sets right as [`Containers::get`] does. One that cannot be read
    /// is an error that names its file, but for one that a power loss left blank: it is passed over
    /// here and removed by [`Containers::recover`].
    pub fn list(&self) -> Result<Vec<Summary>> {
        super::spawn::reap();
        let mut all = Vec::new();
        for id in self.ids()? {
            match self.summary(&id) {
                Ok(summary) => all.push(summary),
                // Removed while we looked.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(Error::Damaged { path, .. }) if files::is_blank(&path) => {
                    tracing::warn!(path = %path.display(), "lost with the machine's power");
                }
                Err(error) => return Err(error),
            }
        }
        all.sort_by_key(|summary| std::cmp::Reverse(summary.config.created_at));
        Ok(all)
    }

    /// For an agent at its start: sets right what a crash or a reboot left, removes what was being
    /// removed, and starts again what its restart policy says.
    pub fn recover(&self) -> Result<Vec<Recovered>> {
        super::spawn::reap();
        self.finish_removals()?;
        let boot_id = clock::boot_id();
        let mut recovered = Vec::new();
        for Summary { config, state } in self.list()?.into_iter().rev() {
            if state.status != Status::Exited {
                continue;
            }
            let found = Found {
                exit: state.exit.unwrap_or_default(),
                stopped_by_user: state.stopped_by_user,
                interrupted: state.interrupted,
                rebooted: state.boot_id != boot_id,
            };
            let starts = starts_on_recovery(config.restart, found);
            if !starts && !found.interrupted {
                continue;
            }
            let (name, removed) = (config.name.clone(), config.auto_remove);
            let container = self.handle(config);
            if removed {
                container.remove(true, true)?;
            }
            let restarted = (starts && !removed).then(|| container.start());
            recovered.push(Recovered { name, removed, restarted });
        }
        Ok(recovered)
    }

    /// Wakes on changes of state of any container.
    pub fn watch(&self) -> Result<Watch> {
        Ok(Watch::open(&self.places)?)
    }

    pub fn volumes(&self) -> Volumes {
        Volumes::new(&self.places.root)
    }

    /// The names of the image layers that containers stand on, relative to the root where they are below
    /// it: what a collector of garbage must keep.
    pub fn lowers_in_use(&self) -> Result<Vec<PathBuf>> {
        let mut lowers: Vec<PathBuf> =
            self.list()?.into_iter().flat_map(|summary| summary.config.lowers).collect();
        lowers.sort();
        lowers.dedup();
        Ok(lowers)
    }

    fn handle(&self, config: ContainerConfig) -> Container {
        Container::new(self.places.clone(), self.program.clone(), config)
    }

    fn summary(&self, id: &Id) -> Result<Summary> {
        let config = files::read_config(&self.places.container(id).config())?;
        let state = reconcile::reconcile(&self.places, &config)?;
        Ok(Summary { config, state })
    }

    fn ids(&self) -> Result<Vec<Id>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(self.places.containers())? {
            if let Some(Ok(id)) = entry?.file_name().to_str().map(str::parse) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// A name wins over an id, as in docker.
    fn resolve(&self, text: &str) -> Result<Id> {
        let missing = || Error::NotFound(Missing::among(text, &self.known_names()));
        if super::check_name(text).is_err() {
            return Err(missing());
        }
        if let Ok(holder) = fs::read_link(self.places.names().join(text))
            && let Some(Ok(id)) = holder.to_str().map(str::parse::<Id>)
            && self.places.container(&id).dir.exists()
        {
            return Ok(id);
        }
        let mut found: Vec<Id> = self.ids()?;
        found.retain(|id| id.as_str().starts_with(text));
        match <[Id; 1]>::try_from(found) {
            Ok([id]) => Ok(id),
            Err(none) if none.is_empty() => Err(missing()),
            Err(many) => Err(Error::Ambiguous { prefix: text.to_owned(), count: many.len() }),
        }
    }

    /// For suggestions: what cannot be read is not suggested.
    fn known_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.places.names()).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// The directory appears whole: made under another name, then renamed.
    fn make_directory(&self, config: &ContainerConfig) -> Result<()> {
        let aside = self.places.containers().join(format!(".creating-{}", config.id));
        fs::create_dir(&aside)?;
        let made = (|| {
            match config.auto_remove {
                true => files::write(&aside.join("config.json"), config)?,
                false => files::write_synced(&aside.join("config.json"), config)?,
            }
            files::write_state(&aside.join("state.json"), &State::created())?;
            fs::write(aside.join("lock"), "")?;
            fs::rename(&aside, self.places.container(&config.id).dir)
        })();
        if made.is_err() {
            drop(fs::remove_dir_all(&aside));
        }
        Ok(made?)
    }

    /// One symlink per name. The lock makes "is its holder gone?" and "take it" one step.
    fn claim_name(&self, config: &ContainerConfig) -> Result<()> {
        let names = self.places.names();
        let lock = fs::File::open(&names)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        let link = names.join(&config.name);
        if let Ok(holder) = fs::read_link(&link) {
            if self.places.containers().join(&holder).exists() {
                let holder = holder.to_string_lossy().chars().take(12).collect();
                return Err(Error::NameTaken { name: config.name.clone(), holder });
            }
            // Its container's removal was interrupted.
            fs::remove_file(&link)?;
        }
        Ok(fs_err::os::unix::fs::symlink(config.id.as_str(), &link)?)
    }

    fn make_volumes(&self, config: &ContainerConfig, lowers: &[PathBuf]) -> Result<()> {
        let volumes = self.volumes();
        for mount in &config.mounts {
            match &mount.kind {
                MountKind::Volume { name: Some(name), anonymous, no_copy } => {
                    volumes.create(&Volume {
                        version: VOLUME_VERSION,
                        name: name.clone(),
                        created_at: config.created_at,
                        anonymous: *anonymous,
                        labels: std::collections::BTreeMap::new(),
                    })?;
                    if !no_copy {
                        volumes.fill(name, lowers, &mount.target)?;
                    }
                }
                MountKind::Bind { source, create: false } if !source.exists() => {
                    return Err(Error::BindSource(source.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn finish_removals(&self) -> Result<()> {
        for entry in fs::read_dir(self.places.containers())? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_lost =
                || name.parse::<Id>().is_ok() && files::is_blank(&entry.path().join("config.json"));
            if !name.starts_with(REMOVING) && !name.starts_with(".creating-") && !is_lost() {
                continue;
            }
            // One that is being created at this moment is seconds old and may not have its config yet.
            if name.starts_with(".creating-") && is_recent(&entry) {
                continue;
            }
            if let Ok(config) = files::read_config(&entry.path().join("config.json")) {
                release_name(&self.places, &config);
            }
            fs::remove_dir_all(entry.path())?;
        }
        Ok(())
    }

    /// Which program is the shim: for tests, whose own executable is not `cutover`.
    #[doc(hidden)]
    pub fn with_shim(mut self, program: &Path) -> Self {
        self.program = Program::At(program.to_owned());
        self
    }
}

/// Whether a directory was changed within the last minute. One that is gone is not ours to remove.
fn is_recent(entry: &fs::DirEntry) -> bool {
    let changed = entry.metadata().and_then(|metadata| metadata.modified());
    let changed = changed.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
    changed.is_none_or(|time| clock::now().duration_since(time).as_secs() < 60)
}

/// Makes a directory that others may not list, with what it is in.
pub(crate) fn make_private(dir: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Anonymous volumes get names that only this container can have.
fn name_volumes(config: &mut ContainerConfig) {
    let id = config.id.clone();
    for mount in &mut config.mounts {
        if let MountKind::Volume { name: name @ None, anonymous, .. } = &mut mount.kind {
            let text = format!("{id}:{}", mount.target);
            *name = Some(Digest::sha256(text.as_bytes()).hex().to_owned());
            *anonymous = true;
        }
    }
}

/// What vanished between two looks was removed.
fn gone(error: Error, name: &str) -> Error {
    match error {
        Error::Io(source) if source.kind() == io::ErrorKind::NotFound => {
            Error::NotFound(name.into())
        }
        other => other,
    }
}
