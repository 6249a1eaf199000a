//! `process` of a `config.json`, also what `exec --process` reads.

use serde::{Deserialize, Serialize};

/// One process to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// On a pseudo-terminal.
    pub terminal: bool,
    /// Of the terminal.
    pub console_size: Option<Box>,
    /// Who.
    pub user: User,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Absolute.
    pub cwd: String,
    /// None at all when missing.
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// `execve` grants nothing.
    pub no_new_privileges: bool,
    /// A profile of AppArmor.
    pub apparmor_profile: String,
    /// A label of SELinux.
    pub selinux_label: String,
    /// Badness for the OOM killer.
    pub oom_score_adj: Option<i32>,
    /// CPU scheduling.
    pub scheduler: Option<Scheduler>,
    /// Disk scheduling.
    pub io_priority: Option<IoPriority>,
    /// Where a joining process may run; not done.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<serde_json::Value>,
}

/// Lines and columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Box {
    /// Lines.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// By number only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of the process; 0o022 when missing.
    pub umask: Option<u32>,
    /// More groups.
    pub additional_gids: Vec<u32>,
}

/// The five sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in capabilities(7)")]
pub struct Capabilities {
    pub bounding: Vec<String>,
    pub effective: Vec<String>,
    pub inheritable: Vec<String>,
    pub permitted: Vec<String>,
    pub ambient: Vec<String>,
}

/// A resource limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE`…
    #[serde(rename = "type")]
    pub kind: String,
    /// Upper bound of the soft limit.
    pub hard: u64,
    /// What counts.
    pub soft: u64,
}

/// As `sched_setattr(2)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in sched_setattr(2)")]
pub struct Scheduler {
    pub policy: String,
    pub nice: i32,
    pub priority: i32,
    pub flags: Vec<String>,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// As `ioprio_set(2)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in ioprio_set(2)")]
pub struct IoPriority {
    pub class: String,
    pub priority: i32,
}
