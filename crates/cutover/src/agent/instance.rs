//! From a sealed service to a container: pure. What the release says is all there is; nothing is
//! looked up but the addresses and paths that the caller hands in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cutover_core::oci::Healthcheck;
use cutover_core::release::SealedService;
use cutover_core::service::{self, FileMount, HealthcheckTest, Hook, Restart, Service};
use cutover_release::Instance;
use cutover_runtime::container::{
    Attachment, Device, Dns, Id, Mount, MountKind, NetworkMode, Resources, RestartPolicy, Seccomp,
    Security, Ulimit,
};
use cutover_runtime::merge::{HealthOptions, RunOptions};
use jiff::Timestamp;

use crate::cli::options::published;

/// Labels by which the agent finds its containers again.
pub(crate) mod label {
    pub(crate) const APP: &str = "cutover.app";
    pub(crate) const SERVICE: &str = "cutover.service";
    pub(crate) const INSTANCE: &str = "cutover.instance";
    pub(crate) const RELEASE: &str = "cutover.release";
    pub(crate) const SPEC: &str = "cutover.spec";
    /// `instance`, `hook` or `verify`.
    pub(crate) const KIND: &str = "cutover.kind";
}

/// The machine's part in a container's options.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) app: &'a str,
    /// The gateway of each network, where the proxy answers for names.
    pub(crate) gateways: &'a BTreeMap<String, IpAddr>,
    /// Where the files of secrets and configs of this container are laid out.
    pub(crate) files: &'a Path,
    pub(crate) id: Id,
    pub(crate) now: Timestamp,
}

/// The container name of an instance.
pub(crate) fn container_name(app: &str, instance: &str) -> String {
    format!("{app}-{instance}")
}

/// Options of the container of `instance`.
pub(crate) fn options(
    place: &Place<'_>,
    instance: &Instance,
    sealed: &SealedService,
) -> Result<RunOptions, String> {
    let service = &sealed.service;
    let mut options = common(place, &instance.id.0, sealed, "instance")?;
    let aliases = names(service);
    options.network = network(service, &aliases);
    options.publish = service
        .ports
        .iter()
        .map(|port| published(port).ok_or_else(|| format!("port `{port}` cannot be published")))
        .collect::<Result<_, _>>()?;
    options.health = health(service.healthcheck.as_ref());
    options.restart = restart(service.restart_policy());
    options.labels.insert(label::RELEASE.to_owned(), instance.release.to_string());
    options.labels.insert(label::SPEC.to_owned(), instance.spec.to_string());
    Ok(options)
}

/// Options of a one-off container named `id` that runs `command` with all that an instance has,
/// but no name on the network, no published port and no health check.
pub(crate) fn one_off(
    place: &Place<'_>,
    id: &str,
    sealed: &SealedService,
    command: &[String],
    hook: Option<&Hook>,
) -> Result<RunOptions, String> {
    let mut options = common(place, id, sealed, "one-off")?;
    options.network = network(&sealed.service, &[]);
    options.health = HealthOptions { disable: true, check: None };
    options.restart = RestartPolicy::No;
    options.entrypoint = Some(command.to_vec());
    options.cmd = Vec::new();
    if let Some(hook) = hook {
        options.env.extend(hook.environment.iter().map(|(key, value)| format!("{key}={value}")));
        options.user = hook.user.clone().or(options.user);
        options.working_dir = hook.working_dir.clone().or(options.working_dir);
        options.security.privileged |= hook.privileged;
    }
    Ok(options)
}

/// What instances and one-off containers of a service share.
fn common(
    place: &Place<'_>,
    id: &str,
    sealed: &SealedService,
    kind: &str,
) -> Result<RunOptions, String> {
    let service = &sealed.service;
    let mut options = RunOptions::new(place.id.clone(), place.now);
    options.name = Some(container_name(place.app, id));
    options.entrypoint = service.entrypoint.clone();
    options.cmd = service.command.clone().unwrap_or_default();
    options.env = service.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
    options.working_dir = service.working_dir.clone();
    options.user = service.user.clone();
    options.hostname = service.hostname.clone();
    options.domainname = service.domainname.clone();
    options.terminal = service.tty;
    options.stdin = service.stdin_open;
    options.init = service.init;
    options.mounts = mounts(service)?;
    options.mounts.extend(file_mounts(sealed).map(|(path, mount)| Mount {
        kind: MountKind::Bind { source: place.files.join(path), create: false },
        target: mount.target.clone(),
        read_only: true,
    }));
    options.shm_size = service.resources.shm_size;
    options.read_only = service.read_only;
    options.resources = resources(service);
    options.security = security(service)?;
    options.extra_hosts = service
        .extra_hosts
        .iter()
        .map(|(host, address)| match address.as_str() {
            "host-gateway" => Ok((host.clone(), None)),
            text => match text.parse() {
                Ok(address) => Ok((host.clone(), Some(address))),
                Err(_) => Err(format!("`{text}` of `extra_hosts` is not an address")),
            },
        })
        .collect::<Result<_, _>>()?;
    options.dns = dns(place, service)?;
    options.stop_signal = service.stop_signal.clone();
    options.stop_timeout = Some(service.stop_grace_period);
    for (key, value) in &service.labels {
        options.labels.insert(key.clone(), value.clone());
    }
    for (key, value) in [
        (label::APP, place.app),
        (label::SERVICE, &service.name),
        (label::INSTANCE, id),
        (label::KIND, kind),
    ] {
        options.labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(options)
}

/// Each secret and config of a service: the file it is laid out in, and how it is shown.
pub(crate) fn file_mounts(
    sealed: &SealedService,
) -> impl Iterator<Item = (PathBuf, &FileMount)> + '_ {
    let secrets = sealed.service.secrets.iter().enumerate();
    let configs = sealed.service.configs.iter().enumerate();
    let secrets = secrets.map(|(index, mount)| (PathBuf::from(format!("secret-{index}")), mount));
    let configs = configs.map(|(index, mount)| (PathBuf::from(format!("config-{index}")), mount));
    secrets.chain(configs)
}

