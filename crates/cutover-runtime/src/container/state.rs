//! [`State`]: what is true of a container now, as kept in its `state.json`.
//!
//! Only the shim writes it while it lives (temp + rename), and whoever holds the container's lock
//! otherwise. "Can it" questions are methods of [`Status`].

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Port;

/// The version of `state.json` that this program writes. It reads this one and older ones.
pub const STATE_VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub status: Status,
    /// The container's process 1, as the host sees it.
    pub pid: Option<i32>,
    pub shim_pid: Option<i32>,
    /// The boot during which it was written: pids mean nothing in another one.
    pub boot_id: String,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Of the last run.
    pub exit: Option<ExitStatus>,
    /// Why it could not be started or was ended from outside.
    pub error: Option<String>,
    pub restart_count: u32,
    /// A user asked for the end of the last run: restart policies respect it.
    pub stopped_by_user: bool,
    /// The last run did not end by itself: its shim was killed, or the machine went down.
    pub interrupted: bool,
    pub health: Option<Health>,
    pub addresses: Vec<Address>,
    /// Published ports, with the host ports that were chosen.
    pub ports: Vec<Port>,
}

impl State {
    /// A container that was never started.
    pub fn created() -> Self {
        Self {
            version: STATE_VERSION,
            status: Status::Created,
            pid: None,
            shim_pid: None,
            boot_id: String::new(),
            started_at: None,
            finished_at: None,
            exit: None,
            error: None,
            restart_count: 0,
            stopped_by_user: false,
            interrupted: false,
            health: None,
            addresses: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// One whose state did not survive a power loss: it ran, or may have, and was interrupted.
    pub fn lost() -> Self {
        let error = Some("its state was lost with the machine's power".to_owned());
        Self { status: Status::Exited, interrupted: true, error, ..Self::created() }
    }

    /// The exit code of the last run; 0 for one that never ran, as docker shows it.
    pub fn exit_code(&self) -> i32 {
        self.exit.map_or(0, |exit| exit.code)
    }

    pub fn oom_killed(&self) -> bool {
        self.exit.is_some_and(|exit| exit.oom_killed)
    }

    /// The address on the first network.
    pub fn ip(&self) -> Option<Ipv4Addr> {
        self.addresses.first().map(|address| address.ip)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Created,
    Running,
    Paused,
    /// Exited; its shim waits before it starts it again.
    Restarting,
    Exited,
    /// A removal was begun and not finished.
    Dead,
}

impl Status {
    /// A shim must be there.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    pub fn can_start(self) -> bool {
        matches!(self, Self::Created | Self::Exited)
    }

    pub fn can_exec(self) -> bool {
        self == Self::Running
    }

    pub fn can_remove(self) -> bool {
        !self.is_live()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Docker's: the process's own, or 128 + the signal; 125, 126 and 127 when it never ran.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
}

impl ExitStatus {
    pub fn exited(code: i32) -> Self {
        Self { code, signal: None, oom_killed: false }
    }

    pub fn killed(signal: i32) -> Self {
        Self { code: 128 + signal, signal: Some(signal), oom_killed: false }
    }

    pub fn success(self) -> bool {
        self.code == 0
    }
}

/// What the health checks found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: HealthStatus,
    pub failing_streak: u32,
    /// The last five probes, oldest first.
    pub log: Vec<Probe>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One run of the health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub start: Timestamp,
    pub end: Timestamp,
    /// -1 when it could not be run or took too long.
    pub exit_code: i32,
    /// The first 4096 bytes.
    pub output: String,
}

/// An address on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub network: String,
    pub ip: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub mac: String,
}
