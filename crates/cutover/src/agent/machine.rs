//! [`Machine`]: the parts of one machine that a deployment needs, and small questions to them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use cutover_core::release::SealedService;
use cutover_core::service::{FileMount, Network as Wanted};
use cutover_proxy::control::Client;
use cutover_release::facts::{Health, InstanceFact, Observed, State};
use cutover_release::{Instance, InstanceId, StepError};
use cutover_runtime::container::{Container, Containers, Error, HealthStatus, Status, Summary};
use cutover_runtime::logs::LogOptions;
use cutover_runtime::net::{Network, NetworkConfig, Networks};
use cutover_store::Store;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::instance::{container_name, file_mounts, label};
use super::routes;
use crate::failure::Outcome;
use crate::paths::Paths;
use crate::secrets::Secrets;
use crate::wiring;

/// Log lines that a failure shows.
const EVIDENCE_LINES: usize = 10;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) paths: Paths,
    pub(crate) store: Store,
    pub(crate) containers: Containers,
    pub(crate) networks: Networks,
    pub(crate) secrets: Secrets,
}

pub(crate) type Step<T = ()> = Result<T, StepError>;

/// A step's error from any error, with its causes in one line.
pub(crate) fn failed(error: impl Into<anyhow::Error>) -> StepError {
    let error: anyhow::Error = error.into();
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !parts.last().is_some_and(|last| last.ends_with(&cause)) {
            parts.push(cause);
        }
    }
    StepError::new(parts.join(": "))
}

impl Machine {
    pub(crate) fn open(paths: &Paths) -> Outcome<Self> {
        Ok(Self {
            paths: paths.clone(),
            store: wiring::store(paths)?,
            containers: wiring::containers(paths)?,
            networks: wiring::networks(paths)?,
            secrets: Secrets::open(&paths.secrets())?,
        })
    }

    pub(crate) fn proxy(&self) -> Step<Client> {
        Client::connect(&self.paths.proxy_socket()).map_err(failed)
    }

