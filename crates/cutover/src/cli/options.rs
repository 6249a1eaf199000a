//! [`ContainerOptions`]: docker's container flags, and what they mean as checked values.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use cutover_core::compose::interpolate::Lookup;
use cutover_core::oci::Healthcheck;
use cutover_core::units::{self, Dialect};
use cutover_runtime::container::{
    Attachment, Dns, LogConfig, Mount, MountKind, NetworkMode, Port, Protocol, Resources,
    RestartPolicy, Seccomp, Security, Ulimit,
};
use cutover_runtime::merge::{HealthOptions, RunOptions};
use fs_err as fs;

use crate::failure::{Context, Failure, Kind, Outcome};

/// What a container may be given; the same for every command that makes one.
#[derive(Debug, Args)]
pub(super) struct ContainerOptions {
    /// Name of the container
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Set an environment variable; `KEY` alone takes it from the caller's environment
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Publish a port: `[[HOST_IP:]HOST_PORT:]PORT[/tcp|udp]`
    #[arg(short, long, value_name = "PORTS")]
    pub(super) publish: Vec<String>,
    /// Mount a volume or directory: `NAME:PATH[:ro]`, `/HOST/PATH:PATH[:ro]`
    #[arg(short, long, value_name = "SPEC")]
    pub(super) volume: Vec<String>,
    /// Mount a tmpfs: `PATH[:size=64m,mode=1777]`
    #[arg(long, value_name = "SPEC")]
    pub(super) tmpfs: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// User: `name|uid[:group|gid]`
    #[arg(short, long)]
    pub(super) user: Option<String>,
    /// Overwrite the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub(super) entrypoint: Option<String>,
    /// Host name inside the container
    #[arg(long)]
    pub(super) hostname: Option<String>,
    /// Label the container
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) label: Vec<String>,
    /// Mount the image's files read-only
    #[arg(long)]
    pub(super) read_only: bool,
    /// Memory limit, e.g. `512m`
    #[arg(short, long, value_name = "BYTES")]
    pub(super) memory: Option<String>,
    /// Number of CPUs, e.g. `1.5`
    #[arg(long, value_name = "NUMBER")]
    pub(super) cpus: Option<f64>,
    /// Limit on processes and threads; 0 or -1 for none
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(super) pids_limit: Option<i64>,
    /// Network: `bridge`, `none`, `host`, or a network's name
    #[arg(long, alias = "net", value_name = "NETWORK", default_value = "bridge")]
    pub(super) network: String,
    /// Another name for the container on its network
    #[arg(long, value_name = "NAME")]
    pub(super) network_alias: Vec<String>,
    /// Add a line to /etc/hosts: `HOST:IP`; `host-gateway` is this machine
    #[arg(long, value_name = "HOST:IP")]
    pub(super) add_host: Vec<String>,
    /// DNS servers of the container
    #[arg(long, value_name = "IP")]
    pub(super) dns: Vec<String>,
    /// Restart policy: `no`, `on-failure[:N]`, `always`, `unless-stopped`
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub(super) restart: String,
    /// Run a reaper of zombies as process 1
    #[arg(long)]
    pub(super) init: bool,
    /// Add a capability, e.g. `NET_ADMIN`
    #[arg(long, value_name = "CAP")]
    pub(super) cap_add: Vec<String>,
    /// Drop a capability; `ALL` drops every one
    #[arg(long, value_name = "CAP")]
    pub(super) cap_drop: Vec<String>,
    /// Give the container (nearly) all the rights of the host
    #[arg(long)]
    pub(super) privileged: bool,
    /// Security options: `no-new-privileges[=false]`, `seccomp=unconfined`
    #[arg(long, value_name = "OPTION")]
    pub(super) security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub(super) shm_size: Option<String>,
    /// Resource limit: `nofile=1024:2048`
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(super) ulimit: Vec<String>,
    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    pub(super) stop_signal: Option<String>,
    /// Seconds between the stop signal and SIGKILL
    #[arg(long, value_name = "SECONDS")]
    pub(super) stop_timeout: Option<u64>,
    /// Command to run to check health (in a shell)
    #[arg(long, value_name = "COMMAND")]
    pub(super) health_cmd: Option<String>,
    /// Time between two checks, e.g. `30s`
    #[arg(long, value_name = "DURATION")]
    pub(super) health_interval: Option<String>,
    /// Time that one check may take
    #[arg(long, value_name = "DURATION")]
    pub(super) health_timeout: Option<String>,
    /// Failures in a row that make the container unhealthy
    #[arg(long, value_name = "NUMBER")]
    pub(super) health_retries: Option<u32>,
    /// Time in which failures do not count
    #[arg(long, value_name = "DURATION")]
    pub(super) health_start_period: Option<String>,
    /// Time between two checks during the start period
    #[arg(long, value_name = "DURATION")]
    pub(super) health_start_interval: Option<String>,
    /// Ignore the image's HEALTHCHECK
    #[arg(long)]
    pub(super) no_healthcheck: bool,
    /// Log options: `max-size=10m`, `max-file=3`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) log_opt: Vec<String>,
}

