//! Control groups of OCI bundles: anywhere below the mount points, in every hierarchy, with every limit that a bundle
//! can name.

use super::devices::{self, DeviceRule, DeviceType};
use super::files::Dir;
use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::{Cgroup, CgroupError};
use crate::oci::config::{BlockIo, Cpu, DeviceRule as Rule, Memory, Resources, ThrottleDevice};

type Result<T> = std::result::Result<T, CgroupError>;

/// One setting, in both versions' words; an empty list means that the version has none.
#[derive(Debug, Default, PartialEq, Eq)]
struct Write {
    what: &'static str,
    controller: &'static str,
    v1: Vec<(String, String)>,
    v2: Vec<(String, String)>,
}

impl Cgroup {
    /// The group at a path below the mount points, whether it exists or not.
    pub fn at(path: &str) -> Result<Self> {
        let name = path.trim_matches('/');
        let word = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\n']);
        if !name.split('/').all(word) {
            return Err(CgroupError::Name { name: path.to_owned() });
        }
        Ok(Self { name: name.to_owned(), hierarchies: Hierarchies::of_this_machine()? })
    }

    /// Creates it in all hierarchies with its limits. It may exist already and have processes, as other runtimes allow.
    pub fn create_for_bundle(path: &str, resources: &Resources) -> Result<Self> {
        let cgroup = Self::at(path)?;
        let existed = cgroup.exists();
        let made = cgroup
            .hierarchies
            .all()
            .try_for_each(|hierarchy| make(hierarchy, &cgroup.name))
            .and_then(|()| cgroup.limit(resources))
            .and_then(|()| {
                devices::in_order(&cgroup.hierarchies, &cgroup.name, &rules(&resources.devices))
            });
        if made.is_err() && !existed {
            drop(cgroup.remove());
        }
        made.map(|()| cgroup)
    }

    /// Sets limits, also of a container that runs.
    pub fn limit(&self, resources: &Resources) -> Result<()> {
        for write in writes(resources) {
            apply(&write, &self.hierarchies, &self.name)?;
        }
        for (file, value) in &resources.unified {
            let controller = "unified";
            let v2 = self.hierarchies.v2();
            let v2 = v2.ok_or(CgroupError::Missing { what: "by version 2", controller })?;
            if file.contains('/') || !v2.group(&self.name).join(file).exists() {
                return Err(CgroupError::Missing { what: "by version 2", controller });
            }
            let dir = Dir::open(&v2.group(&self.name))?;
            value.lines().try_for_each(|line| dir.write(file, line))?;
        }
        Ok(())
    }
}

/// Makes the group; on v1's `cpuset` it has the processors and memory nodes of the one above.
fn make(hierarchy: &Hierarchy, name: &str) -> Result<()> {
    hierarchy.make_group(name)?;
    if hierarchy.version == Version::V1 && hierarchy.controllers.iter().any(|c| c == "cpuset") {
        let mut path = hierarchy.mount.clone();
        let mut above = Dir::open(&path)?;
        for part in name.split('/') {
            path.push(part);
            let dir = Dir::open(&path)?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if dir.read(file)?.trim().is_empty() {
                    dir.write(file, above.read(file)?.trim())?;
                }
            }
            above = dir;
        }
    }
    if hierarchy.version == Version::V2 {
        hierarchy.make_parents(name)?;
    }
    Ok(())
}

/// A bundle's rules, then the devices that every container has.
fn rules(given: &[Rule]) -> Vec<(bool, Option<DeviceType>, DeviceRule)> {
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let mut all: Vec<_> = given
        .iter()
        .map(|rule| {
            let kind = match rule.kind.as_str() {
                "c" | "u" => Some(DeviceType::Character),
                "b" => Some(DeviceType::Block),
                _ => None,
            };
            let has = |letter| rule.access.is_empty() || rule.access.contains(letter);
            let device = DeviceRule {
                kind: kind.unwrap_or(DeviceType::Character),
                major: number(rule.major),
                minor: number(rule.minor),
                read: has('r'),
                write: has('w'),
                make: has('m'),
            };
            (rule.allow, kind, device)
        })
        .collect();
    all.extend(devices::DEFAULT.iter().map(|rule| (true, Some(rule.kind), *rule)));
    all
}

