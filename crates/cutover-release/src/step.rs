//! [`Step`] and [`Action`]: the only things an execution can do, as plain data.
//!
//! Every action is idempotent: performing it again after it finished changes nothing, and
//! performing it again after a crash in its middle completes it. The contract of each is written
//! at its variant; the agent's [`World`](crate::World) is one `match` over them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cutover_core::Digest;
use serde::{Deserialize, Serialize};

use crate::facts::{Instance, InstanceId};

/// Names a step within its deployment; made from its action, so it is the same after a crash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub String);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub id: StepId,
    pub action: Action,
}

/// How an instance of the previous release waits for a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standby {
    Running,
    Frozen,
    Stopped,
}

/// Everything a deployment can do to a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Have the image and its snapshots on the machine. Fails when it cannot be had: nothing else
    /// has happened yet.
    PrepareImage { service: String, image: Digest },
    /// Have the app's network of this machine-wide name. An `external` one must exist already.
    EnsureNetwork { name: String },
    /// Have the volume of this machine-wide name. An `external` one must exist already. Never
    /// empties one that exists.
    EnsureVolume { name: String },
    /// Run `pre_start[index]` of the service in a one-off container named `id`, to its end.
    ///
    /// Its image, environment, mounts, secrets and networks are those of the *new* instance
    /// unless the hook says otherwise. Idempotency: a container `id` that still runs is waited
    /// for; one that ended gives its exit code and is not run a second time; [`Action::Collect`]
    /// removes it. Any exit code but 0 fails (evidence: the last log lines). `replica` is the
    /// instance it prepares; `None`: once per deployment. `key`: recorded in the ledger as done.
    RunHook {
        id: InstanceId,
        service: String,
        index: usize,
        replica: Option<InstanceId>,
        key: Option<Digest>,
    },
    /// Have the instance's container running: create it when missing, start it when stopped, thaw
    /// it when frozen, nothing when it runs. Ends when the process was executed and the
    /// `post_start` hooks returned 0. It gets no traffic and no name by this. Fails when the image
    /// is gone, the process cannot be executed, a port is taken or a hook fails.
    Start { instance: Instance },
    /// Wait until the instance is healthy: its healthcheck says healthy and, for a routed service,
    /// the proxy's own probe of *this address* succeeds (asked with the instance's identity). With
    /// neither, that it is still running one second after its start. Fails at once when the
    /// container ends or its healthcheck turns unhealthy, and after `timeout` (from this call, and
    /// longer by the start period of a healthcheck that only the image has).
    /// Evidence: status, headers, last health output, last log lines.
    AwaitHealthy { instance: Instance, timeout: Duration },
    /// Wait until the instance ends with 0: a job, a service that others wait for with
    /// `service_completed_successfully`. Fails with any other exit code. Its restart policy does
    /// not count. `key`: recorded in the ledger as done.
    AwaitCompleted { instance: Instance, key: Digest },
    /// Send every HTTP check in the service's `x-cutover.verify` to this instance through the
    /// proxy's request path (`Probe`; it works while the service is held), with each check's
    /// retries. Fails with the first that fails. Evidence: request, status, headers, first bytes
    /// of the body, last log lines.
    Verify { instance: Instance },
    /// Run the command of `x-cutover.verify[index]` in a one-off container named `id` of the new
    /// image, killed after its timeout. Same idempotency as [`Action::RunHook`].
    VerifyCommand { id: InstanceId, service: String, index: usize },
    /// Let time pass between two groups of instances ([`World::wait`](crate::World::wait); never
    /// performed).
    Pause { duration: Duration },
    /// Let no new request through to these routed services and wait until those in flight ended,
    /// at most `drain`. New requests wait in the proxy, at most `limit` each, counted from now for
    /// all: after it the proxy answers 503 until [`Action::Unhold`]. Held again: the clock starts
    /// anew.
    Hold { services: Vec<String>, limit: Duration, drain: Duration },
    /// Let requests through again, to whatever targets the last switch named. Not held: nothing.
    Unhold { services: Vec<String> },
    /// Make the service's DNS name and aliases mean exactly these instances. Traffic through the
    /// proxy does not change.
    Announce { service: String, instances: Vec<Instance> },
    /// **The one moment of change.** In one acknowledged message to the proxy, for all services of
    /// the app at once: route each service of `release` that has routes to exactly these instances
    /// and forget every other service of the app; and make all names mean these instances.
    ///
    /// Returns after the acknowledgement: from then on no new request reaches any other instance.
    /// All or nothing. The same `generation` with the same content again is acknowledged; a
    /// smaller one is refused. Fails, without effect, when a routed service that is not empty here
    /// has no healthy target. `release: None` takes the app off the proxy. Does not end a hold.
    Switch { generation: u64, release: Option<u64>, targets: BTreeMap<String, Vec<Instance>> },
    /// Watch for `window` what [`World::observe`](crate::World::observe) says; never performed.
    Monitor(Monitor),
    /// Wait until these targets have no request in flight (upgraded connections included), cut
    /// what is left after `timeout`. They get no new request from now on. Cutting is success with
    /// a note. A target that the proxy does not know is drained.
    Drain { service: String, instances: Vec<Instance>, timeout: Duration },
    /// Stop the container and keep it: `pre_stop` hooks, stop signal, `stop_grace_period`,
    /// SIGKILL. Missing or stopped: nothing. A failing hook is a note, not a failure. It must not
    /// be brought back by its restart policy.
    Stop { instance: Instance },
    /// Put an instance that has no traffic any more into this waiting state (stop as
    /// [`Action::Stop`], freeze by the cgroup). Nothing when it is in it.
    Standby { instance: Instance, mode: Standby },
    /// Stop the container if needed (as [`Action::Stop`]) and remove it with its anonymous
    /// volumes. Missing: nothing.
    Remove { instance: Instance },
    /// Remove a network that this deployment made and that nobody wants after it was undone, with
    /// the app's names on it. Missing, `external` or used by others: nothing.
    RemoveNetwork { name: String },
    /// Remove a volume that this deployment made and that no release ever served from. Missing,
    /// `external` or another app's: nothing.
    RemoveVolume { name: String },
    /// Remove the one-off containers of this deployment (hooks, verify commands), and forget these
    /// releases: the ledger drops their records together with this step; images that only they
    /// needed may go now or with the next gc.
    Collect { releases: Vec<u64> },
}