/// What flags may refer to outside of themselves.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The caller's environment.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Where relative paths start.
    pub(super) cwd: &'a Path,
}

impl Lookup for Surroundings<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }
}

impl ContainerOptions {
    /// Fills `into` with what the flags say.
    pub(super) fn apply(self, into: &mut RunOptions, around: Surroundings<'_>) -> Outcome {
        into.env = self.environment(around)?;
        into.health = self.health()?;
        into.resources = self.resources()?;
        into.security = self.security()?;
        into.network = network(&self.network, self.network_alias)?;
        into.restart = restart(&self.restart)?;
        into.log = log(&self.log_opt)?;
        into.publish = publish(&self.publish)?;
        into.mounts = mounts(&self.volume, &self.tmpfs, around.cwd)?;
        into.extra_hosts = extra_hosts(&self.add_host)?;
        into.dns = dns(&self.dns)?;
        into.shm_size =
            self.shm_size.as_deref().map(units::parse_size).transpose().kind(Kind::Usage)?;
        into.name = self.name;
        into.working_dir = self.workdir;
        into.user = self.user;
        into.entrypoint = self.entrypoint.map(|word| match word.is_empty() {
            true => Vec::new(),
            false => vec![word],
        });
        into.hostname = self.hostname;
        into.read_only = self.read_only;
        into.init = self.init;
        into.stop_signal = self.stop_signal;
        into.stop_timeout = self.stop_timeout.map(Duration::from_secs);
        for label in self.label {
            let (key, value) = label.split_once('=').unwrap_or((&label, ""));
            into.labels.insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// Files first, then flags: a later line wins. A key without a value that the caller does not
    /// have is left out, as docker does.
    fn environment(&self, around: Surroundings<'_>) -> Outcome<Vec<String>> {
        let mut lines = Vec::new();
        for path in &self.env_file {
            let text = fs::read_to_string(path).or_fail(Kind::Config, "read the env file")?;
            let pairs = units::parse_env_file(&text, Dialect::Docker, &around)
                .or_fail(Kind::Config, format!("read the env file `{}`", path.display()))?;
            lines.extend(pairs.into_iter().map(|(key, value)| format!("{key}={value}")));
        }
        for line in &self.env {
            match line.contains('=') {
                true => lines.push(line.clone()),
                false => lines.extend((around.env)(line).map(|value| format!("{line}={value}"))),
            }
        }
        Ok(lines)
    }

    fn health(&self) -> Outcome<HealthOptions> {
        let nanos = |text: &Option<String>| -> Outcome<u64> {
            let Some(text) = text else { return Ok(0) };
            let duration = units::parse_duration(text).kind(Kind::Usage)?;
            Ok(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
        };
        let check = Healthcheck {
            test: match &self.health_cmd {
                Some(command) => vec!["CMD-SHELL".to_owned(), command.clone()],
                None => Vec::new(),
            },
            interval: nanos(&self.health_interval)?,
            timeout: nanos(&self.health_timeout)?,
            start_period: nanos(&self.health_start_period)?,
            start_interval: nanos(&self.health_start_interval)?,
            retries: self.health_retries.map_or(0, u64::from),
        };
        if self.no_healthcheck && check != Healthcheck::default() {
            return Err(usage("`--no-healthcheck` cannot be given with other `--health-*` flags"));
        }
        let given = check != Healthcheck::default();
        Ok(HealthOptions { disable: self.no_healthcheck, check: given.then_some(check) })
    }

    fn resources(&self) -> Outcome<Resources> {
        if self.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus <= 0.0) {
            return Err(usage("`--cpus` must be a number above 0, e.g. `1.5`"));
        }
        let memory = self.memory.as_deref().map(units::parse_size).transpose().kind(Kind::Usage)?;
        // docker's floor: a container cannot start with less
        if memory.is_some_and(|bytes| bytes < 6 << 20) {
            return Err(usage("`--memory` must be at least 6m"));
        }
        Ok(Resources { memory, cpus: self.cpus, pids: self.pids_limit, ..Resources::default() })
    }

    fn security(&self) -> Outcome<Security> {
        let mut security = Security {
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            // Unlike docker's default: nothing in an image may gain rights it was not given.
            no_new_privileges: !self.privileged,
            ..Security::default()
        };
        for option in &self.security_opt {
            match option.as_str() {
                "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true" => {
                    security.no_new_privileges = true;
                }
                "no-new-privileges=false" | "no-new-privileges:false" => {
                    security.no_new_privileges = false;
                }
                "seccomp=unconfined" | "seccomp:unconfined" => {
                    security.seccomp = Seccomp::Unconfined;
                }
                other => {
                    return Err(usage(format!("security option `{other}` is not known"))
                        .hint("known are `no-new-privileges[=false]` and `seccomp=unconfined`"));
                }
            }
        }
        for limit in &self.ulimit {
            security.ulimits.push(ulimit(limit)?);
        }
        Ok(security)
    }
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::msg(Kind::Usage, text)
}

fn network(name: &str, aliases: Vec<String>) -> Outcome<NetworkMode> {
    let mode = match name {
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        "default" => return network("bridge", aliases),
        _ => match name.strip_prefix("container:") {
            Some(id) => NetworkMode::Container(id.to_owned()),
            None => {
                let attachment = Attachment { network: name.to_owned(), aliases, ip: None };
                return Ok(NetworkMode::Networks(vec![attachment]));
            }
        },
    };
    match aliases.is_empty() {
        true => Ok(mode),
        false => Err(usage(format!("`--network-alias` means nothing with `--network {name}`"))),
    }
}

pub(super) fn restart(text: &str) -> Outcome<RestartPolicy> {
    let bad = || {
        usage(format!("restart policy `{text}` is not known"))
            .hint("known are `no`, `on-failure[:N]`, `always` and `unless-stopped`")
    };
    match text.split_once(':') {
        Some(("on-failure", count)) => {
            Ok(RestartPolicy::OnFailure(Some(count.parse().map_err(|_not_a_number| bad())?)))
        }
        Some(_) => Err(bad()),
        None => match text {
            "no" | "" => Ok(RestartPolicy::No),
            "on-failure" => Ok(RestartPolicy::OnFailure(None)),
            "always" => Ok(RestartPolicy::Always),
            "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
            _ => Err(bad()),
        },
    }
}

fn log(options: &[String]) -> Outcome<LogConfig> {
    let mut log = LogConfig::default();
    for option in options {
        match option.split_once('=') {
            Some(("max-size", size)) => log.size = units::parse_size(size).kind(Kind::Usage)?,
            Some(("max-file", files)) => match files.parse() {
                Ok(files @ 1..) => log.files = files,
                _ => return Err(usage(format!("`max-file={files}` is not a number above 0"))),
            },
            _ => {
                return Err(usage(format!("log option `{option}` is not known"))
                    .hint("known are `max-size=SIZE` and `max-file=NUMBER`"));
            }
        }
    }
    Ok(log)
}

fn publish(specs: &[String]) -> Outcome<Vec<Port>> {
    let mut ports = Vec::new();
    for spec in specs {
        for port in units::parse_ports(spec).kind(Kind::Usage)? {
            ports
                .push(published(&port).ok_or_else(|| {
                    usage(format!("`{spec}`: only tcp and udp can be published"))
                })?);
        }
    }
    Ok(ports)
}

/// The runtime's form of a published port; `None` for what it cannot publish.
pub(crate) fn published(port: &cutover_core::service::Port) -> Option<Port> {
    use cutover_core::service::Protocol as Wanted;
    let protocol = match port.protocol {
        Wanted::Tcp => Protocol::Tcp,
        Wanted::Udp => Protocol::Udp,
        Wanted::Sctp => return None,
    };
    Some(Port {
        host_ip: port.host_ip,
        host_port: port.published.map_or(0, |range| range.first),
        container_port: port.target,
        protocol,
    })
}

fn mounts(volumes: &[String], tmpfs: &[String], cwd: &Path) -> Outcome<Vec<Mount>> {
    let mut mounts = Vec::new();
    for text in volumes {
        let spec = units::parse_volume(text).kind(Kind::Usage)?;
        let kind = match (&spec.source, spec.is_bind()) {
            (Some(source), true) => {
                MountKind::Bind { source: clean(&cwd.join(source)), create: true }
            }
            (name, _) => MountKind::Volume {
                name: name.clone(),
                anonymous: name.is_none(),
                no_copy: spec.no_copy,
            },
        };
        mounts.push(Mount { kind, target: spec.target, read_only: spec.read_only });
    }
    for text in tmpfs {
        mounts.push(tmpfs_mount(text)?);
    }
    Ok(mounts)
}

/// `.` and `..` resolved by text, as docker's client does.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(out.pop()),
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// `PATH[:size=64m,mode=1777]`.
pub(crate) fn tmpfs_mount(text: &str) -> Outcome<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode) = (None, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(units::parse_size(value).kind(Kind::Usage)?),
            Some(("mode", value)) => match u32::from_str_radix(value, 8) {
                Ok(bits @ 0..=0o7777) => mode = Some(bits),
                _ => return Err(usage(format!("tmpfs mode `{value}` is not octal, e.g. `1777`"))),
            },
            // what every tmpfs of a container is anyway
            None if matches!(option, "rw" | "noexec" | "nosuid" | "nodev") => {}
            _ => {
                return Err(usage(format!("tmpfs option `{option}` is not known"))
                    .hint("known are `size=BYTES` and `mode=OCTAL`"));
            }
        }
    }
    Ok(Mount { kind: MountKind::Tmpfs { size, mode }, target: target.to_owned(), read_only: false })
}