/// Names by which others on its networks find the service.
fn names(service: &Service) -> Vec<String> {
    vec![service.name.clone()]
}

fn network(service: &Service, names: &[String]) -> NetworkMode {
    match service.network_mode {
        service::NetworkMode::Host => NetworkMode::Host,
        service::NetworkMode::None => NetworkMode::None,
        service::NetworkMode::Networks => NetworkMode::Networks(
            service
                .networks
                .values()
                .map(|used| Attachment {
                    network: used.network.name.clone(),
                    aliases: match names.is_empty() {
                        true => Vec::new(),
                        false => names.iter().chain(&used.aliases).cloned().collect(),
                    },
                    ip: used.ipv4_address.filter(|_| !names.is_empty()),
                })
                .collect(),
        ),
    }
}

/// What the file says, else the gateways, where the proxy knows the app's names.
fn dns(place: &Place<'_>, service: &Service) -> Result<Dns, String> {
    let servers = match service.dns.is_empty() {
        true => service
            .networks
            .values()
            .filter_map(|used| place.gateways.get(&used.network.name).copied())
            .take(1)
            .collect(),
        false => service
            .dns
            .iter()
            .map(|text| match text.parse() {
                Ok(address) => Ok(address),
                Err(_) => Err(format!("DNS server `{text}` is not an address")),
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(Dns { servers, search: service.dns_search.clone(), options: service.dns_opt.clone() })
}

fn mounts(service: &Service) -> Result<Vec<Mount>, String> {
    service.volumes.iter().map(mount).collect()
}

fn mount(mount: &service::Mount) -> Result<Mount, String> {
    let kind = match &mount.kind {
        service::MountKind::Bind { source, create, .. } => {
            MountKind::Bind { source: source.into(), create: *create }
        }
        service::MountKind::Volume { volume, no_copy, subpath } => {
            if subpath.is_some() {
                return Err(format!("volume at `{}`: `subpath` is not supported", mount.target));
            }
            MountKind::Volume {
                name: volume.as_ref().map(|volume| volume.name.clone()),
                anonymous: volume.is_none(),
                no_copy: *no_copy,
            }
        }
        service::MountKind::Tmpfs { size, mode } => MountKind::Tmpfs { size: *size, mode: *mode },
    };
    Ok(Mount { kind, target: mount.target.clone(), read_only: mount.read_only })
}

fn resources(service: &Service) -> Resources {
    let wanted = &service.resources;
    #[expect(clippy::cast_precision_loss, reason = "a billionth of a CPU does not matter")]
    let cpus = wanted.nano_cpus.map(|nanos| nanos as f64 / 1e9);
    Resources {
        memory: wanted.memory,
        memory_swap: wanted.memory_swap.and_then(|bytes| u64::try_from(bytes).ok()),
        cpus,
        cpu_shares: wanted.cpu_shares,
        pids: wanted.pids,
        oom_score_adj: service.oom_score_adj,
    }
}

fn security(service: &Service) -> Result<Security, String> {
    let mut security = Security {
        privileged: service.privileged,
        cap_add: service.cap_add.clone(),
        cap_drop: service.cap_drop.clone(),
        no_new_privileges: !service.privileged,
        sysctls: service.sysctls.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        ulimits: service.ulimits.iter().map(|(name, limit)| ulimit(name, *limit)).collect(),
        pid_host: service.pid_host,
        ipc_host: service.ipc_host,
        group_add: service.group_add.clone(),
        ..Security::default()
    };
    for option in &service.security_opt {
        match option.replace(':', "=").as_str() {
            "no-new-privileges" | "no-new-privileges=true" => security.no_new_privileges = true,
            "no-new-privileges=false" => security.no_new_privileges = false,
            "seccomp=unconfined" => security.seccomp = Seccomp::Unconfined,
            _ => return Err(format!("security option `{option}` is not known")),
        }
    }
    for device in &service.devices {
        let mut parts = device.split(':');
        let host = parts.next().unwrap_or_default();
        let container = parts.next().unwrap_or(host);
        security.devices.push(Device {
            source: host.into(),
            target: container.to_owned(),
            permissions: parts.next().unwrap_or("rwm").to_owned(),
        });
    }
    Ok(security)
}

/// -1 is unlimited.
fn ulimit(name: &str, limit: service::Ulimit) -> Ulimit {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    Ulimit { name: name.to_owned(), soft: number(limit.soft), hard: number(limit.hard) }
}

fn health(check: Option<&service::Healthcheck>) -> HealthOptions {
    let Some(check) = check else { return HealthOptions::default() };
    let nanos = |duration: Option<std::time::Duration>| {
        duration.map_or(0, |duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    };
    HealthOptions {
        disable: check.test == Some(HealthcheckTest::None),
        check: Some(Healthcheck {
            test: check.test.as_ref().map(HealthcheckTest::to_oci).unwrap_or_default(),
            interval: nanos(check.interval),
            timeout: nanos(check.timeout),
            start_period: nanos(check.start_period),
            start_interval: nanos(check.start_interval),
            retries: check.retries.map_or(0, u64::from),
        }),
    }
}

fn restart(policy: Restart) -> RestartPolicy {
    match policy {
        Restart::No => RestartPolicy::No,
        Restart::OnFailure { max_retries } => RestartPolicy::OnFailure(max_retries),
        Restart::Always => RestartPolicy::Always,
        Restart::UnlessStopped => RestartPolicy::UnlessStopped,
    }
}
