//! [`run_once`]: a build step. No shim, no name, no log.

use super::ExitStatus;
use crate::init::{self, Created, Io, StartError};
use crate::spec::Spec;

/// Runs `spec` to its end as a child of the calling process. `prepare` gets the network namespace
/// before the program starts. Whatever is left running is killed, and the control group removed, also when
/// something fails. The caller's executable must be protected ([`crate::sys::own_exe::ensure`]).
pub fn run_once<E: From<StartError>>(
    spec: &Spec,
    io: Io,
    prepare: impl FnOnce(&Created) -> Result<(), E>,
) -> Result<ExitStatus, E> {
    let created = init::create(spec, io).map_err(StartError::from)?;
    let cgroup = created.cgroup.clone();
    let result = run(created, prepare);
    // The program's end is what counts; what cannot be removed is only said to operators.
    let swept = cgroup.kill_all().and_then(|()| cgroup.remove());
    if let Err(error) = swept {
        tracing::warn!(cgroup = spec.cgroup, %error, "cannot remove the control group");
    }
    result
}

fn run<E: From<StartError>>(
    created: Created,
    prepare: impl FnOnce(&Created) -> Result<(), E>,
) -> Result<ExitStatus, E> {
    prepare(&created)?;
    let cgroup = created.cgroup.clone();
    let running = created.start()?;
    let ended = running.wait().map_err(|source| {
        StartError::from(init::CreateError::Prepare {
            what: "wait for",
            subject: "the container's first process".to_owned(),
            source,
        })
    })?;
    let oom_killed = cgroup.stats().is_ok_and(|stats| stats.oom_kills > 0);
    Ok(match ended {
        init::ExitStatus::Exited(code) => ExitStatus { oom_killed, ..ExitStatus::exited(code) },
        init::ExitStatus::Signaled(signal) => {
            ExitStatus { oom_killed, ..ExitStatus::killed(signal) }
        }
    })
}
