//! What a process needs to be born in a container's groups, and what the container sees of them.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::OFlags;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::CgroupError;
use super::files::{Dir, context};
use super::hierarchy::{Hierarchies, Hierarchy, Version};
use crate::sys::mount::{Attributes, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY, set_attributes};

/// Open descriptors.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// The v2 group, for `CLONE_INTO_CGROUP`.
    pub(crate) unified: Option<OwnedFd>,
    /// Files of v1 groups into which the process writes `0`.
    pub(crate) tasks: Vec<OwnedFd>,
    groups: Vec<(Hierarchy, std::path::PathBuf)>,
}

/// The groups as the container sees them: each hierarchy's directory name and a detached mount.
pub(crate) type Trees = Vec<(CString, OwnedFd)>;

/// Where our processes live that outlive who started them, beside the containers' groups. In the group of the login
/// session or the service that they were started from, systemd would end them with it.
const HOST: &str = "cutover/host";

/// The group of shims, for `CLONE_INTO_CGROUP`; `None` where there is no v2, by which systemd finds processes.
pub(crate) fn host_group() -> Option<OwnedFd> {
    let (_, dir) = host()?;
    Some(dir.into_fd())
}

/// Moves a process that was just started to the group of what outlives its starter, where that can be done.
pub fn outlive(pid: u32) {
    let Some((path, dir)) = host() else { return };
    if let Err(error) = dir.write("cgroup.procs", &pid.to_string()) {
        tracing::warn!(pid, group = %path.display(), %error, "it ends with what started it");
    }
}

fn host() -> Option<(std::path::PathBuf, Dir)> {
    let hierarchies = Hierarchies::of_this_machine().ok()?;
    let v2 = hierarchies.v2()?;
    v2.make_group(HOST).ok()?;
    let path = v2.group(HOST);
    let dir = Dir::open(&path).ok()?;
    Some((path, dir))
}

pub(super) fn open(hierarchies: &Hierarchies, name: &str) -> Result<Entrance, CgroupError> {
    let groups: Vec<_> = hierarchies
        .all()
        .map(|hierarchy| (hierarchy.clone(), hierarchy.group(name)))
        .filter(|(_, path)| path.exists())
        .collect();
    let (mut unified, mut tasks) = (None, Vec::new());
    for (hierarchy, path) in &groups {
        let dir = Dir::open(path)?;
        match hierarchy.version {
            Version::V2 => unified = Some(dir.into_fd()),
            Version::V1 => tasks.push(dir.open_file("tasks", OFlags::WRONLY)?),
        }
    }
    Ok(Entrance { unified, tasks, groups })
}

impl Entrance {
    /// Whether there is only v2: then `/sys/fs/cgroup` is the group itself.
    pub(crate) fn is_unified(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Detached mounts of the groups.
    pub(crate) fn trees(&self, writable: bool) -> Result<Trees, CgroupError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let set = NO_SUID | NO_DEV | NO_EXEC | if writable { 0 } else { READ_ONLY };
        let attributes = Attributes { set, propagation: libc::MS_PRIVATE, ..Attributes::default() };
        let tree = |(hierarchy, path): &(Hierarchy, std::path::PathBuf)| {
            let tree = open_tree(rustix::fs::CWD, path, flags).map_err(context("open", path))?;
            set_attributes(tree.as_fd(), false, attributes).map_err(context("restrict", path))?;
            let label = hierarchy.mount.file_name().unwrap_or_default().as_bytes();
            Ok((CString::new(label).unwrap_or_default(), tree))
        };
        self.groups.iter().map(tree).collect()
    }
}
