//! [`Policy`]: how one service is replaced and what its failures mean. Small pure rules.
//!
//! - **Order.** What the file says counts. Where it says nothing: start-first, except where two
//!   copies must not run together, which is when old and new write the same volume that no other
//!   service writes (and there is one copy of each: several copies already share it), or publish
//!   the same fixed host port. Then stop-first, *exclusive*: all old instances stop before the
//!   first new one starts, with requests held in the proxy.
//! - **Hooks.** A `pre_start` hook with `per_replica: false` runs once per deployment, before the
//!   first new instance. As the Compose Specification says, one that already succeeded for an
//!   unchanged service (same instance digest) is not run again: a rollback does not run old
//!   migrations. It does run again when a volume of the service had to be made anew, after
//!   `down`, and when asked to.
//! - **Jobs.** A service that another waits for with `service_completed_successfully` runs to its
//!   end once per instance digest, is never routed, and has no standby.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_core::Digest;
use cutover_core::release::{Release, SealedService, canonical_json};
use cutover_core::service::{Condition, FailureAction, Order, Port, Service, UpdateConfig};
use serde::{Deserialize, Serialize};

use crate::facts::Kind;

/// Too few requests prove nothing about an error rate.
pub const MIN_REQUESTS: u64 = 20;
/// By how much the share of 5xx answers may grow with a new release.
pub const MAX_ERROR_INCREASE: f64 = 0.05;
/// How long a waiting instance gets to prove that it is still alive.
pub const ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Least time for a new instance to become healthy.
pub const MIN_HEALTH_TIMEOUT: Duration = Duration::from_secs(60);

/// How one service is replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub order: Order,
    /// Old and new never run at the same time, not even in a revert.
    pub exclusive: bool,
    pub failure_action: FailureAction,
    /// Instances per group; never 0.
    pub parallelism: usize,
    pub delay: Duration,
    pub monitor: Duration,
    pub max_failure_ratio: f64,
    /// How long requests in flight get when a deployment is undone after the switch.
    pub drain: Duration,
    /// The routed services that cannot answer while this one is away.
    pub hold: Vec<String>,
    /// How many instances are started in all: what a failure ratio is a share of.
    pub total: usize,
}

/// Why two copies of a service cannot run together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    Volume(String),
    Port(String),
}

/// The config that counts for a deployment of this kind.
pub fn config(kind: Kind, service: &Service) -> &UpdateConfig {
    match kind {
        Kind::Rollback => &service.deploy.rollback,
        Kind::Deploy | Kind::Replace | Kind::Repair | Kind::Down => &service.deploy.update,
    }
}

/// What keeps an old and a new copy of service `name` from running together.
pub fn conflict(name: &str, old: &Release, new: &Release) -> Option<Conflict> {
    let (before, after) = (&old.services.get(name)?.service, &new.services.get(name)?.service);
    let port = after.fixed_ports().find(|new| before.fixed_ports().any(|old| clash(old, new)));
    if let Some(range) = port.and_then(|port| port.published) {
        return Some(Conflict::Port(range.to_string()));
    }
    let single = before.deploy.replicas <= 1 && after.deploy.replicas <= 1;
    let mine = owned_volumes(name, old);
    owned_volumes(name, new)
        .into_iter()
        .find(|volume| single && mine.contains(volume))
        .map(|volume| Conflict::Volume(volume.to_owned()))
}

/// Both cannot be published at once.
fn clash(one: &Port, other: &Port) -> bool {
    let any = |port: &Port| port.host_ip.is_none_or(|ip| ip.is_unspecified());
    one.published == other.published
        && one.protocol == other.protocol
        && (one.host_ip == other.host_ip || any(one) || any(other))
}

/// Volumes that `name` alone writes in this release.
fn owned_volumes<'a>(name: &str, release: &'a Release) -> BTreeSet<&'a str> {
    let names = |sealed: &'a SealedService| {
        sealed.service.owned_volumes().map(|volume| volume.name.as_str())
    };
    let others: BTreeSet<&str> = release
        .services
        .iter()
        .filter(|(other, _)| *other != name)
        .flat_map(|(_, sealed)| names(sealed))
        .collect();
    let mine = release.services.get(name).into_iter().flat_map(names);
    mine.filter(|volume| !others.contains(volume)).collect()
}

/// Whether the proxy sends requests to this service.
pub fn is_routed(service: &Service) -> bool {
    !service.cutover.routes.is_empty()
}

/// Whether `name` runs to its end instead of serving.
pub fn is_job(name: &str, release: &Release) -> bool {
    release.services.values().any(|sealed| {
        let condition = sealed.service.depends_on.get(name);
        condition == Some(&Condition::ServiceCompletedSuccessfully)
    })
}

/// The services of `release` that `name` needs, directly and through others.
pub fn needs<'a>(name: &'a str, release: &'a Release) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut todo = vec![name];
    while let Some(next) = todo.pop() {
        let Some(sealed) = release.services.get(next) else { continue };
        for dependency in sealed.service.depends_on.keys() {
            if dependency != name && found.insert(dependency.as_str()) {
                todo.push(dependency);
            }
        }
    }
    found
}

/// What marks hook `index` of this service as done, once per deployment and state of the service.
pub fn hook_key(sealed: &SealedService, index: usize) -> Digest {
    let parts = ("pre_start", &sealed.service.name, index, sealed.instance_digest());
    Digest::sha256(&canonical_json(&parts))
}

/// What marks this job as done.
pub fn job_key(sealed: &SealedService) -> Digest {
    let parts = ("job", &sealed.service.name, sealed.instance_digest());
    Digest::sha256(&canonical_json(&parts))
}

/// How long a new instance may take to become healthy: long enough for its own healthcheck to
/// call it unhealthy, so that the reason shown is the check's and not a timeout.
pub fn health_timeout(service: &Service) -> Duration {
    let Some(check) = &service.healthcheck else { return MIN_HEALTH_TIMEOUT };
    let docker = Duration::from_secs(30);
    let once = check.interval.unwrap_or(docker).saturating_add(check.timeout.unwrap_or(docker));
    let checks = once.saturating_mul(check.retries.unwrap_or(3).max(1));
    let margin = Duration::from_secs(10);
    let start = check.start_period.unwrap_or_default();
    start.saturating_add(checks).saturating_add(margin).max(MIN_HEALTH_TIMEOUT)
}
