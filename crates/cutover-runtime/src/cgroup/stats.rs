//! What a container uses.

use super::CgroupError;
use super::files::Dir;
use super::hierarchy::Hierarchies;

/// What a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Bytes of memory without reclaimable page cache, as docker shows.
    pub memory: u64,
    /// The limit, if any.
    pub memory_limit: Option<u64>,
    /// Processor time, microseconds.
    pub cpu_usec: u64,
    /// Processes and threads.
    pub pids: u64,
    /// The limit, if any.
    pub pids_limit: Option<u64>,
    /// How often the kernel killed something for memory.
    pub oom_kills: u64,
}

/// Reads each number where its controller is; controllers that the machine lacks count nothing.
pub(super) fn read(hierarchies: &Hierarchies, name: &str) -> Result<Stats, CgroupError> {
    let mut stats = Stats::default();
    let v1 = |controller| {
        hierarchies.v1(controller).map(|hierarchy| Dir::open(&hierarchy.group(name))).transpose()
    };
    let v2 = hierarchies.v2().map(|hierarchy| Dir::open(&hierarchy.group(name))).transpose()?;
    let has_v2 = |file: &str| {
        hierarchies.v2().is_some_and(|hierarchy| hierarchy.group(name).join(file).exists())
    };
    if let Some(dir) = v1("memory")? {
        let used = dir.number("memory.usage_in_bytes")?.unwrap_or(0);
        let cache = dir.keyed("memory.stat", "total_inactive_file")?.unwrap_or(0);
        stats.memory = used.saturating_sub(cache);
        stats.memory_limit = dir.number("memory.limit_in_bytes")?;
        stats.oom_kills = dir.keyed("memory.oom_control", "oom_kill")?.unwrap_or(0);
    } else if let Some(dir) = v2.as_ref().filter(|_| has_v2("memory.current")) {
        let used = dir.number("memory.current")?.unwrap_or(0);
        let cache = dir.keyed("memory.stat", "inactive_file")?.unwrap_or(0);
        stats.memory = used.saturating_sub(cache);
        stats.memory_limit = dir.number("memory.max")?;
        stats.oom_kills = dir.keyed("memory.events", "oom_kill")?.unwrap_or(0);
    }
    if let Some(dir) = v1("cpuacct")? {
        stats.cpu_usec = dir.number("cpuacct.usage")?.unwrap_or(0) / 1000;
    } else if let Some(dir) = v2.as_ref().filter(|_| has_v2("cpu.stat")) {
        stats.cpu_usec = dir.keyed("cpu.stat", "usage_usec")?.unwrap_or(0);
    }
    let pids = match v1("pids")? {
        Some(dir) => Some(dir),
        None => v2.filter(|_| has_v2("pids.current")),
    };
    if let Some(dir) = pids {
        stats.pids = dir.number("pids.current")?.unwrap_or(0);
        stats.pids_limit = dir.number("pids.max")?;
    }
    Ok(stats)
}
