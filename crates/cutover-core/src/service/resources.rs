//! [`Resources`]: what a container may use of the machine.

use serde::{Deserialize, Serialize};

use super::is_default;

/// Limits and reservations, from `deploy.resources` and the older top-level keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_swap: Option<i64>,
    /// Bytes kept back when the machine is short of memory.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_reservation: Option<u64>,
    /// Billionths of one CPU: `cpus: 0.5` is 500000000.
    #[serde(skip_serializing_if = "is_default")]
    pub nano_cpus: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_shares: Option<u64>,
    /// Processes and threads; -1 is unlimited.
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Option<i64>,
    /// Bytes of `/dev/shm`.
    #[serde(skip_serializing_if = "is_default")]
    pub shm_size: Option<u64>,
}

/// One resource limit of the process; -1 is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub soft: i64,
    pub hard: i64,
}
