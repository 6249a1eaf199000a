//! Kernel settings that belong to a namespace of the container; all others are the host's and refused.

use super::config::{Config, NamespaceKind};
use super::error::{Error, Result};

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

/// Whether it may be set.
pub(super) fn check(config: &Config, key: &str, value: &str) -> Result<()> {
    let path = path(key);
    let own = |kind| config.linux.separate(kind);
    let reason = if path.split('/').any(|part| matches!(part, "" | "." | ".."))
        || path.contains('\0')
        || value.contains('\0')
    {
        "is not a sysctl"
    } else if path.starts_with("net/") {
        if own(NamespaceKind::Network) {
            return Ok(());
        }
        "belongs to the host's network"
    } else if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
        if own(NamespaceKind::Ipc) {
            return Ok(());
        }
        "belongs to the host's IPC"
    } else if path == "kernel/domainname" {
        if own(NamespaceKind::Uts) {
            return Ok(());
        }
        "belongs to the host's names"
    } else if path == "kernel/hostname" {
        "is set by `hostname`"
    } else if path.starts_with("user/") {
        if own(NamespaceKind::User) {
            return Ok(());
        }
        "belongs to the host's user namespace"
    } else {
        "is not separate for each container"
    };
    Err(Error::invalid("linux.sysctl", format!("`{}` {reason}", key.escape_debug())))
}

/// Below `/proc/sys`. `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding` are the same key.
pub(super) fn path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    }
}