fn limit(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// Collects settings.
struct Settings(Vec<Write>);

impl Settings {
    fn add(
        &mut self,
        what: &'static str,
        controller: &'static str,
        v1: Option<(&str, String)>,
        v2: Option<(&str, String)>,
    ) {
        let owned = |pair: Option<(&str, String)>| {
            pair.map(|(file, value)| (file.to_owned(), value)).into_iter().collect()
        };
        self.0.push(Write { what, controller, v1: owned(v1), v2: owned(v2) });
    }

    /// The same name and value in both versions.
    fn both(&mut self, what: &'static str, controller: &'static str, file: &str, value: &str) {
        let pair = || Some((file, value.to_owned()));
        self.add(what, controller, pair(), pair());
    }
}

/// What to write. Zero stands for "not given" where the kernel would refuse it, as callers have it.
fn writes(resources: &Resources) -> Vec<Write> {
    let mut all = Settings(Vec::new());
    memory(&resources.memory, &mut all);
    cpu(&resources.cpu, &mut all);
    if let Some(count) = resources.pids.limit.filter(|&count| count != 0) {
        all.both("processes", "pids", "pids.max", &limit(count));
    }
    block_io(&resources.block_io, &mut all);
    for page in &resources.hugepage_limits {
        let v1 = format!("hugetlb.{}.limit_in_bytes", page.page_size);
        let v2 = format!("hugetlb.{}.max", page.page_size);
        let value = page.limit.to_string();
        all.add("huge pages", "hugetlb", Some((&v1, value.clone())), Some((&v2, value)));
    }
    if let Some(class) = resources.network.class_id.filter(|&class| class != 0) {
        all.add("packets", "net_cls", Some(("net_cls.classid", class.to_string())), None);
    }
    for priority in &resources.network.priorities {
        let value = format!("{} {}", priority.name, priority.priority);
        all.add("packets", "net_prio", Some(("net_prio.ifpriomap", value)), None);
    }
    for (device, rdma) in &resources.rdma {
        let mut value = device.clone();
        value.extend(rdma.hca_handles.map(|count| format!(" hca_handle={count}")));
        value.extend(rdma.hca_objects.map(|count| format!(" hca_object={count}")));
        all.both("RDMA", "rdma", "rdma.max", &value);
    }
    all.0
}

fn memory(memory: &Memory, all: &mut Settings) {
    let given = |value: Option<i64>| value.filter(|&value| value != 0);
    if let Some(bytes) = given(memory.limit) {
        let v1 = Some(("memory.limit_in_bytes", bytes.to_string()));
        all.add("memory", "memory", v1, Some(("memory.max", limit(bytes))));
    }
    if let Some(both) = given(memory.swap) {
        let swap = match (both, memory.limit) {
            (both, _) if both < 0 => "max".to_owned(),
            (both, Some(bytes)) if bytes > 0 => (both - bytes).max(0).to_string(),
            (both, _) => both.to_string(),
        };
        let v1 = Some(("memory.memsw.limit_in_bytes", both.to_string()));
        all.add("swap", "memory", v1, Some(("memory.swap.max", swap)));
    }
    if let Some(bytes) = given(memory.reservation) {
        let v1 = Some(("memory.soft_limit_in_bytes", bytes.to_string()));
        all.add("memory", "memory", v1, Some(("memory.low", limit(bytes))));
    }
    if let Some(bytes) = given(memory.kernel_tcp) {
        let v1 = Some(("memory.kmem.tcp.limit_in_bytes", bytes.to_string()));
        all.add("memory of TCP", "memory", v1, None);
    }
    if let Some(percent) = memory.swappiness {
        all.add("swap", "memory", Some(("memory.swappiness", percent.to_string())), None);
    }
    if memory.disable_oom_killer == Some(true) {
        all.add("memory", "memory", Some(("memory.oom_control", "1".to_owned())), None);
    }
}

fn cpu(cpu: &Cpu, all: &mut Settings) {
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        let bounded = shares.clamp(2, 262_144);
        let weight = 1 + (bounded - 2) * 9_999 / 262_142;
        let v1 = Some(("cpu.shares", shares.to_string()));
        all.add("processor weight", "cpu", v1, Some(("cpu.weight", weight.to_string())));
    }
    let what = "processor time";
    let period = cpu.period.filter(|&period| period != 0);
    let quota = cpu.quota.filter(|&quota| quota != 0);
    if period.is_some() || quota.is_some() {
        let of = period.unwrap_or(100_000);
        let v2 = Some(("cpu.max", format!("{} {of}", quota.map_or("max".to_owned(), limit))));
        let v1 = |file, value: Option<String>| value.map(|value| (file, value));
        all.add(what, "cpu", v1("cpu.cfs_period_us", period.map(|us| us.to_string())), v2);
        all.add(what, "cpu", v1("cpu.cfs_quota_us", quota.map(|us| us.to_string())), None);
    }
    if let Some(burst) = cpu.burst {
        let value = burst.to_string();
        let v2 = Some(("cpu.max.burst", value.clone()));
        all.add(what, "cpu", Some(("cpu.cfs_burst_us", value)), v2);
    }
    if let Some(period) = cpu.realtime_period.filter(|&period| period != 0) {
        all.add(what, "cpu", Some(("cpu.rt_period_us", period.to_string())), None);
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|&runtime| runtime != 0) {
        all.add(what, "cpu", Some(("cpu.rt_runtime_us", runtime.to_string())), None);
    }
    if let Some(idle) = cpu.idle {
        all.both("processor weight", "cpu", "cpu.idle", &idle.to_string());
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            all.both("processors", "cpuset", file, value);
        }
    }
}

