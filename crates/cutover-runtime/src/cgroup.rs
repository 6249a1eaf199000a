//! Control groups: limits, freezing, killing and counting one container's processes.
//!
//! Every container has the group `cutover/NAME` in each hierarchy that serves it. Version 2, version 1 and the
//! hybrid of both are found from the mount table; where version 2 is mounted at all, even without controllers, it
//! kills and freezes. Refuses names that could leave `cutover/`; never touches a group that is not below it.
//! Processes are never moved in from outside (that costs a grace period): they are born in the v2 group and write
//! themselves into the v1 ones. What we run on the host for longer than its starter lives is in `cutover/host`.

mod bundle;
mod devices;
mod files;
mod hierarchy;
mod join;
mod limits;
mod stats;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::spec::Resources;
use files::{Dir, context};
use hierarchy::{Hierarchies, Hierarchy, Version};

pub(crate) use devices::DEFAULT as DEFAULT_DEVICES;
pub use devices::{DeviceRule, DeviceType};
pub use join::outlive;
pub(crate) use join::{Entrance, host_group};
pub use stats::Stats;

/// The groups of one container, or of a bundle's anywhere. Cheap to make from a name; owns nothing until [`Cgroup::remove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Below each mount point.
    name: String,
    hierarchies: Hierarchies,
}

/// A failed operation on a control group.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The name could leave `cutover/`.
    #[error("invalid control group name `{name}`")]
    Name {
        /// As given.
        name: String,
    },
    /// No hierarchy is mounted.
    #[error("no control group file system is mounted")]
    NotMounted,
    /// A limit was asked for that this machine cannot enforce.
    #[error("cannot limit {what}: the `{controller}` controller is not available")]
    Missing {
        /// `memory`, `pids`…
        what: &'static str,
        /// The kernel's controller.
        controller: &'static str,
    },
    /// A read or write failed.
    #[error("{what} control group file `{}`", path.display())]
    File {
        /// `write`, `create`…
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Processes would not go away.
    #[error("control group `{name}` still has processes")]
    Busy {
        /// Which.
        name: String,
    },
}

/// All groups of containers are below it.
const PARENT: &str = "cutover";

/// How long dying processes may take to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at something that changes within moments.
const PAUSE: Duration = Duration::from_millis(2);

impl Cgroup {
    /// Creates the groups in all hierarchies, sets the limits, and allows these devices only (all of them if `None`).
    pub fn create(
        name: &str,
        resources: &Resources,
        devices: Option<&[DeviceRule]>,
    ) -> Result<Self, CgroupError> {
        let cgroup = Self::open(name)?;
        if !cgroup.pids()?.is_empty() {
            return Err(CgroupError::Busy { name: name.to_owned() });
        }
        let made = cgroup.make(resources, devices);
        if made.is_err() {
            drop(cgroup.remove());
        }
        made.map(|()| cgroup)
    }

    fn make(
        &self,
        resources: &Resources,
        devices: Option<&[DeviceRule]>,
    ) -> Result<(), CgroupError> {
        let needs = limits::controllers(resources);
        for hierarchy in self.hierarchies.serving(&needs) {
            hierarchy.make_group(&self.name)?;
        }
        for write in limits::writes(resources) {
            limits::apply(&write, &self.hierarchies, &self.name)?;
        }
        if let Some(rules) = devices {
            devices::restrict(&self.hierarchies, &self.name, rules)?;
        }
        Ok(())
    }

    /// The groups of a container by name, whether they exist or not.
    pub fn open(name: &str) -> Result<Self, CgroupError> {
        let word = |part: &str| {
            !part.starts_with('.')
                && !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if !name.split('/').all(word) {
            return Err(CgroupError::Name { name: name.to_owned() });
        }
        let name = format!("{PARENT}/{name}");
        Ok(Self { name, hierarchies: Hierarchies::of_this_machine()? })
    }

    /// Its relative name.
    pub fn name(&self) -> &str {
        self.name.strip_prefix("cutover/").unwrap_or(&self.name)
    }

    /// Whether any of its groups exists.
    pub fn exists(&self) -> bool {
        self.groups().any(|(_, path)| path.exists())
    }

    /// Process ids (of the host's namespace) in it and below it.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = Vec::new();
        // Where v2 is mounted, every process is in it.
        if let Some((_, path)) = self.groups().find(|(_, path)| path.exists()) {
            files::collect_pids(&path, &mut pids)?;
        }
        Ok(pids)
    }

