//! Capabilities: names, docker's default set, and the set that a container gets.

use crate::spec::Capabilities;

/// A set of capabilities, bit N being capability N of `capabilities(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSet(pub u64);

/// Every capability by its number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What docker gives every container.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A capability's name that the kernel does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability `{0}`")]
pub struct UnknownCapability(pub String);

impl CapSet {
    /// Every capability this program knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Docker's default.
    pub fn docker_default() -> Self {
        DEFAULT.iter().filter_map(|name| bit(name)).fold(Self(0), |set, bit| Self(set.0 | bit))
    }

    /// What a container gets: docker's rules for `--cap-add`, `--cap-drop` and `ALL`.
    pub fn for_container(
        changes: &Capabilities,
        privileged: bool,
    ) -> Result<Self, UnknownCapability> {
        let (add_all, add) = parse(&changes.add)?;
        let (drop_all, drop) = parse(&changes.drop)?;
        if privileged {
            return Ok(Self::ALL);
        }
        Ok(match (add_all, drop_all) {
            (true, _) => Self(Self::ALL.0 & !drop.0),
            (false, true) => add,
            (false, false) => Self((Self::docker_default().0 & !drop.0) | add.0),
        })
    }

    /// The set of these names (with `CAP_`, as bundles have them), and those that nobody knows.
    pub fn named(names: &[String]) -> (Self, Vec<String>) {
        let mut set = Self(0);
        let mut unknown = Vec::new();
        for name in names {
            match name.strip_prefix("CAP_").and_then(bit) {
                Some(bit) => set.0 |= bit,
                None => unknown.push(name.clone()),
            }
        }
        (set, unknown)
    }

    /// Whether it holds the capability of that name (without `CAP_`).
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Names with `CAP_`, by number.
    pub fn names(self) -> Vec<String> {
        NAMES.iter().filter(|name| self.has(name)).map(|name| format!("CAP_{name}")).collect()
    }
}

fn parse(names: &[String]) -> Result<(bool, CapSet), UnknownCapability> {
    let mut all = false;
    let mut set = CapSet(0);
    for name in names {
        let upper = name.to_ascii_uppercase();
        match upper.strip_prefix("CAP_").unwrap_or(&upper) {
            "ALL" => all = true,
            short => set.0 |= bit(short).ok_or_else(|| UnknownCapability(name.clone()))?,
        }
    }
    Ok((all, set))
}

fn bit(name: &str) -> Option<u64> {
    NAMES.iter().position(|&known| known == name).map(|number| 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expected: &str) {
        let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let changes = Capabilities { add: strings(add), drop: strings(drop) };
        let got = match CapSet::for_container(&changes, false) {
            Ok(set) => format!("{:x}", set.0),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn dockers_rules() {
        check(&[], &[], "a80425fb");
        check(&["NET_ADMIN"], &[], "a80435fb");
        check(&["cap_net_admin"], &["ALL"], "1000");
        check(&["ALL"], &["sys_admin"], "1ffffdfffff");
        check(&[], &["all"], "0");
        check(&["FLY"], &[], "unknown capability `FLY`");
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(CapSet(1 << 21 | 1).names(), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
    }
}
