//! [`ContainerConfig`]: everything a container was created with, as kept in its `config.json`.
//!
//! Plain data, written once at creation and never changed. It names no file outside of the root
//! but what the user asked to mount; paths under the root are kept relative, so the root can move.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use cutover_core::Digest;
use cutover_core::oci::Healthcheck;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Id;
use crate::spec::{Device, Seccomp, Ulimit};

/// The version of `config.json` that this program writes. It reads this one and older ones.
pub const CONFIG_VERSION: u32 = 1;

/// What a container is: made by [`crate::merge::merge`] from an image's config and the options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    pub version: u32,
    pub id: Id,
    pub name: String,
    pub created_at: Timestamp,
    pub image: ImageName,
    /// The image's unpacked layers, topmost first. Under the root: relative to it.
    pub lowers: Vec<PathBuf>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `KEY=value`, in docker's order, keys unique.
    pub env: Vec<String>,
    pub working_dir: String,
    /// `name|uid[:group|gid]`; empty means root.
    pub user: String,
    /// `None`: the short id, or the host's name when the network is the host's.
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub terminal: bool,
    /// Keep stdin open (`-i`).
    pub stdin: bool,
    pub mounts: Vec<Mount>,
    pub shm_size: Option<u64>,
    /// Mount the root read-only.
    pub read_only: bool,
    pub resources: Resources,
    pub security: Security,
    pub network: NetworkMode,
    pub ports: Vec<Port>,
    /// `name → address` lines for `/etc/hosts`; no address means the network's gateway.
    pub extra_hosts: Vec<(String, Option<IpAddr>)>,
    pub dns: Dns,
    pub restart: RestartPolicy,
    /// After inheritance; `None` when there is none or it is switched off.
    pub healthcheck: Option<Healthcheck>,
    /// The image's, for health checks of the form `CMD-SHELL`; empty means `/bin/sh -c`.
    pub shell: Vec<String>,
    /// As a number, so that a name is checked at creation.
    pub stop_signal: i32,
    #[serde(with = "millis")]
    pub stop_timeout: Duration,
    pub log: LogConfig,
    /// Remove the container when it exits.
    pub auto_remove: bool,
    /// Run a small reaping init as process 1.
    pub init: bool,
    pub labels: BTreeMap<String, String>,
    /// Ports that the image documents: `port/protocol`.
    pub exposed: Vec<String>,
}

impl ContainerConfig {
    /// The entrypoint and its arguments: what is executed.
    pub fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }

    /// The value of the environment variable `key`.
    pub fn env_value(&self, key: &str) -> Option<&str> {
        self.env.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
}

/// The image as it was named by the user, and its manifest's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName {
    pub name: String,
    pub digest: Digest,
}

/// Something mounted at `target` in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    /// Absolute, without `.` and `..`.
    pub target: String,
    #[serde(default)]
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A directory or file of the host.
    Bind {
        source: PathBuf,
        /// Make a missing source as an empty directory (docker's `-v`; not its `--mount`).
        create: bool,
    },
    /// A volume of ours. `name: None` before creation: a fresh anonymous one.
    Volume {
        name: Option<String>,
        /// Removed with the container (`rm -v`, `--rm`).
        #[serde(default)]
        anonymous: bool,
        /// Do not copy the image's content into the empty volume.
        #[serde(default)]
        no_copy: bool,
    },
    Tmpfs {
        size: Option<u64>,
        mode: Option<u32>,
    },
}

/// Limits; `None` means none (but [`Resources::pids`], where it means 4096).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together.
    pub memory_swap: Option<u64>,
    /// Processors, e.g. `1.5`.
    pub cpus: Option<f64>,
    pub cpu_shares: Option<u64>,
    /// 0 or less: unlimited.
    pub pids: Option<i64>,
    pub oom_score_adj: Option<i32>,
}

/// What the container may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Security {
    pub privileged: bool,
    /// With or without `CAP_`; `ALL` means all.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Vec<Ulimit>,
    pub devices: Vec<Device>,
    pub pid_host: bool,
    pub ipc_host: bool,
    /// Supplementary groups besides those of `/etc/group`.
    pub group_add: Vec<String>,
}

impl Default for Security {
    /// Docker's walls, and `no_new_privileges`: a setuid program in an image grants nothing.
    fn default() -> Self {
        Self {
            privileged: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            no_new_privileges: true,
            seccomp: Seccomp::Default,
            sysctls: BTreeMap::new(),
            ulimits: Vec::new(),
            devices: Vec::new(),
            pid_host: false,
            ipc_host: false,
            group_add: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Only a loopback.
    None,
    Host,
    /// The network namespace of another container, by id.
    Container(String),
    /// Attached to these networks, in order; the first one holds the default route.
    Networks(Vec<Attachment>),
}

impl Default for NetworkMode {
    fn default() -> Self {
        Self::Networks(vec![Attachment::default()])
    }
}

/// One network to attach to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub network: String,
    /// Names under which others on the network find this container.
    pub aliases: Vec<String>,
    /// A fixed address.
    pub ip: Option<Ipv4Addr>,
}

impl Default for Attachment {
    fn default() -> Self {
        Self { network: "bridge".to_owned(), aliases: Vec::new(), ip: None }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// `None`: every address of the host.
    pub host_ip: Option<IpAddr>,
    /// 0: any free one.
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

/// What `/etc/resolv.conf` holds; empty lists mean the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// When an exited container is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    #[default]
    No,
    /// After a non-zero exit, at most this often (`None`: without end).
    OnFailure(Option<u32>),
    Always,
    /// Always, but not after a reboot when a user had stopped it.
    UnlessStopped,
}

/// How much of the output is kept: `files` of at most `size` bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    pub size: u64,
    pub files: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { size: 10 << 20, files: 3 }
    }
}

/// Durations in JSON are whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
