//! [`Service`]: one named workload of an app, checked and with every default filled in.
//!
//! A service says everything that its containers, its traffic and its deployments need: volumes
//! and networks are carried with their machine-wide names, so that a sealed release is complete
//! without the file it came from. What was written and what was only defaulted is told apart where
//! a decision depends on it ([`UpdateConfig::order`]); elsewhere the default is simply the value.
//!
//! All of it serialises to JSON in which a field at its default is absent: a later version can add
//! a field without changing the digest of releases that do not use it.

mod build;
mod deploy;
mod health;
mod mount;
mod port;
mod resources;
mod routing;

pub use build::{Build, Entitlement, Provisioning};
pub use deploy::{DEFAULT_MONITOR, Deploy, FailureAction, Order, Restart, UpdateConfig};
pub use health::{Healthcheck, HealthcheckTest};
pub use mount::{FileMount, FileSource, Mount, MountKind, Volume};
pub use port::{Port, PortRange, Protocol};
pub use resources::{Resources, Ulimit};
pub use routing::{
    CommandCheck, DEFAULT_DRAIN_TIMEOUT, DEFAULT_HOLD_TIMEOUT, Exec, HttpCheck, HttpHealth,
    ParseStatusError, Route, Standby, StatusSet, Verify, XCutover,
};

use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::reference::Reference;
use crate::units;

/// How long a container gets between its stop signal and SIGKILL unless the file says otherwise.
pub const DEFAULT_STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// One named workload: what to run, how to reach it, how to replace it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// The key under `services:`; also the DNS name on the app's networks.
    pub name: String,
    /// The image to run; in a sealed release always pinned by digest. `None`: only built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Reference>,
    /// How to build the image; dropped when a release is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// `os/architecture[/variant]`, when another platform than the machine's is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub pull_policy: PullPolicy,

    /// Replaces the image's `CMD`; `None` keeps it, an empty list clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's `ENTRYPOINT` and clears its `CMD`; an empty list clears both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `env_file`s first, then `environment` over them; all variables resolved.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub environment: IndexMap<String, String>,
    /// `user[:group]`, names or numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub tty: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub stdin_open: bool,
    /// An init process inside the container that reaps and forwards signals.
    #[serde(skip_serializing_if = "is_default")]
    pub init: bool,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,

    /// Bind mounts, volumes and long-form tmpfs mounts, in the order written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Mount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<FileMount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<FileMount>,
    /// The root file system is mounted read-only.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,

    /// The networks to join, by their key in the file; empty with [`NetworkMode::Host`] or `None`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub networks: IndexMap<String, NetworkUse>,
    #[serde(skip_serializing_if = "is_default")]
    pub network_mode: NetworkMode,
    /// Ports of the container published on the machine itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// `(name, address)`; an address may be `host-gateway`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_opt: Vec<String>,

    /// Replaces the image's `HEALTHCHECK`; [`HealthcheckTest::None`] switches it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Run to completion, in order, before the first new instance starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_start: Vec<Hook>,
    /// Run inside each instance after its start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<Hook>,
    /// Run inside each instance before its stop signal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<Hook>,
    /// Services that come first. Every name is a service of the same project.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub depends_on: IndexMap<String, Condition>,

    /// Replaces the image's `STOPSIGNAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(with = "units::duration_text", skip_serializing_if = "is_default_grace")]
    pub stop_grace_period: Duration,
    /// `None`: not written; see [`Service::restart_policy`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,

    #[serde(skip_serializing_if = "is_default")]
    pub resources: Resources,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub privileged: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// `host-path:container-path:rwm`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub sysctls: IndexMap<String, String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub ulimits: IndexMap<String, Ulimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// The machine's process table is shared.
    #[serde(skip_serializing_if = "is_default")]
    pub pid_host: bool,
    /// The machine's System V and POSIX IPC is shared.
    #[serde(skip_serializing_if = "is_default")]
    pub ipc_host: bool,

    pub deploy: Deploy,
    /// What the Compose Specification cannot say: routes, verification, standby.
    #[serde(skip_serializing_if = "is_default")]
    pub cutover: XCutover,
}

/// When to ask the registry for a service's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Only when the image is not in the store (also `if_not_present`).
    #[default]
    Missing,
    Always,
    Never,
    /// Build, even when the image is in the store.
    Build,
}