fn block_io(io: &BlockIo, all: &mut Settings) {
    let what = "disks";
    for (v1, v2, weight) in [
        ("blkio.weight", Some("io.weight"), io.weight),
        ("blkio.leaf_weight", None, io.leaf_weight),
    ] {
        if let Some(weight) = weight.filter(|&weight| weight != 0) {
            let scaled = 1 + (u32::from(weight).saturating_sub(10)) * 9_999 / 990;
            let v2 = v2.map(|file| (file, scaled.to_string()));
            all.add(what, "blkio", Some((v1, weight.to_string())), v2);
        }
    }
    for device in &io.weight_device {
        let at = format!("{}:{}", device.major, device.minor);
        let pairs = [
            ("blkio.weight_device", device.weight),
            ("blkio.leaf_weight_device", device.leaf_weight),
        ];
        for (file, weight) in pairs {
            if let Some(weight) = weight {
                all.add(what, "blkio", Some((file, format!("{at} {weight}"))), None);
            }
        }
    }
    let throttles: [(&str, &str, &[ThrottleDevice]); 4] = [
        ("blkio.throttle.read_bps_device", "rbps", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", "wbps", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", "riops", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", "wiops", &io.throttle_write_iops_device),
    ];
    for (file, key, devices) in throttles {
        for device in devices {
            let at = format!("{}:{}", device.major, device.minor);
            let v2 = Some(("io.max", format!("{at} {key}={}", device.rate)));
            all.add(what, "blkio", Some((file, format!("{at} {}", device.rate))), v2);
        }
    }
}

/// Writes one setting where its controller is.
fn apply(write: &Write, hierarchies: &Hierarchies, name: &str) -> Result<()> {
    let missing = || CgroupError::Missing { what: write.what, controller: write.controller };
    let (hierarchy, files) = match (hierarchies.v1(write.controller), hierarchies.v2()) {
        (Some(v1), _) if !write.v1.is_empty() => (v1, &write.v1),
        // Said by another setting of this version.
        (Some(_), _) => return Ok(()),
        (None, Some(v2)) if !write.v2.is_empty() => (v2, &write.v2),
        _ => return Err(missing()),
    };
    let group = hierarchy.group(name);
    let dir = Dir::open(&group)?;
    for (file, value) in files {
        // What version 1 calls without a limit.
        let value = if hierarchy.version == Version::V1 && value == "max" && file != "pids.max" {
            "-1"
        } else {
            value
        };
        if !group.join(file).exists() {
            return Err(missing());
        }
        dir.write(file, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, v1: &[&str], v2: &[&str]) {
        let resources: Resources = serde_json::from_str(json).expect("resources");
        let writes = writes(&resources);
        let text = |files: &[(String, String)]| {
            files.iter().map(|(file, value)| format!("{file} {value}")).collect::<Vec<_>>()
        };
        let got: Vec<String> = writes.iter().flat_map(|write| text(&write.v1)).collect();
        assert_eq!(got, v1);
        let got: Vec<String> = writes.iter().flat_map(|write| text(&write.v2)).collect();
        assert_eq!(got, v2);
    }

    #[test]
    fn both_versions() {
        check("{}", &[], &[]);
        check(
            r#"{"memory": {"limit": 1000, "swap": 3000, "reservation": 10, "swappiness": 0},
                "pids": {"limit": -1}}"#,
            &[
                "memory.limit_in_bytes 1000",
                "memory.memsw.limit_in_bytes 3000",
                "memory.soft_limit_in_bytes 10",
                "memory.swappiness 0",
                "pids.max max",
            ],
            &["memory.max 1000", "memory.swap.max 2000", "memory.low 10", "pids.max max"],
        );
        check(
            r#"{"cpu": {"shares": 1024, "quota": 50000, "period": 0, "cpus": "0-1"}}"#,
            &["cpu.shares 1024", "cpu.cfs_quota_us 50000", "cpuset.cpus 0-1"],
            &["cpu.weight 39", "cpu.max 50000 100000", "cpuset.cpus 0-1"],
        );
        check(
            r#"{"blockIO": {"weight": 0, "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 5}]},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}"#,
            &["blkio.throttle.read_iops_device 8:0 5", "hugetlb.2MB.limit_in_bytes 0"],
            &["io.max 8:0 riops=5", "hugetlb.2MB.max 0"],
        );
    }
}
