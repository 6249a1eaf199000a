//! What [`super::merge`] merges.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use cutover_core::Digest;
use cutover_core::oci::{self, Healthcheck};
use jiff::Timestamp;

use crate::container::{
    Dns, Id, LogConfig, Mount, NetworkMode, Port, Resources, RestartPolicy, Security,
};

/// The image side of [`merge`](super::merge).
#[derive(Clone, Debug)]
pub struct ImageSource<'a> {
    /// As the user named it.
    pub name: String,
    /// Of the manifest.
    pub digest: Digest,
    pub config: &'a oci::Config,
    /// The unpacked layers, topmost first.
    pub lowers: Vec<PathBuf>,
}

/// The user's side of [`merge`](super::merge): docker's flags as checked values. `None` and empty mean "not
/// given".
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub id: Id,
    pub created_at: Timestamp,
    /// `None`: one derived from the id.
    pub name: Option<String>,
    /// `Some(vec![])` clears the image's (`--entrypoint ""`).
    pub entrypoint: Option<Vec<String>>,
    /// Empty: not given.
    pub cmd: Vec<String>,
    /// `KEY=value`; a bare `KEY` removes the variable. Later lines win.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub terminal: bool,
    pub stdin: bool,
    pub mounts: Vec<Mount>,
    pub shm_size: Option<u64>,
    pub read_only: bool,
    pub resources: Resources,
    pub security: Security,
    pub network: NetworkMode,
    pub publish: Vec<Port>,
    /// Publish every port that the image exposes on a free port of the host (`-P`).
    pub publish_all: bool,
    pub extra_hosts: Vec<(String, Option<IpAddr>)>,
    pub dns: Dns,
    pub restart: RestartPolicy,
    pub health: HealthOptions,
    pub stop_signal: Option<String>,
    pub stop_timeout: Option<Duration>,
    pub log: LogConfig,
    pub auto_remove: bool,
    pub init: bool,
    pub labels: BTreeMap<String, String>,
}

impl RunOptions {
    /// Options as when no flag is given.
    pub fn new(id: Id, created_at: Timestamp) -> Self {
        Self {
            id,
            created_at,
            name: None,
            entrypoint: None,
            cmd: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            user: None,
            hostname: None,
            domainname: None,
            terminal: false,
            stdin: false,
            mounts: Vec::new(),
            shm_size: None,
            read_only: false,
            resources: Resources::default(),
            security: Security::default(),
            network: NetworkMode::default(),
            publish: Vec::new(),
            publish_all: false,
            extra_hosts: Vec::new(),
            dns: Dns::default(),
            restart: RestartPolicy::default(),
            health: HealthOptions::default(),
            stop_signal: None,
            stop_timeout: None,
            log: LogConfig::default(),
            auto_remove: false,
            init: false,
            labels: BTreeMap::new(),
        }
    }
}

/// `--health-*` and compose's `healthcheck`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthOptions {
    /// `--no-healthcheck`, `disable: true`.
    pub disable: bool,
    /// Zero and empty fields are inherited from the image.
    pub check: Option<Healthcheck>,
}