/// `HOST:IP`, or `HOST=IP` for IPv6; `host-gateway` is left open for the network to fill in.
pub(crate) fn extra_hosts(lines: &[String]) -> Outcome<Vec<(String, Option<IpAddr>)>> {
    let mut hosts = Vec::new();
    for line in lines {
        let bad = || usage(format!("`{line}` is not `HOST:IP`"));
        let (host, address) =
            line.split_once('=').or_else(|| line.split_once(':')).ok_or_else(bad)?;
        let address = match address {
            "host-gateway" => None,
            text => Some(text.parse().map_err(|_not_an_address| bad())?),
        };
        hosts.push((host.to_owned(), address));
    }
    Ok(hosts)
}

fn dns(servers: &[String]) -> Outcome<Dns> {
    let mut dns = Dns::default();
    for server in servers {
        let parsed = server.parse();
        dns.servers.push(parsed.map_err(|_not_an_address| {
            usage(format!("DNS server `{server}` is not an IP address"))
        })?);
    }
    Ok(dns)
}

/// `nofile=1024:2048`.
pub(super) fn ulimit(text: &str) -> Outcome<Ulimit> {
    let bad = || usage(format!("ulimit `{text}` is not `NAME=SOFT[:HARD]`"));
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        text => text.parse().map_err(|_not_a_number| bad()),
    };
    Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

#[cfg(test)]
mod tests;
