//! What the child of `clone3` works on: everything is open, checked and in the kernel's form.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use super::target::{Kind, Target};
use crate::seccomp::Instruction;
use crate::sys::exec::StringArray;

/// Everything needed to make a container.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) join: Join,
    pub(super) network: Option<OwnedFd>,
    pub(super) hostname: Option<Vec<u8>>,
    pub(super) domainname: Option<Vec<u8>>,
    pub(super) root: OwnedFd,
    pub(super) root_read_only: bool,
    pub(super) privileged: bool,
    pub(super) shm_size: CString,
    pub(super) nodes: Vec<Node>,
    pub(super) cgroups: CgroupTrees,
    /// Files in memory, by number; cloned one by one.
    pub(super) files: Option<OwnedFd>,
    pub(super) mounts: Vec<Attach>,
    pub(super) masked: Vec<Hide>,
    pub(super) read_only: Vec<Hide>,
    /// Path below `/proc/sys` and value.
    pub(super) sysctls: Vec<(CString, Vec<u8>)>,
    pub(super) streams: Streams,
    pub(super) finish: Finish,
}

/// How a process gets into its control groups, and its OOM score there.
#[derive(Debug, Default)]
pub(super) struct Join {
    /// `tasks` files of v1 hierarchies.
    pub(super) tasks: Vec<OwnedFd>,
    pub(super) oom_score_adj: Option<Vec<u8>>,
}

/// The container's own groups, detached, for `/sys/fs/cgroup`.
#[derive(Debug)]
pub(super) enum CgroupTrees {
    /// None is mounted on the host.
    None,
    /// The one v2 hierarchy.
    Unified(OwnedFd),
    /// Directories of a tmpfs, and links to them (`cpu` to `cpu,cpuacct`).
    Split { trees: Vec<(CString, OwnedFd)>, links: Vec<(CString, CString)> },
}

/// A device in our own `/dev`.
#[derive(Debug)]
pub(super) struct Node {
    /// Below `/dev`.
    pub(super) target: Target,
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) device: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Something attached below the new root.
#[derive(Debug)]
pub(super) struct Attach {
    pub(super) target: Target,
    pub(super) kind: Kind,
    pub(super) what: Attached,
}

/// Where an attached mount comes from.
#[derive(Debug)]
pub(super) enum Attached {
    /// A detached mount of the host's files.
    Tree(OwnedFd),
    /// A new tmpfs with these options.
    Tmpfs { options: Vec<(CString, CString)>, exec: bool, read_only: bool },
    /// A file of [`Program::files`].
    File { name: CString, read_only: bool },
}

/// A path to mask or to make read-only.
#[derive(Debug)]
pub(super) struct Hide {
    pub(super) within: Within,
    pub(super) display: String,
}

/// Below which mount a path is resolved.
#[derive(Debug)]
pub(super) enum Within {
    /// Our own procfs; no symlink is followed.
    Proc(CString),
    /// Our own sysfs; no symlink is followed.
    Sys(CString),
    /// The container's files, after its volumes were attached.
    Root(Target),
}

/// The standard streams.
#[derive(Debug)]
pub(super) enum Streams {
    Given([OwnedFd; 3]),
    Terminal { rows: u16, columns: u16 },
}

/// The last steps, the same for a first process and for one more.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) launch: Launch,
    pub(super) terminal: bool,
    pub(super) limits: Vec<Limit>,
    pub(super) no_new_privileges: bool,
    pub(super) filter: Option<Vec<Instruction>>,
    /// Capabilities to keep.
    pub(super) caps: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) umask: u32,
    pub(super) parent_death_signal: Option<i32>,
    pub(super) cwd: Target,
    /// Where the program may be, in the order of `PATH`.
    pub(super) candidates: Vec<CString>,
    pub(super) args: StringArray,
    pub(super) env: StringArray,
}

/// Which process becomes the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Launch {
    /// This one.
    Here,
    /// A child; this one reaps, as process 1.
    UnderReaper,
    /// A sibling in the container's process id namespace; this one ends.
    Sibling,
}

/// A resource limit.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) resource: u32,
    pub(super) soft: u64,
    pub(super) hard: u64,
}
