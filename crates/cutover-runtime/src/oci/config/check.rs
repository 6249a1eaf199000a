//! What cannot be, and what is not done, decided from the document alone. Pure.

use super::{Config, Hook, IdMapping, NamespaceKind, Process, VERSION};
use crate::oci::error::{Error, Result};
use crate::oci::{options, sysctl};

/// Refuses what cannot be done as written.
pub fn check(config: &Config) -> Result<()> {
    version(&config.oci_version)?;
    for (field, there) in [
        ("vm", config.vm.is_some()),
        ("windows", config.windows.is_some()),
        ("solaris", config.solaris.is_some()),
    ] {
        if there {
            return Err(Error::unsupported(field, "only `linux` containers are made here"));
        }
    }
    let root = config.root.as_ref().ok_or_else(|| Error::invalid("root", "it is missing"))?;
    if root.path.as_os_str().is_empty() {
        return Err(Error::invalid("root.path", "it is empty"));
    }
    if let Some(process) = &config.process {
        self::process(process, "process")?;
    }
    namespaces(config)?;
    linux(config)?;
    for (index, mount) in config.mounts.iter().enumerate() {
        options::parse(mount).map_err(|error| error.below(&format!("mounts[{index}]")))?;
    }
    for (key, value) in &config.linux.sysctl {
        sysctl::check(config, key, value)?;
    }
    hooks(config)
}

/// Any 1.x: newer minor versions only add what is passed over or refused by name.
fn version(version: &str) -> Result<()> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<Option<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_slice() {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => Err(Error::unsupported(
            "ociVersion",
            format!("`{version}`: this runtime follows {VERSION}"),
        )),
        _ => Err(Error::invalid("ociVersion", format!("`{version}` is not a version"))),
    }
}

/// A process, also one that joins.
pub fn process(process: &Process, field: &str) -> Result<()> {
    let name = |key: &str| format!("{field}.{key}");
    if process.args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid(name("args"), "no program is given"));
    }
    if !process.cwd.starts_with('/') {
        let reason = format!("`{}` is not an absolute path", process.cwd.escape_debug());
        return Err(Error::invalid(name("cwd"), reason));
    }
    if !process.selinux_label.is_empty() {
        return Err(Error::unsupported(name("selinuxLabel"), "no labels of SELinux are set"));
    }
    if process.exec_cpu_affinity.is_some() {
        return Err(Error::unsupported(name("execCPUAffinity"), "it is not done"));
    }
    if process.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return Err(Error::invalid(name("oomScoreAdj"), "it is between -1000 and 1000"));
    }
    let mut seen: Vec<&str> = Vec::new();
    for limit in &process.rlimits {
        if seen.contains(&limit.kind.as_str()) {
            let reason = format!("`{}` is there twice", limit.kind);
            return Err(Error::invalid(name("rlimits"), reason));
        }
        seen.push(&limit.kind);
    }
    let strings = process.args.iter().chain(&process.env).chain([&process.cwd]);
    if strings.into_iter().any(|text| text.contains('\0')) {
        return Err(Error::invalid(field, "a string contains a NUL"));
    }
    Ok(())
}

fn namespaces(config: &Config) -> Result<()> {
    let linux = &config.linux;
    for (index, namespace) in linux.namespaces.iter().enumerate() {
        if linux.namespaces[..index].iter().any(|other| other.kind == namespace.kind) {
            let reason = format!("`{}` is there twice", namespace.kind.file());
            return Err(Error::invalid("linux.namespaces", reason));
        }
        if namespace.path.as_ref().is_some_and(|path| !path.is_absolute()) {
            let reason = format!("the path of `{}` is not absolute", namespace.kind.file());
            return Err(Error::invalid("linux.namespaces", reason));
        }
    }
    let has = |kind| linux.separate(kind);
    let joins = |kind| linux.namespace(kind).is_some_and(|namespace| namespace.path.is_some());
    let shared = matches!(linux.rootfs_propagation.as_str(), "shared" | "rshared");
    if !has(NamespaceKind::Mount) && shared {
        let reason = "without a mount namespace it would be the host's";
        return Err(Error::unsupported("linux.rootfsPropagation", reason));
    }
    let named = !config.hostname.is_empty() || !config.domainname.is_empty();
    if named && !has(NamespaceKind::Uts) {
        let reason = "without a UTS namespace it would be the host's";
        return Err(Error::invalid("hostname", reason));
    }
    if !linux.time_offsets.is_empty() && (!has(NamespaceKind::Time) || joins(NamespaceKind::Time)) {
        return Err(Error::invalid("linux.timeOffsets", "there is no new time namespace"));
    }
    if let Some(clock) =
        linux.time_offsets.keys().find(|clock| !matches!(clock.as_str(), "monotonic" | "boottime"))
    {
        return Err(Error::invalid("linux.timeOffsets", format!("no clock `{clock}`")));
    }
    let new_user = has(NamespaceKind::User) && !joins(NamespaceKind::User);
    let mapped = !linux.uid_mappings.is_empty() && !linux.gid_mappings.is_empty();
    if new_user && !mapped {
        return Err(Error::invalid("linux.uidMappings", "a user namespace needs mappings"));
    }
    if mapped && !has(NamespaceKind::User) {
        return Err(Error::invalid("linux.uidMappings", "there is no user namespace"));
    }
    mappings(&linux.uid_mappings, "linux.uidMappings")?;
    mappings(&linux.gid_mappings, "linux.gidMappings")
}

