//! The system call filter: which calls a container may make, compiled to classic BPF.
//!
//! [`policy`] is what docker's default profile says, as a table of our own; [`profile`] reads a user's profile in
//! docker's JSON format; both yield [`Policy`], which [`compile`] turns into a binary search over numbers.
//!
//! Invariants: only this machine's native calls pass (x32 fails, i386 is killed); numbers above the newest that
//! we know fail with `ENOSYS`; what is known and not allowed fails as the policy says.

mod compile;
mod numbers;
mod policy;
mod profile;

use crate::caps::CapSet;
use crate::spec::Seccomp;

pub use compile::{Action, Policy, Rule, Test};
pub use profile::ProfileError;

/// One instruction of a filter, as the kernel takes it.
pub type Instruction = libc::sock_filter;

/// The filter for a container with these capabilities; `None` for unconfined.
pub fn filter(seccomp: &Seccomp, caps: CapSet) -> Result<Option<Vec<Instruction>>, ProfileError> {
    match seccomp {
        Seccomp::Default => Ok(Some(compile::compile(&policy::docker_default(caps)))),
        Seccomp::Unconfined => Ok(None),
        Seccomp::Profile(json) => Ok(Some(compile::compile(&profile::parse(json, caps)?))),
    }
}

/// The filter that a bundle's `linux.seccomp` asks for, and flags for loading it. Whatever architectures it lists,
/// only native calls pass.
pub fn bundle_filter(
    value: &serde_json::Value,
    caps: CapSet,
) -> Result<(Vec<Instruction>, u32), ProfileError> {
    let (policy, flags) = profile::of_bundle(value, caps)?;
    Ok((compile::compile(&policy), flags))
}

#[cfg(test)]
mod tests;
