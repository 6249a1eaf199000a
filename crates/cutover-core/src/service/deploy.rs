//! [`Deploy`]: how many copies of a service run and how one release replaces another.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::units;

/// How long a deployment watches new instances after the switch unless the file says otherwise.
/// Swarm's value; the Compose Deploy Specification says 0s, which watches nothing.
pub const DEFAULT_MONITOR: Duration = Duration::from_secs(5);

/// The `deploy` key, without `resources` and `restart_policy`, which are in
/// [`Service::resources`](super::Service::resources) and [`Service::restart`](super::Service::restart).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deploy {
    /// The wanted number of instances; 0 switches the service off.
    pub replicas: u32,
    pub update: UpdateConfig,
    pub rollback: UpdateConfig,
}

/// `deploy.update_config` or `deploy.rollback_config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateConfig {
    /// `None`: not written. The release engine then chooses start-first, or stop-first for a
    /// service that owns a volume or a fixed host port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    pub failure_action: FailureAction,
    /// Instances replaced at a time; 0 means all at once.
    pub parallelism: u32,
    /// The pause between two groups.
    #[serde(with = "units::duration_text")]
    pub delay: Duration,
    /// How long each replaced instance is watched for failure.
    #[serde(with = "units::duration_text")]
    pub monitor: Duration,
    /// The share of failed instances (0–1) that is still tolerated.
    pub max_failure_ratio: f64,
}

/// Whether the new instance starts before or after the old one stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    StartFirst,
    StopFirst,
}

/// What happens when a deployment fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureAction {
    /// Go back to the release that served before.
    Rollback,
    /// Stop where it is and wait for a human.
    Pause,
    /// Go on with the next group.
    Continue,
}

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    No,
    OnFailure {
        #[serde(default, skip_serializing_if = "is_default")]
        max_retries: Option<u32>,
    },
    Always,
    UnlessStopped,
}

impl Default for Deploy {
    fn default() -> Self {
        Self { replicas: 1, update: UpdateConfig::update(), rollback: UpdateConfig::rollback() }
    }
}

impl UpdateConfig {
    /// The defaults of `update_config`.
    pub fn update() -> Self {
        Self {
            order: None,
            failure_action: FailureAction::Rollback,
            parallelism: 1,
            delay: Duration::ZERO,
            monitor: DEFAULT_MONITOR,
            max_failure_ratio: 0.0,
        }
    }

    /// The defaults of `rollback_config`: all at once, and a rollback is never rolled back.
    pub fn rollback() -> Self {
        Self { failure_action: FailureAction::Pause, parallelism: 0, ..Self::update() }
    }
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self::update()
    }
}