/// Which network namespace the containers of a service live in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Their own, joined to [`Service::networks`].
    #[default]
    Networks,
    Host,
    /// Their own, with nothing but loopback.
    None,
}

/// A network of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// The name on the machine: `APP_KEY` unless the file gives a `name`.
    pub name: String,
    /// Made by someone else: never created, never removed.
    #[serde(skip_serializing_if = "is_default")]
    pub external: bool,
    /// No way to the outside.
    #[serde(skip_serializing_if = "is_default")]
    pub internal: bool,
    /// `ipam.config[0].subnet`, as written, e.g. `172.28.0.0/16`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub labels: IndexMap<String, String>,
}

/// A service's place on one [`Network`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkUse {
    pub network: Network,
    /// DNS names besides the service's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<std::net::Ipv4Addr>,
}

/// When a dependency counts as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    #[default]
    ServiceStarted,
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

/// A command run at one moment of a service's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Empty only for a `pre_start` with an image of its own, which then runs as it is made to.
    pub command: Vec<String>,
    /// `pre_start` only: another image than the service's. Pinned by digest once sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Over the service's own environment.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub environment: IndexMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// `pre_start` only: once per instance, or (the default) once before the first of them.
    #[serde(skip_serializing_if = "is_default")]
    pub per_replica: bool,
}

// By hand for the one field whose default is not its type's.
impl Default for Service {
    fn default() -> Self {
        Self {
            name: Default::default(),
            image: Default::default(),
            build: Default::default(),
            platform: Default::default(),
            pull_policy: Default::default(),
            command: Default::default(),
            entrypoint: Default::default(),
            environment: Default::default(),
            user: Default::default(),
            working_dir: Default::default(),
            hostname: Default::default(),
            domainname: Default::default(),
            tty: Default::default(),
            stdin_open: Default::default(),
            init: Default::default(),
            labels: Default::default(),
            volumes: Default::default(),
            secrets: Default::default(),
            configs: Default::default(),
            read_only: Default::default(),
            networks: Default::default(),
            network_mode: Default::default(),
            ports: Default::default(),
            extra_hosts: Default::default(),
            dns: Default::default(),
            dns_search: Default::default(),
            dns_opt: Default::default(),
            healthcheck: Default::default(),
            pre_start: Default::default(),
            post_start: Default::default(),
            pre_stop: Default::default(),
            depends_on: Default::default(),
            stop_signal: Default::default(),
            stop_grace_period: DEFAULT_STOP_GRACE_PERIOD,
            restart: Default::default(),
            resources: Default::default(),
            cap_add: Default::default(),
            cap_drop: Default::default(),
            privileged: Default::default(),
            security_opt: Default::default(),
            group_add: Default::default(),
            devices: Default::default(),
            sysctls: Default::default(),
            ulimits: Default::default(),
            oom_score_adj: Default::default(),
            pid_host: Default::default(),
            ipc_host: Default::default(),
            deploy: Default::default(),
            cutover: Default::default(),
        }
    }
}

impl Service {
    /// The restart policy in force: what was written, else [`Restart::UnlessStopped`] (a deployed
    /// service comes back after a crash and after a reboot; compose's own default is `no`).
    pub fn restart_policy(&self) -> Restart {
        self.restart.unwrap_or(Restart::UnlessStopped)
    }

    /// Named volumes that the service may write: the reason why two copies of it must not run
    /// together. External ones count: whoever made it, two writers ruin a database.
    pub fn owned_volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter().filter(|mount| !mount.read_only).filter_map(|mount| match &mount.kind {
            MountKind::Volume { volume: Some(volume), .. } => Some(volume),
            _ => None,
        })
    }

    /// Published ports with one fixed number on the machine: two copies cannot both have them.
    pub fn fixed_ports(&self) -> impl Iterator<Item = &Port> {
        self.ports
            .iter()
            .filter(|port| port.published.is_some_and(|range| range.first == range.last))
    }
}

/// For `skip_serializing_if`: a field at its default is not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_default_grace(value: &Duration) -> bool {
    *value == DEFAULT_STOP_GRACE_PERIOD
}

#[cfg(test)]
mod tests;
