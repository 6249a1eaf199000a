//! Which devices a container may use: the `devices` controller of v1, an eBPF program on v2.

use super::CgroupError;
use super::files::{Dir, context};
use super::hierarchy::Hierarchies;
use crate::sys::bpf;

/// Character, block, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceType {
    /// `c`
    Character,
    /// `b`
    Block,
}

/// Something that is allowed; everything else is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Which type.
    pub kind: DeviceType,
    /// `None` is any.
    pub major: Option<u32>,
    /// `None` is any.
    pub minor: Option<u32>,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be made by `mknod`.
    pub make: bool,
}

impl DeviceRule {
    /// Full access to a character device.
    pub const fn character(major: u32, minor: Option<u32>) -> Self {
        Self {
            kind: DeviceType::Character,
            major: Some(major),
            minor,
            read: true,
            write: true,
            make: true,
        }
    }

    /// `mknod` of anything of a type; using it is another matter.
    const fn any_node(kind: DeviceType) -> Self {
        Self { kind, major: None, minor: None, read: false, write: false, make: true }
    }

    fn is_all(&self) -> bool {
        self.read && self.write && self.make
    }

    /// `c 1:3 rwm`
    fn v1(&self) -> String {
        let kind = if self.kind == DeviceType::Character { 'c' } else { 'b' };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        let mut access = String::new();
        for (wanted, letter) in [(self.read, 'r'), (self.write, 'w'), (self.make, 'm')] {
            access.extend(wanted.then_some(letter));
        }
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

/// What docker allows every container.
pub(crate) const DEFAULT: [DeviceRule; 11] = [
    DeviceRule::any_node(DeviceType::Character),
    DeviceRule::any_node(DeviceType::Block),
    DeviceRule::character(1, Some(3)),
    DeviceRule::character(1, Some(5)),
    DeviceRule::character(1, Some(7)),
    DeviceRule::character(1, Some(8)),
    DeviceRule::character(1, Some(9)),
    DeviceRule::character(5, Some(0)),
    DeviceRule::character(5, Some(1)),
    DeviceRule::character(5, Some(2)),
    DeviceRule::character(136, None),
];

/// Denies everything but the rules.
pub(super) fn restrict(
    hierarchies: &Hierarchies,
    name: &str,
    rules: &[DeviceRule],
) -> Result<(), CgroupError> {
    if let Some(v1) = hierarchies.v1("devices") {
        let dir = Dir::open(&v1.group(name))?;
        dir.write("devices.deny", "a")?;
        return rules.iter().try_for_each(|rule| dir.write("devices.allow", &rule.v1()));
    }
    let Some(v2) = hierarchies.v2() else {
        return Err(CgroupError::Missing { what: "devices", controller: "devices" });
    };
    attach(&v2.group(name), rules)
}

/// Applies a bundle's rules in their order on what is there, then [`DEFAULT`]'s devices, without which no container
/// works; on v2 at once, by the last rule that matches.
pub(super) fn in_order(
    hierarchies: &Hierarchies,
    name: &str,
    rules: &[(bool, Option<DeviceType>, DeviceRule)],
) -> Result<(), CgroupError> {
    if let Some(v1) = hierarchies.v1("devices") {
        let dir = Dir::open(&v1.group(name))?;
        for (allow, kind, rule) in rules {
            let file = if *allow { "devices.allow" } else { "devices.deny" };
            match kind {
                // The kernel knows `a` only as everything at once.
                None if rule.major.is_none() && rule.minor.is_none() && rule.is_all() => {
                    dir.write(file, "a")?;
                }
                None => {
                    for kind in [DeviceType::Character, DeviceType::Block] {
                        dir.write(file, &DeviceRule { kind, ..*rule }.v1())?;
                    }
                }
                Some(kind) => dir.write(file, &DeviceRule { kind: *kind, ..*rule }.v1())?,
            }
        }
        return Ok(());
    }
    let Some(v2) = hierarchies.v2() else {
        return Err(CgroupError::Missing { what: "devices", controller: "devices" });
    };
    let group = v2.group(name);
    let fd = Dir::open(&group)?.into_fd();
    bpf::attach_device_filter(std::os::fd::AsFd::as_fd(&fd), &ordered_program(rules))
        .map_err(context("attach a device filter to", &group))
}

/// As [`program`], from the last rule to the first; what none matches is allowed, as in a fresh group.
fn ordered_program(rules: &[(bool, Option<DeviceType>, DeviceRule)]) -> Vec<u64> {
    let mut code = vec![
        load(2, 0),
        instruction(0xbc, 3, 2, 0, 0),
        instruction(0x54, 2, 0, 0, 0xffff),
        instruction(0x74, 3, 0, 0, 16),
        load(4, 4),
        load(5, 8),
    ];
    for (allow, kind, rule) in rules.iter().rev() {
        code.extend(verdict(*allow, *kind, rule));
    }
    code.push(instruction(0xb4, 0, 0, 0, 1));
    code.push(EXIT);
    code
}

/// Allows when all that is asked for is in the rule, denies when any of it is.
fn verdict(allow: bool, kind: Option<DeviceType>, rule: &DeviceRule) -> Vec<u64> {
    let access = i32::from(rule.make) | i32::from(rule.read) << 1 | i32::from(rule.write) << 2;
    let mut tests = Vec::new();
    tests.extend(kind.map(|kind| (2, if kind == DeviceType::Character { 2 } else { 1 })));
    tests.extend(rule.major.map(|major| (4, major.cast_signed())));
    tests.extend(rule.minor.map(|minor| (5, minor.cast_signed())));
    let length = tests.len() + if rule.is_all() { 0 } else { 3 } + 2;
    let mut code = Vec::with_capacity(length);
    let rest = |done: usize| i16::try_from(length - done - 1).unwrap_or(i16::MAX);
    for (register, value) in tests {
        code.push(instruction(0x56, register, 0, rest(code.len()), value));
    }
    if !rule.is_all() {
        code.push(instruction(0xbc, 1, 3, 0, 0));
        code.push(instruction(0x54, 1, 0, 0, access));
        code.push(if allow {
            // Unless w1 == access, on to the next rule.
            instruction(0x5e, 1, 3, rest(code.len()), 0)
        } else {
            // When w1 == 0, on to the next rule.
            instruction(0x16, 1, 0, rest(code.len()), 0)
        });
    }
    code.push(instruction(0xb4, 0, 0, 0, i32::from(allow)));
    code.push(EXIT);
    code
}

/// Attaches the filter to a v2 group.
pub(super) fn attach(group: &std::path::Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let fd = Dir::open(group)?.into_fd();
    bpf::attach_device_filter(std::os::fd::AsFd::as_fd(&fd), &program(rules))
        .map_err(context("attach a device filter to", group))
}

/// An eBPF program over `struct bpf_cgroup_dev_ctx { access_type, major, minor }`: 1 when a rule allows all that is
/// asked for, else 0. `access_type` is the type (1 block, 2 character) and, above 16 bits, mknod 1, read 2, write 4.
fn program(rules: &[DeviceRule]) -> Vec<u64> {
    // r2 type, r3 access, r4 major, r5 minor
    let mut code = vec![
        load(2, 0),
        instruction(0xbc, 3, 2, 0, 0),
        instruction(0x54, 2, 0, 0, 0xffff),
        instruction(0x74, 3, 0, 0, 16),
        load(4, 4),
        load(5, 8),
    ];
    for rule in rules {
        code.extend(allow(rule));
    }
    code.push(instruction(0xb4, 0, 0, 0, 0));
    code.push(EXIT);
    code
}

const EXIT: u64 = 0x95;

fn allow(rule: &DeviceRule) -> Vec<u64> {
    let access = i32::from(rule.make) | i32::from(rule.read) << 1 | i32::from(rule.write) << 2;
    let kind = if rule.kind == DeviceType::Character { 2 } else { 1 };
    // Each test: jump past the end of the rule unless it holds.
    let mut tests = vec![(2, kind)];
    tests.extend(rule.major.map(|major| (4, major.cast_signed())));
    tests.extend(rule.minor.map(|minor| (5, minor.cast_signed())));
    let all = access == 7;
    // After the tests: three instructions for the access unless it is all, and two to return 1.
    let length = tests.len() + if all { 0 } else { 3 } + 2;
    let mut code = Vec::with_capacity(length);
    let rest = |done: usize| i16::try_from(length - done - 1).unwrap_or(i16::MAX);
    for (register, value) in tests {
        code.push(instruction(0x56, register, 0, rest(code.len()), value));
    }
    if !all {
        // w1 = access & allowed; unless w1 == access, on to the next rule.
        code.push(instruction(0xbc, 1, 3, 0, 0));
        code.push(instruction(0x54, 1, 0, 0, access));
        code.push(instruction(0x5e, 1, 3, rest(code.len()), 0));
    }
    code.push(instruction(0xb4, 0, 0, 0, 1));
    code.push(EXIT);
    code
}

/// `register = *(u32 *)(r1 + offset)`
fn load(register: u8, offset: i16) -> u64 {
    instruction(0x61, register, 1, offset, 0)
}

/// `struct bpf_insn`, little-endian.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let [o0, o1] = offset.to_le_bytes();
    let [i0, i1, i2, i3] = immediate.to_le_bytes();
    u64::from_le_bytes([code, source << 4 | destination, o0, o1, i0, i1, i2, i3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_words_of_v1() {
        let text: Vec<String> = DEFAULT[..3].iter().map(DeviceRule::v1).collect();
        assert_eq!(text, ["c *:* m", "b *:* m", "c 1:3 rwm"]);
    }
}