    /// SIGKILL to every process in it, also to those that are being forked, frozen or not.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        match self.unified() {
            Some(path) if !path.exists() => Ok(()),
            Some(path) if path.join("cgroup.kill").exists() => {
                Dir::open(&path)?.write("cgroup.kill", "1")
            }
            _ => self.kill_each(),
        }
    }

    /// Without `cgroup.kill`: freeze, so that none forks or ends and its number stays its own; kill; let them die.
    fn kill_each(&self) -> Result<(), CgroupError> {
        let was_frozen = self.freeze();
        let pids = self.pids()?;
        for &pid in &pids {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // ESRCH: it ended before it could be frozen.
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        was_frozen.and_then(|()| self.thaw())
    }

    /// Stops all processes; returns when they stand still.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let (directory, file, value) = match (self.unified(), self.v1("freezer")) {
            (Some(path), _) => (path, "cgroup.freeze", if frozen { "1" } else { "0" }),
            (None, Some(path)) => (path, "freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
            (None, None) => {
                return Err(CgroupError::Missing { what: "running", controller: "freezer" });
            }
        };
        let group = Dir::open(&directory)?;
        let mut waited = Duration::ZERO;
        loop {
            // Again and again on v1: a process that forks meanwhile makes it start over.
            group.write(file, value)?;
            if self.frozen()? == frozen {
                return Ok(());
            }
            if waited > PATIENCE {
                return Err(CgroupError::Busy { name: self.name.clone() });
            }
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
    }

    /// Whether it stands still.
    pub fn frozen(&self) -> Result<bool, CgroupError> {
        if let Some(path) = self.unified() {
            let events = Dir::open(&path)?.read("cgroup.events")?;
            return Ok(events.lines().any(|line| line == "frozen 1"));
        }
        match self.v1("freezer") {
            Some(path) => Ok(Dir::open(&path)?.read("freezer.state")?.trim() == "FROZEN"),
            None => Ok(false),
        }
    }

    /// What it uses.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        stats::read(&self.hierarchies, &self.name)
    }

    /// Removes the groups; missing ones are fine. Waits for processes that are just dying.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut waited = Duration::ZERO;
        for (_, path) in self.groups() {
            loop {
                match files::remove_tree(&path) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        if waited > PATIENCE {
                            return Err(CgroupError::Busy { name: self.name.clone() });
                        }
                        std::thread::sleep(PAUSE);
                        waited += PAUSE;
                    }
                    Err(error) => return Err(context("remove", &path)(error)),
                }
            }
        }
        Ok(())
    }

    /// Every place where a group of it could be, v2 first.
    fn groups(&self) -> impl Iterator<Item = (&Hierarchy, PathBuf)> {
        self.hierarchies.all().map(|hierarchy| (hierarchy, hierarchy.group(&self.name)))
    }

    fn unified(&self) -> Option<PathBuf> {
        let found = self.hierarchies.all().find(|hierarchy| hierarchy.version == Version::V2);
        found.map(|hierarchy| hierarchy.group(&self.name))
    }

    fn v1(&self, controller: &str) -> Option<PathBuf> {
        self.hierarchies.v1(controller).map(|hierarchy| hierarchy.group(&self.name))
    }

    /// For a process that is to be born in it.
    pub(crate) fn entrance(&self) -> Result<Entrance, CgroupError> {
        join::open(&self.hierarchies, &self.name)
    }
}

fn group_path(mount: &Path, name: &str) -> PathBuf {
    mount.join(name)
}

#[cfg(test)]
mod tests;
