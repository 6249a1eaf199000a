//! Limits as files to write: decided here, written by [`apply`].

use super::CgroupError;
use super::files::Dir;
use super::hierarchy::Hierarchies;
use crate::spec::Resources;

/// One setting, in both versions' words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// For messages.
    pub(super) what: &'static str,
    pub(super) controller: &'static str,
    /// Files and values for v1.
    pub(super) v1: Vec<(&'static str, String)>,
    /// Files and values for v2.
    pub(super) v2: Vec<(&'static str, String)>,
    /// Without it the container only runs less exactly as asked; kernels may lack it (swap accounting).
    pub(super) optional: bool,
}

/// Length of the interval in which processor time is rationed, microseconds.
const PERIOD: u64 = 100_000;

/// Controllers that the limits need besides the usual ones.
pub(super) fn controllers(resources: &Resources) -> Vec<&'static str> {
    writes(resources).iter().map(|write| write.controller).collect()
}

/// What to write for the limits.
pub(super) fn writes(resources: &Resources) -> Vec<Write> {
    let mut all = Vec::new();
    let mut add = |what, controller, v1: &[_], v2: &[_], optional| {
        all.push(Write { what, controller, v1: v1.to_vec(), v2: v2.to_vec(), optional });
    };
    if let Some(bytes) = resources.memory {
        let value = bytes.to_string();
        let (v1, v2) = ("memory.limit_in_bytes", "memory.max");
        add("memory", "memory", &[(v1, value.clone())], &[(v2, value)], false);
        // Docker's default is as much swap again.
        let both = resources.memory_swap.unwrap_or(bytes.saturating_mul(2));
        let (v1, v2) = match both {
            u64::MAX => ("-1".to_owned(), "max".to_owned()),
            both => (both.to_string(), both.saturating_sub(bytes).to_string()),
        };
        let (v1, v2) = (("memory.memsw.limit_in_bytes", v1), ("memory.swap.max", v2));
        add("swap", "memory", &[v1], &[v2], true);
    }
    if let Some(bytes) = resources.memory_reservation {
        let value = bytes.to_string();
        let (v1, v2) = ("memory.soft_limit_in_bytes", "memory.low");
        add("memory", "memory", &[(v1, value.clone())], &[(v2, value)], false);
    }
    if let Some(cpus) = resources.cpus {
        let quota = quota(cpus);
        let v1 =
            [("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota.to_string())];
        add("processor time", "cpu", &v1, &[("cpu.max", format!("{quota} {PERIOD}"))], false);
    }
    if let Some(shares) = resources.cpu_shares {
        let shares = shares.clamp(2, 262_144);
        let weight = 1 + (shares - 2) * 9_999 / 262_142;
        let (v1, v2) = (("cpu.shares", shares.to_string()), ("cpu.weight", weight.to_string()));
        add("processor weight", "cpu", &[v1], &[v2], false);
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        let write = ("cpuset.cpus", cpus.clone());
        add(
            "processors",
            "cpuset",
            std::slice::from_ref(&write),
            std::slice::from_ref(&write),
            false,
        );
    }
    if let Some(count) = resources.pids {
        let write = ("pids.max", count.to_string());
        add("processes", "pids", std::slice::from_ref(&write), std::slice::from_ref(&write), false);
    }
    all
}

/// Microseconds per [`PERIOD`], at least what the kernel takes.
fn quota(cpus: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is bounded below"
    )]
    let quota = (cpus * 100_000.0).round() as u64;
    quota.clamp(1_000, 1 << 40)
}

/// Writes one setting where its controller is.
pub(super) fn apply(
    write: &Write,
    hierarchies: &Hierarchies,
    name: &str,
) -> Result<(), CgroupError> {
    let (hierarchy, files) = match (hierarchies.v1(write.controller), hierarchies.v2()) {
        (Some(v1), _) => (v1, &write.v1),
        (None, Some(v2)) => (v2, &write.v2),
        (None, None) => return missing(write),
    };
    let group = hierarchy.group(name);
    if files.iter().any(|(file, _)| !group.join(file).exists()) {
        // Another process has just made the group above, and has not handed the controllers down yet.
        hierarchy.make_parents(name)?;
    }
    let dir = Dir::open(&group)?;
    for (file, value) in files {
        if group.join(file).exists() {
            dir.write(file, value)?;
        } else {
            missing(write)?;
        }
    }
    Ok(())
}

fn missing(write: &Write) -> Result<(), CgroupError> {
    if write.optional {
        return Ok(());
    }
    Err(CgroupError::Missing { what: write.what, controller: write.controller })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: &Resources, v1: &[&str], v2: &[&str]) {
        let writes = writes(resources);
        let text = |files: &[(&str, String)]| {
            files.iter().map(|(file, value)| format!("{file} {value}")).collect::<Vec<_>>()
        };
        let got: Vec<String> = writes.iter().flat_map(|write| text(&write.v1)).collect();
        assert_eq!(got, v1);
        let got: Vec<String> = writes.iter().flat_map(|write| text(&write.v2)).collect();
        assert_eq!(got, v2);
    }

    #[test]
    fn both_versions() {
        let none = Resources::default();
        check(&none, &[], &[]);
        check(
            &Resources { memory: Some(1000), ..none.clone() },
            &["memory.limit_in_bytes 1000", "memory.memsw.limit_in_bytes 2000"],
            &["memory.max 1000", "memory.swap.max 1000"],
        );
        check(
            &Resources { memory: Some(1000), memory_swap: Some(u64::MAX), ..none.clone() },
            &["memory.limit_in_bytes 1000", "memory.memsw.limit_in_bytes -1"],
            &["memory.max 1000", "memory.swap.max max"],
        );
        check(
            &Resources { cpus: Some(1.5), cpu_shares: Some(1024), ..none.clone() },
            &["cpu.cfs_period_us 100000", "cpu.cfs_quota_us 150000", "cpu.shares 1024"],
            &["cpu.max 150000 100000", "cpu.weight 39"],
        );
        check(
            &Resources { pids: Some(7), cpuset_cpus: Some("0-1".to_owned()), ..none },
            &["cpuset.cpus 0-1", "pids.max 7"],
            &["cpuset.cpus 0-1", "pids.max 7"],
        );
    }
}
