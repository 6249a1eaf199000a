//! A spec checked and put into the kernel's words. Pure: nothing is opened here.

use std::ffi::CString;

use super::CreateError;
use super::program::{Hide, Limit, Within};
use super::target::Target;
use crate::caps::CapSet;
use crate::seccomp::Instruction;
use crate::spec::{Capabilities, Mount, Network, Seccomp, Sharing, Spec, Ulimit};

/// Everything that can be decided from the spec alone.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// Parents before children.
    pub(super) mounts: Vec<(Target, &'a Mount)>,
    pub(super) masked: Vec<Hide>,
    pub(super) read_only: Vec<Hide>,
    pub(super) sysctls: Vec<(CString, Vec<u8>)>,
    pub(super) limits: Vec<Limit>,
    pub(super) walls: Walls,
    pub(super) namespaces: u64,
}

/// What confines a process, also one that joins later.
#[derive(Debug)]
pub(super) struct Walls {
    pub(super) caps: CapSet,
    pub(super) filter: Option<Vec<Instruction>>,
}

type Result<T> = std::result::Result<T, CreateError>;

/// An error about a field.
pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> CreateError {
    CreateError::Invalid { field, reason: reason.into() }
}

/// Checks a spec. `own` are the capabilities that we have to give.
pub(super) fn plan(spec: &Spec, own: CapSet) -> Result<Plan<'_>> {
    let hidden = |paths: &[String], field| -> Result<Vec<Hide>> {
        if spec.privileged {
            return Ok(Vec::new());
        }
        paths.iter().map(|path| hide(path).map_err(|reason| invalid(field, reason))).collect()
    };
    Ok(Plan {
        mounts: mounts(&spec.mounts)?,
        masked: hidden(&spec.masked_paths, "masked_paths")?,
        read_only: hidden(&spec.readonly_paths, "readonly_paths")?,
        sysctls: spec
            .sysctls
            .iter()
            .map(|(key, value)| sysctl(spec, key, value))
            .collect::<Result<_>>()?,
        limits: limits(&spec.ulimits)?,
        walls: walls(&spec.capabilities, &spec.seccomp, spec.privileged, own)?,
        namespaces: namespaces(spec),
    })
}

fn namespaces(spec: &Spec) -> u64 {
    let private = |sharing: Sharing, flag: i32| if sharing == Sharing::Private { flag } else { 0 };
    let flags = libc::CLONE_NEWNS
        | private(spec.pid, libc::CLONE_NEWPID)
        | private(spec.ipc, libc::CLONE_NEWIPC)
        | private(spec.uts, libc::CLONE_NEWUTS)
        | if spec.network == Network::Private { libc::CLONE_NEWNET } else { 0 };
    flags.unsigned_abs().into()
}

/// Capabilities and filter.
pub(super) fn walls(
    capabilities: &Capabilities,
    seccomp: &Seccomp,
    privileged: bool,
    own: CapSet,
) -> Result<Walls> {
    let wanted = CapSet::for_container(capabilities, privileged)
        .map_err(|error| invalid("capabilities", error.to_string()))?;
    let caps = CapSet(wanted.0 & own.0);
    let seccomp = if privileged { &Seccomp::Unconfined } else { seccomp };
    let filter = crate::seccomp::filter(seccomp, caps)
        .map_err(|error| invalid("seccomp", error.to_string()))?;
    Ok(Walls { caps, filter })
}

/// Places that are ours: a volume there would deceive us or the program (CVE-2019-16884, CVE-2025-31133).
fn refused(target: &Target) -> Option<&'static str> {
    const DEVICES: [&str; 4] = ["/dev/null", "/dev/pts", "/dev/ptmx", "/dev/console"];
    match target.display() {
        "/" => Some("nothing can be mounted over the root"),
        "/dev" => Some("`/dev` is the runtime's own"),
        _ if target.is_within("/proc") => Some("`/proc` is the runtime's own"),
        _ if DEVICES.iter().any(|path| target.is_within(path)) => Some("it is the runtime's own"),
        _ => None,
    }
}

fn mounts(mounts: &[Mount]) -> Result<Vec<(Target, &Mount)>> {
    let mut planned: Vec<(Target, &Mount)> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let target = Target::new(&mount.target).map_err(|reason| invalid("mounts", reason))?;
        if let Some(reason) = refused(&target) {
            return Err(invalid("mounts", format!("`{}`: {reason}", mount.target)));
        }
        if planned.iter().any(|(other, _)| *other == target) {
            let reason = format!("two mounts have the target `{}`", target.display());
            return Err(invalid("mounts", reason));
        }
        planned.push((target, mount));
    }
    planned.sort_by_key(|(target, _)| target.depth());
    Ok(planned)
}

fn hide(path: &str) -> std::result::Result<Hide, String> {
    let target = Target::new(path)?;
    let display = target.display().to_owned();
    let below =
        |base: &str| display.strip_prefix(base).filter(|rest| !rest.is_empty()).map(CString::new);
    let within = match (below("/proc/"), below("/sys/")) {
        (Some(Ok(path)), _) => Within::Proc(path),
        (_, Some(Ok(path))) => Within::Sys(path),
        _ => Within::Root(target),
    };
    Ok(Hide { within, display })
}

/// Settings that belong to a namespace of the container; all others are the host's.
fn sysctl(spec: &Spec, key: &str, value: &str) -> Result<(CString, Vec<u8>)> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    // `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding` are the same key.
    let path = match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    };
    let reason = if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("is not a sysctl")
    } else if path.starts_with("net/") {
        (spec.network == Network::Host).then_some("belongs to the host's network")
    } else if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
        (spec.ipc == Sharing::Host).then_some("belongs to the host's IPC")
    } else {
        Some("is not separate for each container")
    };
    let path = CString::new(path).map_err(|_why| invalid("sysctls", "a key contains a NUL"))?;
    match reason {
        Some(reason) => Err(invalid("sysctls", format!("`{}` {reason}", key.escape_debug()))),
        None => Ok((path, value.as_bytes().to_vec())),
    }
}

/// Resource limits by the kernel's numbers.
pub(super) fn limits(ulimits: &[Ulimit]) -> Result<Vec<Limit>> {
    ulimits.iter().map(limit).collect()
}

fn limit(ulimit: &Ulimit) -> Result<Limit> {
    let resource = match ulimit.name.as_str() {
        "as" => libc::RLIMIT_AS,
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "locks" => libc::RLIMIT_LOCKS,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rss" => libc::RLIMIT_RSS,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        other => return Err(invalid("ulimits", format!("unknown ulimit `{other}`"))),
    };
    if ulimit.soft > ulimit.hard {
        let reason = format!("`{}`: the soft limit is above the hard limit", ulimit.name);
        return Err(invalid("ulimits", reason));
    }
    // The C libraries disagree on the constant's type.
    #[cfg_attr(target_env = "musl", expect(clippy::cast_sign_loss, reason = "small constants"))]
    let resource = resource as u32;
    Ok(Limit { name: ulimit.name.clone(), resource, soft: ulimit.soft, hard: ulimit.hard })
}

#[cfg(test)]
mod tests;
