//! Setting right what a killed shim or a reboot left.
//!
//! **Decided: a container does not outlive its shim.** Its process 1 gets SIGKILL when the shim
//! dies (parent death signal), and since a process could have switched that off, whoever looks at the
//! container next kills its control group. The container is then `exited` with 137 and `interrupted`, and a
//! supervisor replaces it or starts it again by its restart policy ([`super::Containers::recover`]).
//! Adopting it instead would mean output that went nowhere and an exit status that nobody got.

use super::paths::Places;
use super::{ContainerConfig, ExitStatus, Result, State, Status, clock, files, lock};
use crate::cgroup::Cgroup;
use crate::net::Networks;

/// The state as it is, after making it true.
pub(crate) fn reconcile(places: &Places, config: &ContainerConfig) -> Result<State> {
    let paths = places.container(&config.id);
    let state = files::read_state(&paths.state())?;
    if !state.status.is_live() {
        return Ok(state);
    }
    // Held: supervised, so what the state says is true.
    let Some(_lock) = lock::try_lock(&paths.lock())? else { return Ok(state) };
    // The shim may have ended properly between the two looks.
    let mut state = files::read_state(&paths.state())?;
    if !state.status.is_live() {
        return Ok(state);
    }
    let rebooted = state.boot_id != clock::boot_id();
    let mut trouble = Vec::new();
    if !rebooted {
        trouble = sweep(places, config);
    }
    let cause = if rebooted { "the machine was restarted" } else { "its shim was killed" };
    state.error = Some(match trouble.is_empty() {
        true => cause.to_owned(),
        false => format!("{cause}; left behind: {}", trouble.join("; ")),
    });
    // Between two runs nothing was killed: the exit of the last run stands.
    if state.status != Status::Restarting {
        state.exit = Some(ExitStatus::killed(9));
        state.finished_at = Some(clock::now());
    }
    state.status = Status::Exited;
    state.pid = None;
    state.shim_pid = None;
    state.interrupted = true;
    files::write_state(&paths.state(), &state)?;
    Ok(state)
}

/// Removes what a shim left that was killed while it was starting: the state never said `running`. The
/// caller holds the lock.
pub(crate) fn sweep_if_left(places: &Places, config: &ContainerConfig) {
    if Cgroup::open(config.id.as_str()).is_ok_and(|cgroup| cgroup.exists()) {
        for trouble in sweep(places, config) {
            tracing::warn!(container = %config.id, trouble, "left behind by a killed shim");
        }
    }
}

/// Kills and removes what is left in the kernel; goes on after an error.
fn sweep(places: &Places, config: &ContainerConfig) -> Vec<String> {
    let mut trouble = Vec::new();
    match Cgroup::open(config.id.as_str()) {
        Ok(cgroup) => {
            // Frozen processes do not die on every kernel.
            drop(cgroup.thaw());
            trouble.extend(cgroup.kill_all().err().map(|error| error.to_string()));
            trouble.extend(cgroup.remove().err().map(|error| error.to_string()));
        }
        Err(error) => trouble.push(error.to_string()),
    }
    if let super::NetworkMode::Networks(_) = config.network {
        let detached = Networks::open(&places.root, &places.run)
            .and_then(|networks| networks.detach(config.id.as_str()));
        trouble.extend(detached.err().map(|error| error.to_string()));
    }
    let run = places.container(&config.id).run;
    fs_err::remove_dir_all(run).unwrap_or_default();
    trouble
}
