//! What one container is, as pure data: the input of [`crate::init::create`].
//!
//! Owns the shape only. Nothing here touches the machine; what may not be said at all (a mount over
//! `/proc`, a sysctl of the host) is refused when a spec is compiled, before anything is created.
//! Field names follow the OCI runtime specification where it has the thing, so that a bundle front
//! can be a translation into this type.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One container: its files, its first process, its limits and its walls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Relative name of the control group, created below `cutover/`: usually the container's id.
    pub cgroup: String,
    /// Where the root file system comes from.
    pub rootfs: Rootfs,
    /// The program and its arguments; the program is searched in the container's `PATH`.
    pub args: Vec<String>,
    /// `KEY=value`; `HOME` is added from the container's `/etc/passwd` when missing.
    pub env: Vec<String>,
    /// Absolute working directory inside the container; created when missing, as docker does.
    pub cwd: String,
    /// `name`, `name:group`, `uid`, `uid:gid`; resolved inside the root file system. Empty is root.
    pub user: String,
    /// More groups by name or number, besides those that `/etc/group` lists for a named user.
    pub additional_groups: Vec<String>,
    /// Host name; empty keeps the kernel's copy of the parent's.
    pub hostname: String,
    /// NIS domain name; empty keeps it.
    pub domainname: String,
    /// Volumes, tmpfs and injected files. Parents are attached before their children, whatever the order here.
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Limits of the control group.
    pub resources: Resources,
    /// What is added to or dropped from the default capabilities.
    pub capabilities: Capabilities,
    /// All capabilities and devices, no seccomp, nothing masked.
    pub privileged: bool,
    /// `execve` never grants privileges (setuid programs, file capabilities).
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// Paths that read as empty. Missing ones are skipped.
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written. Missing ones are skipped.
    pub readonly_paths: Vec<String>,
    /// Namespaced kernel settings, `net.core.somaxconn` to `1024`.
    pub sysctls: Vec<(String, String)>,
    /// Resource limits of the first process, inherited by all others.
    pub ulimits: Vec<Ulimit>,
    /// Host devices besides the default ones.
    pub devices: Vec<Device>,
    /// Whose network stack.
    pub network: Network,
    /// Whose process ids.
    pub pid: Sharing,
    /// Whose System V IPC and POSIX queues.
    pub ipc: Sharing,
    /// Whose host name.
    pub uts: Sharing,
    /// Run a tiny process 1 that forwards signals and reaps orphans, the program being its child.
    pub init: bool,
    /// −1000…1000; `None` keeps the parent's.
    pub oom_score_adj: Option<i16>,
    /// Sent to process 1 when the *thread* that called `create` dies. Decided by the lifecycle.
    pub parent_death_signal: Option<i32>,
    /// umask of the first process.
    pub umask: u32,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            cgroup: String::new(),
            rootfs: Rootfs::default(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            additional_groups: Vec::new(),
            hostname: String::new(),
            domainname: String::new(),
            mounts: Vec::new(),
            shm_size: 64 << 20,
            resources: Resources::default(),
            capabilities: Capabilities::default(),
            privileged: false,
            no_new_privileges: true,
            seccomp: Seccomp::default(),
            masked_paths: owned(&MASKED_PATHS),
            readonly_paths: owned(&READONLY_PATHS),
            sysctls: Vec::new(),
            ulimits: Vec::new(),
            devices: Vec::new(),
            network: Network::default(),
            pid: Sharing::default(),
            ipc: Sharing::default(),
            uts: Sharing::default(),
            init: false,
            oom_score_adj: None,
            parent_death_signal: None,
            umask: 0o022,
        }
    }
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

/// What docker masks by default.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What docker makes read-only by default.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Rootfs {
    /// Snapshots under a writable layer.
    Overlay {
        /// Lower directories, topmost first.
        lowers: Vec<PathBuf>,
        /// Where writes go; created when missing. `None` with `work: None` makes a root that has no writable layer.
        upper: Option<PathBuf>,
        /// Overlay's scratch directory, on the same file system as `upper`; created when missing.
        work: Option<PathBuf>,
        /// Remounted read-only after the mount points were made.
        #[serde(default)]
        read_only: bool,
        /// `fsync` inside does nothing: the upper layer is worthless after a crash of the machine.
        /// Right for build steps and throw-away containers; a restart of the container is fine.
        #[serde(default)]
        volatile: bool,
    },
    /// A directory as it is (an OCI bundle's `rootfs`).
    Dir {
        /// The directory on the host.
        path: PathBuf,
        /// Mounted read-only after the mount points were made.
        #[serde(default)]
        read_only: bool,
    },
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::Overlay {
            lowers: Vec::new(),
            upper: None,
            work: None,
            read_only: false,
            volatile: false,
        }
    }
}