/// The kernel's bounds.
pub fn mappings(mappings: &[IdMapping], field: &str) -> Result<()> {
    if mappings.len() > 340 {
        return Err(Error::invalid(field, "there are more than 340"));
    }
    let fits = |first: u32, size| first.checked_add(size).is_some();
    let fine = |mapping: &IdMapping| {
        mapping.size > 0
            && fits(mapping.container_id, mapping.size)
            && fits(mapping.host_id, mapping.size)
    };
    if mappings.iter().all(fine) {
        Ok(())
    } else {
        Err(Error::invalid(field, "a range is empty or runs over"))
    }
}

fn linux(config: &Config) -> Result<()> {
    let linux = &config.linux;
    for (field, there) in [
        ("linux.intelRdt", linux.intel_rdt.is_some()),
        ("linux.memoryPolicy", linux.memory_policy.is_some()),
        ("linux.netDevices", !linux.net_devices.is_empty()),
        ("linux.mountLabel", !linux.mount_label.is_empty()),
    ] {
        if there {
            return Err(Error::unsupported(field, "it is not done"));
        }
    }
    if !matches!(
        linux.rootfs_propagation.as_str(),
        "" | "private"
            | "rprivate"
            | "slave"
            | "rslave"
            | "shared"
            | "rshared"
            | "unbindable"
            | "runbindable"
    ) {
        let reason = format!("`{}`", linux.rootfs_propagation.escape_debug());
        return Err(Error::invalid("linux.rootfsPropagation", reason));
    }
    if let Some(personality) = &linux.personality {
        if !matches!(personality.domain.as_str(), "LINUX" | "LINUX32") {
            let reason = format!("`{}`", personality.domain.escape_debug());
            return Err(Error::invalid("linux.personality.domain", reason));
        }
        if !personality.flags.is_empty() {
            return Err(Error::unsupported("linux.personality.flags", "none is defined"));
        }
    }
    if linux.cgroups_path.split('/').any(|part| part == "..") || linux.cgroups_path.contains('\0') {
        return Err(Error::invalid("linux.cgroupsPath", "it leads out"));
    }
    for path in linux.masked_paths.iter().chain(&linux.readonly_paths) {
        if !path.starts_with('/') || path.contains('\0') {
            let reason = format!("`{}` is not an absolute path", path.escape_debug());
            return Err(Error::invalid("linux.maskedPaths", reason));
        }
    }
    seccomp(linux.seccomp.as_ref())
}

fn seccomp(seccomp: Option<&serde_json::Value>) -> Result<()> {
    let Some(seccomp) = seccomp else { return Ok(()) };
    if seccomp.get("listenerPath").is_some_and(|path| path.as_str() != Some("")) {
        let reason = "no descriptor of a filter is handed to anyone";
        return Err(Error::unsupported("linux.seccomp.listenerPath", reason));
    }
    crate::seccomp::bundle_filter(seccomp, crate::caps::CapSet(0))
        .map(drop)
        .map_err(|error| Error::invalid("linux.seccomp", error.to_string()))
}

fn hooks(config: &Config) -> Result<()> {
    let hooks = &config.hooks;
    let all: [(&str, &[Hook]); 6] = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, hooks) in all {
        for hook in hooks {
            if !hook.path.is_absolute() {
                let reason = format!("`{}` is not an absolute path", hook.path.display());
                return Err(Error::invalid(format!("hooks.{kind}"), reason));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                let reason = "the timeout is not above 0";
                return Err(Error::invalid(format!("hooks.{kind}"), reason));
            }
        }
    }
    Ok(())
}
