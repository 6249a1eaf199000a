//! `RUN --mount` in a container: a step's mounts as mounts of the runtime.
//!
//! Layers are mounted in a mount namespace of the step's own thread, which ends with it: nothing is
//! ever visible on the host and nothing is left. The runtime then takes the part that is wanted
//! from there, resolved within its root.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use cutover_runtime::mounts::{self, MountError};
use cutover_runtime::spec::{Mount, MountKind, Propagation, Rootfs};
use cutover_runtime::sys::mount::{Attributes, set_attributes};
use cutover_runtime::sys::process::unshare;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MoveMountFlags;
use tempfile::TempDir;

use super::agent::{Access, Forward};
use crate::{RunStep, StepMount, StepSource};

/// Why something could not be mounted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("failed to make a place for the step's mounts")]
    Scratch(#[source] io::Error),
    #[error("failed to reach the ssh agent `{}`", socket.display())]
    Agent { socket: PathBuf, source: io::Error },
    #[error("failed to make a mount namespace")]
    Namespace(#[source] rustix::io::Errno),
    #[error(transparent)]
    Mount(#[from] MountError),
}

/// What a step's mounts need besides the container; lives as long as that.
#[derive(Debug)]
pub(super) struct Places {
    dir: TempDir,
    _agents: Vec<Forward>,
}

impl Places {
    /// On the thread that outlives the container: directories to mount on, sockets of agents.
    pub(super) fn make(step: &RunStep, scratch: &Path) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("mounts-").tempdir_in(scratch);
        let dir = dir.map_err(Failure::Scratch)?;
        let mut agents = Vec::new();
        for (index, mount) in step.mounts.iter().enumerate() {
            let path = place(dir.path(), index);
            match &mount.source {
                StepSource::Layers { .. } => {
                    fs_err::create_dir(&path).map_err(Failure::Scratch)?;
                }
                StepSource::Agent { socket, mode, uid, gid } => {
                    let access = Access { mode: *mode, uid: *uid, gid: *gid };
                    let agent = Forward::open(&path, socket.clone(), access)
                        .map_err(|source| Failure::Agent { socket: socket.clone(), source })?;
                    agents.push(agent);
                }
                _ => {}
            }
        }
        Ok(Self { dir, _agents: agents })
    }

    /// On the thread that the container is a child of: mounts the layers.
    pub(super) fn enter(&self, step: &RunStep) -> Result<(), Failure> {
        let layered = |mount: &&StepMount| matches!(mount.source, StepSource::Layers { .. });
        if step.mounts.iter().any(|mount| layered(&mount)) {
            private_namespace().map_err(Failure::Namespace)?;
        }
        for (index, mount) in step.mounts.iter().enumerate() {
            let StepSource::Layers { lowers, writable, .. } = &mount.source else { continue };
            let (upper, work) = writable.clone().unzip();
            let lowers = lowers.clone();
            let root = Rootfs::Overlay { lowers, upper, work, read_only: false, volatile: true };
            let tree = mounts::rootfs(&root)?;
            let path = place(self.dir.path(), index);
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(tree.as_fd(), "", CWD, &path, flags)
                .map_err(Failure::Namespace)?;
        }
        Ok(())
    }

    /// The mounts in the runtime's words; a later one with the same target takes an earlier one's
    /// place.
    pub(super) fn mounts(&self, step: &RunStep) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = Vec::new();
        for (index, mount) in step.mounts.iter().enumerate() {
            let kind = kind(&mount.source, place(self.dir.path(), index));
            mounts.retain(|other| other.target != mount.target);
            mounts.push(Mount { target: mount.target.clone(), kind });
        }
        mounts
    }
}

fn place(dir: &Path, index: usize) -> PathBuf {
    dir.join(index.to_string())
}

/// What is mounted from here on is seen by this thread and its children only.
fn private_namespace() -> Result<(), rustix::io::Errno> {
    unshare(libc_flags())?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let private = Attributes {
        propagation: rustix::mount::MountPropagationFlags::PRIVATE.bits().into(),
        ..Attributes::default()
    };
    set_attributes(root.as_fd(), true, private)
}

fn libc_flags() -> i32 {
    use rustix::thread::UnshareFlags;
    (UnshareFlags::FS | UnshareFlags::NEWNS).bits().cast_signed()
}

fn kind(source: &StepSource, place: PathBuf) -> MountKind {
    match source {
        StepSource::Layers { path, writable, .. } => bind(place, path, writable.is_none()),
        StepSource::Directory { root, path, read_only } => bind(root.clone(), path, *read_only),
        StepSource::Agent { .. } => bind(place, "/", false),
        StepSource::Tmpfs { size, read_only } => MountKind::Tmpfs {
            size: *size,
            mode: 0o1777,
            uid: 0,
            gid: 0,
            exec: true,
            read_only: *read_only,
        },
        StepSource::Secret { content, mode, uid, gid } => MountKind::File {
            content: content.0.clone(),
            mode: *mode,
            uid: *uid,
            gid: *gid,
            read_only: true,
        },
    }
}

/// `path` below `root`.
fn bind(root: PathBuf, path: &str, read_only: bool) -> MountKind {
    let below = path.trim_start_matches('/');
    MountKind::Bind {
        source: root,
        subpath: Some(below.to_owned()).filter(|below| !below.is_empty()),
        read_only,
        recursive: false,
        create_source: false,
        propagation: Propagation::Private,
    }
}
