//! Names of build steps, and what killed builds left under such names.

use cutover_runtime::cgroup::Cgroup;
use cutover_runtime::net::{DEFAULT_NETWORK, Networks};

const PREFIX: &str = "build-";

/// `build-PID-START-NUMBER`: a pid that is used again has another start time.
pub(super) fn name(number: u64) -> String {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    format!("{PREFIX}{pid}-{}-{number}", start_time(pid).unwrap_or(0))
}

/// Whether `id`, the name of a control group or the holder of an address, belongs to a build whose
/// process lives. Names of other things are not builds.
pub fn is_running_build(id: &str) -> bool {
    let Some(rest) = id.strip_prefix(PREFIX) else { return false };
    let mut parts = rest.split('-');
    let (Some(pid), Some(start)) = (parts.next(), parts.next()) else { return false };
    let (Ok(pid), Ok(start)) = (pid.parse::<i32>(), start.parse::<u64>()) else { return false };
    start_time(pid) == Some(start)
}

/// When a process started, in ticks since boot: field 22 of its `stat`.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have blanks and parentheses.
    let rest = &stat[stat.rfind(')')? + 1..];
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Gives back addresses of builds that were killed, and removes their control groups.
pub(super) fn remove(networks: &Networks) {
    let Ok(known) = networks.list() else { return };
    if !known.iter().any(|network| network.name == DEFAULT_NETWORK) {
        return;
    }
    let Ok((_, leases)) = networks.inspect(DEFAULT_NETWORK) else { return };
    for lease in leases {
        let id = lease.container_id;
        if !id.starts_with(PREFIX) || is_running_build(&id) {
            continue;
        }
        if let Err(error) = networks.detach(&id) {
            tracing::warn!(id, %error, "cannot release the network of a killed build");
        }
        let removed =
            Cgroup::open(&id).and_then(|group| group.kill_all().and_then(|()| group.remove()));
        if let Err(error) = removed {
            tracing::warn!(id, %error, "cannot remove the control group of a killed build");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_known_by_its_process() {
        let own = name(3);
        assert!(is_running_build(&own));
        assert!(!is_running_build("build-1-0-0"));
        assert!(!is_running_build("web-1"));
        assert!(!is_running_build("build-x"));
    }
}
