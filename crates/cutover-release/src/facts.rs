//! What is asked ([`Wanted`]) and what is observed ([`Facts`]): everything a plan depends on.
//!
//! Facts are plain data gathered before planning and may be stale by the time a step acts; every
//! action is therefore idempotent and says what it needs when it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cutover_core::Digest;
use cutover_core::release::Release;
use serde::{Deserialize, Serialize};

/// The kept releases of one app by number.
pub type Releases = BTreeMap<u64, Release>;

/// Why a deployment is made; decides which of the two update configs counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// To a release that was just sealed, or to an older one by `deploy`.
    Deploy,
    /// To an earlier release; `rollback_config` counts and hooks that already ran are not asked.
    Rollback,
    /// The same release with fresh instances: a tainted one is thrown away.
    Replace,
    /// The same release; instances that died are started again, nothing else is touched.
    Repair,
    /// To nothing: routes, instances and names go; volumes and the ledger stay.
    Down,
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub app: String,
    pub kind: Kind,
    /// The release to move to; `None` for [`Kind::Down`], and the serving one for
    /// [`Kind::Replace`] and [`Kind::Repair`] when not given.
    pub release: Option<Release>,
    /// The number this deployment will have in the ledger ([`ledger::Ledger::next_deployment`]).
    /// Names of new instances are made from it, so it is never used twice.
    ///
    /// [`ledger::Ledger::next_deployment`]: crate::Ledger::next_deployment
    pub deployment: u64,
    /// [`Kind::Replace`]: only these services; empty means all.
    pub services: BTreeSet<String>,
    /// Run `pre_start` hooks again that already succeeded unchanged.
    pub rerun_hooks: bool,
    /// How many releases stay in the ledger besides those in use.
    pub keep_releases: usize,
}

/// The name of one instance: `SERVICE-DEPLOYMENT-SLOT`, unique in its app for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

/// One running container of a service: enough to start it, find it and name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub service: String,
    /// The release whose deployment started it first. It may serve later releases too.
    pub release: u64,
    /// [`SealedService::instance_digest`](cutover_core::release::SealedService::instance_digest):
    /// what it is made of.
    pub spec: Digest,
}

/// What an instance's container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    /// In memory, not scheduled.
    Frozen,
    /// Stopped on purpose; can be started again.
    Stopped,
    /// Ended with 0 by itself: a service that others wait for with
    /// `service_completed_successfully`.
    Completed,
    /// Ended without being asked to, or lost with its shim.
    Dead,
}

/// What the prober last said about an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Healthy,
    Unhealthy,
    /// Not known yet, or nothing to ask.
    #[default]
    Unknown,
}

/// An instance as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceFact {
    pub instance: Instance,
    pub state: State,
    pub health: Health,
    /// Someone ran a command in it.
    pub tainted: bool,
}

/// The traffic as the proxy last acknowledged it, for all routed services of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// Grows with every switch; a switch with a smaller number is refused by the proxy.
    pub generation: u64,
    /// Per service, routed or only named, the instances that its name means: by the last switch,
    /// or by an announcement since.
    pub targets: BTreeMap<String, BTreeSet<InstanceId>>,
}

/// What the machine says about one app; gathered by the agent.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Every instance container of the app that exists, whatever its state.
    pub instances: Vec<InstanceFact>,
    pub routes: Routes,
    /// Machine-wide names of the app's volumes that exist.
    pub volumes: BTreeSet<String>,
    /// Machine-wide names of all networks that exist, whoever uses them.
    pub networks: BTreeSet<String>,
    /// Bytes of memory that new instances could use; `None` when not known.
    pub memory_available: Option<u64>,
}

/// Everything a plan is decided from.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub app: String,
    pub observed: Observed,
    /// The release that serves, as the last recorded switch says.
    pub serving: Option<u64>,
    /// The release that served before it and may still have instances waiting.
    pub standby: Option<u64>,
    pub releases: Releases,
    /// Keys of once-per-deployment hooks and jobs that already succeeded ([`crate::policy`]).
    pub hooks_done: BTreeSet<Digest>,
}

// === impl InstanceId ===

impl InstanceId {
    /// The id of copy `slot` (from 1) of `service` that `deployment` starts.
    pub fn new(service: &str, deployment: u64, slot: u32) -> Self {
        Self(format!("{service}-{deployment}-{slot}"))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl State ===

impl State {
    /// Can it take part in serving without being started first?
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Can it be brought up again as it is?
    pub fn can_wake(self) -> bool {
        matches!(self, Self::Running | Self::Frozen | Self::Stopped)
    }
}

// === impl Facts ===

impl Facts {
    /// The release that serves.
    pub fn serving_release(&self) -> Option<&Release> {
        self.releases.get(&self.serving?)
    }

    /// Whether anything of the app is on the machine: what [`Kind::Down`] can take away.
    pub fn is_anything_left(&self) -> bool {
        let used = self.releases.values().flat_map(|release| release.services.values());
        let mut used = used.flat_map(|sealed| sealed.service.networks.values());
        let exists = |name: &String| self.observed.networks.contains(name);
        !self.observed.instances.is_empty()
            || !self.observed.volumes.is_empty()
            || used.any(|used| !used.network.external && exists(&used.network.name))
    }

    /// The instances that serve: those that their service's name means. Most are what the serving
    /// release asks for; a deployment that was paused, or that could not be undone, may leave
    /// others.
    pub fn serving_instances(&self) -> BTreeSet<&InstanceId> {
        let named = |fact: &&InstanceFact| {
            let targets = self.observed.routes.targets.get(&fact.instance.service);
            targets.is_some_and(|targets| targets.contains(&fact.instance.id))
        };
        self.observed.instances.iter().filter(named).map(|fact| &fact.instance.id).collect()
    }

    /// The instances that wait for a rollback to the standby release.
    pub fn waiting_instances(&self) -> BTreeSet<&InstanceId> {
        let serving = self.serving_instances();
        let ids = self.of_release(self.standby).map(|fact| &fact.instance.id);
        ids.filter(|id| !serving.contains(id)).collect()
    }

    /// The instances that are what this release asks for.
    fn of_release(&self, release: Option<u64>) -> impl Iterator<Item = &InstanceFact> {
        let release = release.and_then(|number| self.releases.get(&number));
        let services = release.into_iter().flat_map(|release| &release.services);
        let specs: BTreeMap<&str, Digest> =
            services.map(|(name, sealed)| (name.as_str(), sealed.instance_digest())).collect();
        self.observed.instances.iter().filter(move |fact| {
            specs.get(fact.instance.service.as_str()) == Some(&fact.instance.spec)
        })
    }
}
