//! [`merge`]: image config + options → [`ContainerConfig`], by docker's rules. Pure.
//!
//! The rules are those of moby's `runconfig` merge and of its OCI spec builder: an entrypoint
//! given by the user drops the image's command, the environment begins with `PATH` and `HOSTNAME`,
//! a volume of the image becomes an anonymous volume unless something is mounted there, a health
//! check is inherited field by field. `SHELL` does not matter at run time.

mod env;
mod health;
mod mounts;
mod options;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::container::{
    self, CONFIG_VERSION, ContainerConfig, ImageName, NetworkMode, ParseIdError, ParseSignalError,
    Port, Protocol, RestartPolicy,
};

pub use env::DEFAULT_PATH;
pub(crate) use env::override_env;
pub use options::{HealthOptions, ImageSource, RunOptions};

/// Why an image and options do not make a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error(
        "image `{0}` has no command and none was given: name one after the image, or set CMD in its Dockerfile"
    )]
    NoCommand(String),
    #[error("working directory `{0}` is not an absolute path")]
    WorkingDir(String),
    #[error("mount target `{0}` is not an absolute path below `/`")]
    MountTarget(String),
    #[error("two mounts at `{0}`: give each target once")]
    DuplicateTarget(String),
    #[error(
        "a container that is removed when it exits (`--rm`) cannot have restart policy `{0}`: drop one of them"
    )]
    RemoveAndRestart(&'static str),
    #[error("environment line `{0}` has no name before `=`")]
    EnvName(String),
    #[error("health check `{0}`: the first word must be `NONE`, `CMD` or `CMD-SHELL`")]
    HealthTest(String),
    #[error("health check `{0}` names no command")]
    HealthCommand(String),
    #[error(
        "published ports need a network of their own: drop the ports, or do not use the network `{0}`"
    )]
    PortsWithoutNetwork(String),
    #[error(transparent)]
    Name(#[from] ParseIdError),
    #[error(transparent)]
    StopSignal(#[from] ParseSignalError),
}

const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Merges by docker's rules; every choice that needs no look at the machine is made here.
pub fn merge(image: &ImageSource<'_>, options: RunOptions) -> Result<ContainerConfig, MergeError> {
    let name = options.name.clone().unwrap_or_else(|| container::name_for(&options.id));
    container::check_name(&name)?;
    check_restart(&options)?;
    let (entrypoint, cmd) = command(image, &options)?;
    let hostname = match (&options.hostname, &options.network) {
        (None, NetworkMode::Host) => None,
        (given, _) => given.clone().or_else(|| Some(options.id.short().to_owned())),
    };
    let env = env::environment(&image.config.env, &options, hostname.as_deref())?;
    let stop_signal = match options.stop_signal.as_ref().or(image.config.stop_signal.as_ref()) {
        Some(text) => container::parse_signal(text)?,
        None => 15,
    };
    let mut labels = image.config.labels.clone();
    labels.extend(options.labels.clone());
    let exposed: Vec<String> = image.config.exposed_ports.keys().cloned().collect();
    let ports = published(&options, &exposed)?;
    Ok(ContainerConfig {
        version: CONFIG_VERSION,
        name,
        created_at: options.created_at,
        image: ImageName { name: image.name.clone(), digest: image.digest.clone() },
        lowers: image.lowers.clone(),
        entrypoint,
        cmd,
        env,
        working_dir: working_dir(image, &options)?,
        user: options.user.unwrap_or_else(|| image.config.user.clone()),
        hostname,
        domainname: options.domainname,
        terminal: options.terminal,
        stdin: options.stdin,
        mounts: mounts::mounts(&options.mounts, image.config.volumes.keys())?,
        shm_size: options.shm_size,
        read_only: options.read_only,
        resources: options.resources,
        security: options.security,
        network: options.network,
        ports,
        extra_hosts: options.extra_hosts,
        dns: options.dns,
        restart: options.restart,
        healthcheck: health::healthcheck(image.config.healthcheck.as_ref(), &options.health)?,
        shell: image.config.shell.clone().unwrap_or_default(),
        stop_signal,
        stop_timeout: options.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
        log: options.log,
        auto_remove: options.auto_remove,
        init: options.init,
        labels,
        exposed,
        id: options.id,
    })
}

/// An entrypoint of the user's own drops the image's command: its arguments would make no sense.
fn command(
    image: &ImageSource<'_>,
    options: &RunOptions,
) -> Result<(Vec<String>, Vec<String>), MergeError> {
    let (entrypoint, cmd) = match &options.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), options.cmd.clone()),
        None => {
            let entrypoint = image.config.entrypoint.clone().unwrap_or_default();
            let cmd = match options.cmd.is_empty() {
                true => image.config.cmd.clone().unwrap_or_default(),
                false => options.cmd.clone(),
            };
            (entrypoint, cmd)
        }
    };
    match entrypoint.is_empty() && cmd.is_empty() {
        true => Err(MergeError::NoCommand(image.name.clone())),
        false => Ok((entrypoint, cmd)),
    }
}

fn working_dir(image: &ImageSource<'_>, options: &RunOptions) -> Result<String, MergeError> {
    let given = options.working_dir.as_ref().filter(|dir| !dir.is_empty());
    let dir = match given {
        Some(dir) => dir.clone(),
        // Images made by other tools do have relative ones; docker reads them from the root.
        None => format!("/{}", image.config.working_dir.trim_start_matches('/')),
    };
    mounts::clean(&dir).ok_or(MergeError::WorkingDir(dir))
}

fn check_restart(options: &RunOptions) -> Result<(), MergeError> {
    let policy = match options.restart {
        RestartPolicy::No => return Ok(()),
        RestartPolicy::OnFailure(_) => "on-failure",
        RestartPolicy::Always => "always",
        RestartPolicy::UnlessStopped => "unless-stopped",
    };
    match options.auto_remove {
        true => Err(MergeError::RemoveAndRestart(policy)),
        false => Ok(()),
    }
}

fn published(options: &RunOptions, exposed: &[String]) -> Result<Vec<Port>, MergeError> {
    let mut ports = options.publish.clone();
    if options.publish_all {
        let taken = |port: &Port, ports: &[Port]| {
            ports.iter().any(|other| {
                other.container_port == port.container_port && other.protocol == port.protocol
            })
        };
        for port in exposed.iter().filter_map(|text| exposed_port(text)) {
            if !taken(&port, &ports) {
                ports.push(port);
            }
        }
    }
    let refused = match &options.network {
        _ if ports.is_empty() => None,
        NetworkMode::Container(id) => Some(format!("container:{id}")),
        // As docker: publishing on the host's own network says nothing new and is let pass.
        NetworkMode::Host | NetworkMode::None | NetworkMode::Networks(_) => None,
    };
    match refused {
        Some(network) => Err(MergeError::PortsWithoutNetwork(network)),
        None => Ok(ports),
    }
}

/// `80/tcp` → a port on any free host port. What is not a port is left out: it is only a label.
fn exposed_port(text: &str) -> Option<Port> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some(Port { host_ip: None, host_port: 0, container_port: port.parse().ok()?, protocol })
}
