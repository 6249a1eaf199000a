//! A user's profile in docker's JSON format (`--security-opt seccomp=FILE`).
//!
//! Refuses what would be silently weaker than written: unknown actions and operators, `NOTIFY`.
//! Names that this architecture lacks are skipped, as docker does.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::compile::{Action, Comparison, Policy, Rule, Test};
use super::numbers;
use crate::caps::CapSet;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not the format.
    #[error("seccomp profile is not valid JSON of docker's format")]
    Json(#[from] serde_json::Error),
    /// An action that is not supported.
    #[error("seccomp profile has the unsupported action `{0}`")]
    Action(String),
    /// A comparison that does not exist.
    #[error("seccomp profile has the unknown operator `{0}`")]
    Operator(String),
    /// An errno for an action that returns none.
    #[error("seccomp profile has an errno for the action `{0}`, which returns none")]
    NoErrno(String),
    /// A flag that is not supported.
    #[error("seccomp profile has the unsupported flag `{0}`")]
    Flag(String),
    /// A rule for no call.
    #[error("seccomp profile has a rule without names")]
    Nameless,
    /// Arguments are 0…5.
    #[error("seccomp profile tests argument {0}: there are only 0 to 5")]
    Argument(u32),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
}

#[cfg(target_arch = "x86_64")]
const ARCH: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const ARCH: &str = "arm64";

/// The policy that a profile means for a container with these capabilities.
pub(super) fn parse(json: &str, caps: CapSet) -> Result<Policy, ProfileError> {
    policy(&serde_json::from_str(json)?, caps)
}

/// The same for the `linux.seccomp` of a bundle, which has the same words, with its flags for `seccomp(2)`.
pub(super) fn of_bundle(
    value: &serde_json::Value,
    caps: CapSet,
) -> Result<(Policy, u32), ProfileError> {
    let profile = Profile::deserialize(value)?;
    let mut flags = 0;
    for flag in profile.flags.iter().flatten() {
        flags |= match flag.as_str() {
            // There is one thread.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => 2,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
            other => return Err(ProfileError::Flag(other.to_owned())),
        };
    }
    if profile.syscalls.iter().any(|entry| entry.names.is_empty() && entry.name.is_none()) {
        return Err(ProfileError::Nameless);
    }
    Ok((policy(&profile, caps)?, flags))
}

fn policy(profile: &Profile, caps: CapSet) -> Result<Policy, ProfileError> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let known: BTreeMap<&str, u32> = numbers::all().collect();
    let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for entry in profile.syscalls.iter().filter(|entry| applies(entry, caps)) {
        let rule = Rule { tests: tests(entry)?, action: action(&entry.action, entry.errno_ret)? };
        for name in entry.names.iter().chain(&entry.name) {
            if let Some(&number) = known.get(name.as_str()) {
                rules.entry(number).or_default().push(rule.clone());
            }
        }
    }
    Ok(Policy { default, rules: rules.into_iter().collect() })
}

fn applies(entry: &Entry, caps: CapSet) -> bool {
    let has = |name: &String| caps.has(name.strip_prefix("CAP_").unwrap_or(name));
    let includes = entry.includes.caps.iter().flatten().all(has)
        && entry.includes.arches.as_ref().is_none_or(|arches| arches.iter().any(|a| a == ARCH));
    let excludes = entry.excludes.caps.iter().flatten().any(has)
        || entry.excludes.arches.iter().flatten().any(|a| a == ARCH);
    includes && !excludes
}

fn tests(entry: &Entry) -> Result<Vec<Test>, ProfileError> {
    entry.args.iter().flatten().map(test).collect()
}

fn test(argument: &Argument) -> Result<Test, ProfileError> {
    if argument.index > 5 {
        return Err(ProfileError::Argument(argument.index));
    }
    let op = match argument.op.as_str() {
        "SCMP_CMP_EQ" | "SCMP_CMP_MASKED_EQ" => Comparison::Equal,
        "SCMP_CMP_NE" => Comparison::NotEqual,
        "SCMP_CMP_GT" => Comparison::Greater,
        "SCMP_CMP_GE" => Comparison::GreaterEqual,
        "SCMP_CMP_LT" => Comparison::Less,
        "SCMP_CMP_LE" => Comparison::LessEqual,
        other => return Err(ProfileError::Operator(other.to_owned())),
    };
    let (mask, value) = match argument.op.as_str() {
        "SCMP_CMP_MASKED_EQ" => (argument.value, argument.value_two),
        _ => (u64::MAX, argument.value),
    };
    Ok(Test::Compare { argument: argument.index, mask, op, value })
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, ProfileError> {
    let takes_errno = matches!(name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
    if errno.is_some_and(|errno| errno != 0) && !takes_errno {
        return Err(ProfileError::NoErrno(name.to_owned()));
    }
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(libc::EPERM.unsigned_abs())),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRACE" => Action::Trace(errno.unwrap_or(libc::EPERM.unsigned_abs())),
        other => return Err(ProfileError::Action(other.to_owned())),
    })
}
