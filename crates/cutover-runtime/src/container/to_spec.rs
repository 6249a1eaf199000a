//! [`to_spec`]: a container's config → the [`Spec`] of its process tree. Pure.

use std::path::{Path, PathBuf};

use super::paths::Paths;
use super::{ContainerConfig, MountKind, NetworkMode};
use crate::spec::{self, Network, Rootfs, Sharing, Spec};

/// docker's default is none; a fork bomb must not take the machine with it.
const DEFAULT_PIDS: u64 = 4096;

/// What is decided when the container starts, not when it is made.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) root: &'a Path,
    pub(crate) paths: &'a Paths,
    pub(crate) host_name: &'a str,
    /// The network namespace of the container whose network is shared.
    pub(crate) shared_network: Option<PathBuf>,
}

pub(crate) fn to_spec(config: &ContainerConfig, at: &Surroundings<'_>) -> Spec {
    let security = &config.security;
    let sharing = |host| if host { Sharing::Host } else { Sharing::Private };
    Spec {
        cgroup: config.id.to_string(),
        rootfs: rootfs(config, at),
        args: config.args(),
        env: config.env.clone(),
        cwd: config.working_dir.clone(),
        user: config.user.clone(),
        additional_groups: security.group_add.clone(),
        hostname: config.hostname.clone().unwrap_or_else(|| at.host_name.to_owned()),
        domainname: config.domainname.clone().unwrap_or_default(),
        mounts: mounts(config, at),
        shm_size: config.shm_size.unwrap_or(64 << 20),
        resources: resources(config),
        capabilities: spec::Capabilities {
            add: security.cap_add.clone(),
            drop: security.cap_drop.clone(),
        },
        privileged: security.privileged,
        no_new_privileges: security.no_new_privileges && !security.privileged,
        seccomp: security.seccomp.clone(),
        sysctls: security.sysctls.clone().into_iter().collect(),
        ulimits: security.ulimits.clone(),
        devices: security.devices.clone(),
        network: match (&config.network, &at.shared_network) {
            (NetworkMode::Host, _) => Network::Host,
            (NetworkMode::Container(_), Some(path)) => Network::Path(path.clone()),
            _ => Network::Private,
        },
        pid: sharing(security.pid_host),
        ipc: sharing(security.ipc_host),
        init: config.init,
        // Explicit: the shim's own protection must not be inherited.
        oom_score_adj: Some(oom_score(config)),
        // A shim that is killed takes its container along: nothing runs unsupervised.
        parent_death_signal: Some(9),
        ..Spec::default()
    }
}

fn rootfs(config: &ContainerConfig, at: &Surroundings<'_>) -> Rootfs {
    Rootfs::Overlay {
        lowers: config.lowers.iter().map(|lower| at.root.join(lower)).collect(),
        upper: Some(at.paths.upper()),
        work: Some(at.paths.work()),
        read_only: config.read_only,
        // What is removed at its exit is worth nothing after a crash either.
        volatile: config.auto_remove,
    }
}

fn mounts(config: &ContainerConfig, at: &Surroundings<'_>) -> Vec<spec::Mount> {
    let mut mounts: Vec<spec::Mount> = Vec::new();
    for name in ["hosts", "hostname", "resolv.conf"] {
        let target = format!("/etc/{name}");
        let covered = config.mounts.iter().any(|mount| mount.target == target);
        if !covered {
            mounts.push(bind(&at.paths.etc(name), target, false, false));
        }
    }
    for mount in &config.mounts {
        let (target, read_only) = (mount.target.clone(), mount.read_only);
        mounts.push(match &mount.kind {
            MountKind::Bind { source, create } => bind(source, target, read_only, *create),
            MountKind::Volume { name, .. } => {
                let name = name.as_deref().unwrap_or_default();
                let source = at.root.join("volumes").join(name).join("_data");
                bind(&source, target, read_only, false)
            }
            MountKind::Tmpfs { size, mode } => spec::Mount {
                target,
                kind: spec::MountKind::Tmpfs {
                    size: *size,
                    mode: mode.unwrap_or(0o1777),
                    uid: 0,
                    gid: 0,
                    exec: false,
                    read_only,
                },
            },
        });
    }
    mounts
}

fn bind(source: &Path, target: String, read_only: bool, create_source: bool) -> spec::Mount {
    let kind = spec::MountKind::Bind {
        source: source.to_owned(),
        subpath: None,
        read_only,
        recursive: true,
        create_source,
        propagation: spec::Propagation::Private,
    };
    spec::Mount { target, kind }
}

fn resources(config: &ContainerConfig) -> spec::Resources {
    let resources = &config.resources;
    spec::Resources {
        memory: resources.memory,
        memory_swap: resources.memory_swap,
        cpus: resources.cpus,
        cpu_shares: resources.cpu_shares,
        pids: match resources.pids {
            None => Some(DEFAULT_PIDS),
            Some(limit) => u64::try_from(limit).ok().filter(|limit| *limit > 0),
        },
        ..spec::Resources::default()
    }
}

fn oom_score(config: &ContainerConfig) -> i16 {
    let score = config.resources.oom_score_adj.unwrap_or(0).clamp(-1000, 1000);
    i16::try_from(score).unwrap_or(0)
}