/// What to watch after the switch, and when to call it a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    pub window: Duration,
    /// Those that now serve and did not before, by service.
    pub new: BTreeMap<String, Vec<Instance>>,
    /// Those that served before, by service: what the new error rate is compared with.
    pub old: BTreeMap<String, Vec<Instance>>,
    /// Fewer requests than this to the new instances of a service prove nothing.
    pub min_requests: u64,
    /// By how much (0–1) the share of 5xx answers may grow over that of the old instances.
    pub max_error_increase: f64,
}

// === impl Action ===

impl Action {
    /// The name of this action's step.
    pub fn id(&self) -> StepId {
        StepId(match self {
            Self::PrepareImage { service, .. } => format!("image {service}"),
            Self::EnsureNetwork { name } => format!("network {name}"),
            Self::EnsureVolume { name } => format!("volume {name}"),
            Self::RunHook { id, .. } => format!("hook {id}"),
            Self::Start { instance } => format!("start {}", instance.id),
            Self::AwaitHealthy { instance, .. } => format!("healthy {}", instance.id),
            Self::AwaitCompleted { instance, .. } => format!("completed {}", instance.id),
            Self::Verify { instance } => format!("verify {}", instance.id),
            Self::VerifyCommand { id, .. } => format!("verify {id}"),
            Self::Pause { .. } => "pause".to_owned(),
            Self::Hold { services, .. } => format!("hold {}", services.join(" ")),
            Self::Unhold { services } => format!("unhold {}", services.join(" ")),
            Self::Announce { service, .. } => format!("announce {service}"),
            Self::Switch { .. } => "switch".to_owned(),
            Self::Monitor(_) => "monitor".to_owned(),
            Self::Drain { service, .. } => format!("drain {service}"),
            Self::Stop { instance } => format!("stop {}", instance.id),
            Self::Standby { instance, .. } => format!("standby {}", instance.id),
            Self::Remove { instance } => format!("remove {}", instance.id),
            Self::RemoveNetwork { name } => format!("remove network {name}"),
            Self::RemoveVolume { name } => format!("remove volume {name}"),
            Self::Collect { .. } => "collect".to_owned(),
        })
    }

    /// The instance that this action is about, if it is about one.
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Start { instance }
            | Self::AwaitHealthy { instance, .. }
            | Self::AwaitCompleted { instance, .. }
            | Self::Verify { instance }
            | Self::Stop { instance }
            | Self::Standby { instance, .. }
            | Self::Remove { instance } => Some(instance),
            _ => None,
        }
    }

    /// The service that this action is about, if it is about one.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::PrepareImage { service, .. }
            | Self::RunHook { service, .. }
            | Self::VerifyCommand { service, .. }
            | Self::Announce { service, .. }
            | Self::Drain { service, .. } => Some(service),
            _ => self.instance().map(|instance| instance.service.as_str()),
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