impl Rootfs {
    /// Whether the program will see a read-only root.
    pub fn read_only(&self) -> bool {
        match self {
            Self::Overlay { read_only, .. } | Self::Dir { read_only, .. } => *read_only,
        }
    }
}

/// Something attached inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path inside the container. Symlinks in it are followed within the container's root;
    /// missing directories (or the file, when the source is one) are created.
    pub target: String,
    /// What is attached there.
    pub kind: MountKind,
}

/// What is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum MountKind {
    /// A file or directory of the host (a volume's `_data` too).
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// A path below `source`, resolved without leaving it even while it is being changed.
        #[serde(default)]
        subpath: Option<String>,
        /// Nothing below it can be written.
        #[serde(default)]
        read_only: bool,
        /// Mounts below the source come along.
        #[serde(default = "yes")]
        recursive: bool,
        /// Make the source as a directory when it is missing (docker's `-v`; `--mount` refuses).
        #[serde(default)]
        create_source: bool,
        /// Which later mounts are shared with the host.
        #[serde(default)]
        propagation: Propagation,
    },
    /// Memory, empty at each start.
    Tmpfs {
        /// Bytes; `None` is half of the memory, the kernel's default.
        #[serde(default)]
        size: Option<u64>,
        /// Permissions of its root.
        #[serde(default = "sticky")]
        mode: u32,
        /// Owner of its root.
        #[serde(default)]
        uid: u32,
        /// Group of its root.
        #[serde(default)]
        gid: u32,
        /// Programs may be run from it.
        #[serde(default)]
        exec: bool,
        /// Nothing can be written.
        #[serde(default)]
        read_only: bool,
    },
    /// A file in memory with the given bytes: `/etc/hosts`, `/etc/resolv.conf`, configs, secrets.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// Permissions.
        #[serde(default = "readable")]
        mode: u32,
        /// Owner.
        #[serde(default)]
        uid: u32,
        /// Group.
        #[serde(default)]
        gid: u32,
        /// It cannot be written.
        #[serde(default)]
        read_only: bool,
    },
}

fn yes() -> bool {
    true
}

fn sticky() -> u32 {
    0o1777
}

fn readable() -> u32 {
    0o644
}

/// Which later mounts cross between the host and a bind mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
}

/// Limits of the control group; `None` is no limit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; `None` with a memory limit means twice the memory, as docker.
    /// `u64::MAX` is unlimited swap.
    pub memory_swap: Option<u64>,
    /// Bytes that reclaim tries to leave alone.
    pub memory_reservation: Option<u64>,
    /// How many processors' worth of time, `1.5`.
    pub cpus: Option<f64>,
    /// Relative weight, docker's 2…262144 with 1024 as the middle.
    pub cpu_shares: Option<u64>,
    /// Which processors, `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// How many processes and threads.
    pub pids: Option<u64>,
}

/// Changes to docker's default capabilities; names with or without `CAP_`, in any case, or `ALL`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Added.
    pub add: Vec<String>,
    /// Dropped.
    pub drop: Vec<String>,
}

/// The system call filter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// Docker's default policy for the container's capabilities.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The text of a profile in docker's JSON format.
    Profile(String),
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// `nofile`, `nproc`, `core`… as `ulimit` and docker name them.
    pub name: String,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// A host device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Path on the host.
    pub source: PathBuf,
    /// Path inside, below `/dev`.
    pub target: String,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

/// Whose network stack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A new one; [`crate::init::Created::netns`] is there to attach links before `start`.
    #[default]
    Private,
    /// The host's.
    Host,
    /// The one behind this path (`/proc/PID/ns/net`).
    Path(PathBuf),
}

/// Whether a namespace is the container's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// One more process in a running container. Everything that walls the container in (namespaces, control
/// group, seccomp, capabilities, no_new_privs) is that of its [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The whole environment, `KEY=value`; `HOME` is added when missing.
    pub env: Vec<String>,
    /// Absolute working directory; must exist.
    pub cwd: String,
    /// As [`Spec::user`].
    pub user: String,
    /// As [`Spec::additional_groups`].
    pub additional_groups: Vec<String>,
    /// All capabilities and no seccomp for this process.
    pub privileged: bool,
    /// As [`Spec::parent_death_signal`].
    pub parent_death_signal: Option<i32>,
}

impl Default for ExecSpec {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            additional_groups: Vec::new(),
            privileged: false,
            parent_death_signal: None,
        }
    }
}