    /// The container of an instance or one-off, if there is one.
    pub(crate) fn container(&self, app: &str, id: &InstanceId) -> Step<Option<Container>> {
        let name = container_name(app, &id.0);
        match self.containers.get(&name) {
            Ok(container) => Ok(Some(container)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The address on its first network, where the proxy reaches it.
    pub(crate) fn address(&self, app: &str, id: &InstanceId) -> Step<Option<Ipv4Addr>> {
        let Some(container) = self.container(app, id)? else { return Ok(None) };
        Ok(container.state().map_err(failed)?.ip())
    }

    /// Where the proxy sends requests for `instance`.
    pub(crate) fn target(
        &self,
        app: &str,
        instance: &Instance,
        sealed: &SealedService,
    ) -> Step<SocketAddr> {
        let port = sealed.service.cutover.port.ok_or_else(|| {
            StepError::new(format!("service `{}` has routes and no port", instance.service))
        })?;
        let ip = match self.address(app, &instance.id)? {
            Some(ip) => ip,
            // on the host's own network
            None if sealed.service.networks.is_empty() => Ipv4Addr::LOCALHOST,
            None => {
                return Err(StepError::new(format!("instance `{}` has no address", instance.id)));
            }
        };
        Ok(SocketAddr::from((ip, port)))
    }

    /// What the containers of `app` are doing, and what the last switch named.
    pub(crate) fn observed(&self, app: &str) -> Step<Observed> {
        let instances = instances(app, &self.containers.list().map_err(failed)?);
        let mut routes = routes::load(&self.paths.root, app).map_err(failed)?;
        // The proxy may have acknowledged a switch that the agent did not live to write down.
        if let Ok(listing) = self.proxy().and_then(|mut proxy| proxy.list().map_err(failed)) {
            let prefix = format!("{app}/");
            let own = listing.services.iter().filter(|spec| spec.service.starts_with(&prefix));
            let newest = own.map(|spec| spec.generation).max().unwrap_or(0);
            routes.generation = routes.generation.max(newest);
        }
        let volumes = self.containers.volumes().list().map_err(failed)?;
        let own = volumes
            .into_iter()
            .filter(|volume| volume.labels.get(label::APP).is_some_and(|owner| owner == app));
        let volumes = own.map(|volume| volume.name).collect();
        let networks = self.networks.list().map_err(failed)?;
        let networks = networks.into_iter().map(|network| network.name).collect();
        let memory_available = memory_available();
        Ok(Observed { instances, routes, volumes, networks, memory_available })
    }

    /// The last lines that a container wrote.
    pub(crate) fn log_tail(&self, container: &Container) -> Vec<String> {
        let mut lines = Vec::new();
        let options = LogOptions { tail: Some(EVIDENCE_LINES), ..LogOptions::default() };
        // evidence is best effort: the failure itself must be told even when the log is gone
        drop(container.logs(&options, &mut |entry| {
            lines.push(format!("log: {}", entry.text.trim_end()));
            Ok(())
        }));
        lines
    }

    /// The network of this name, if there is one.
    pub(crate) fn network(&self, name: &str) -> Step<Option<Network>> {
        let all = self.networks.list().map_err(failed)?;
        Ok(all.into_iter().find(|network| network.name == name))
    }

    /// Has the network, as the release describes it.
    pub(crate) fn ensure_network(&self, wanted: &Wanted) -> Step<Network> {
        if wanted.external {
            let found = self.network(&wanted.name)?;
            return found.ok_or_else(|| {
                StepError::new(format!("external network `{}` does not exist", wanted.name))
            });
        }
        let subnet = match &wanted.subnet {
            None => None,
            Some(text) => Some(text.parse().map_err(failed)?),
        };
        let config = NetworkConfig {
            name: wanted.name.clone(),
            subnet,
            internal: wanted.internal,
            ..NetworkConfig::default()
        };
        self.networks.ensure(&config).map_err(failed)
    }

    /// The gateway of each network of a service.
    pub(crate) fn gateways(&self, sealed: &SealedService) -> Step<BTreeMap<String, IpAddr>> {
        let mut gateways = BTreeMap::new();
        for used in sealed.service.networks.values() {
            let network = self.ensure_network(&used.network)?;
            gateways.insert(network.name, IpAddr::V4(network.gateway));
        }
        Ok(gateways)
    }

    /// Where the secrets and configs of a container are laid out.
    pub(crate) fn files_dir(&self, app: &str, id: &str) -> PathBuf {
        self.paths.run.join("secrets").join(container_name(app, id))
    }

    /// Lays out the secrets and configs of a container, with the owner and mode asked for. The
    /// directory is closed to all but root; the container sees the files alone.
    pub(crate) fn lay_out_files(&self, app: &str, id: &str, sealed: &SealedService) -> Step {
        use std::os::unix::fs::DirBuilderExt;
        if file_mounts(sealed).next().is_none() {
            return Ok(());
        }
        let dir = self.files_dir(app, id);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|error| {
            failed(anyhow::Error::new(error).context(format!("make `{}`", dir.display())))
        })?;
        for (path, mount) in file_mounts(sealed) {
            let versions = sealed.secret_versions.get(&mount.source);
            let version = versions.or_else(|| sealed.config_versions.get(&mount.source));
            let version = version.ok_or_else(|| {
                StepError::new(format!("the release has no version of `{}`", mount.source))
            })?;
            let contents = self.secrets.read(version).map_err(|error| {
                failed(anyhow::Error::new(error).context(format!(
                    "the contents of `{}` that the release names are gone",
                    mount.source
                )))
            })?;
            write_file(&dir.join(path), &contents, mount).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn remove_files(&self, app: &str, id: &str) {
        // nothing to remove when the service has no secrets
        drop(fs::remove_dir_all(self.files_dir(app, id)));
    }
}

fn write_file(path: &std::path::Path, contents: &[u8], mount: &FileMount) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    std::os::unix::fs::fchown(file.file(), Some(mount.uid), Some(mount.gid))?;
    file.set_permissions(PermissionsExt::from_mode(mount.mode & 0o777))
}

/// The instances of `app` among these containers, as the release engine sees them.
pub(crate) fn instances(app: &str, all: &[Summary]) -> Vec<InstanceFact> {
    all.iter().filter_map(|summary| fact(app, summary)).collect()
}

/// An instance of `app` as the release engine sees it; `None` for other containers.
fn fact(app: &str, summary: &Summary) -> Option<InstanceFact> {
    let labels = &summary.config.labels;
    if labels.get(label::APP)? != app || labels.get(label::KIND)? != "instance" {
        return None;
    }
    let instance = Instance {
        id: InstanceId(labels.get(label::INSTANCE)?.clone()),
        service: labels.get(label::SERVICE)?.clone(),
        release: labels.get(label::RELEASE)?.parse().ok()?,
        spec: labels.get(label::SPEC)?.parse().ok()?,
    };
    Some(InstanceFact {
        instance,
        state: state(&summary.state),
        health: health(&summary.state),
        tainted: false,
    })
}

/// The runtime's words in the release engine's.
pub(crate) fn state(state: &cutover_runtime::container::State) -> State {
    match state.status {
        Status::Running => State::Running,
        Status::Paused => State::Frozen,
        Status::Created => State::Stopped,
        Status::Exited if state.stopped_by_user => State::Stopped,
        Status::Exited if state.exit_code() == 0 => State::Completed,
        Status::Exited | Status::Restarting | Status::Dead => State::Dead,
    }
}

pub(crate) fn health(state: &cutover_runtime::container::State) -> Health {
    match state.health.as_ref().map(|health| health.status) {
        Some(HealthStatus::Healthy) => Health::Healthy,
        Some(HealthStatus::Unhealthy) => Health::Unhealthy,
        Some(HealthStatus::Starting) | None => Health::Unknown,
    }
}

/// `MemAvailable`, in bytes.
fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
