//! Names of build steps, and what killed builds left under such names.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cutover_runtime::cgroup::Cgroup;
use cutover_runtime::net::Networks;

const PREFIX: &str = "build-";

/// Steps of this process so far.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// `build-PID-START-NUMBER`: no other step of a living process has it; a pid that is used again
/// has another start time.
pub(super) fn name() -> String {
    let number = STEPS.fetch_add(1, Ordering::Relaxed);
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

/// An empty file named after a step: as long as it is there, the step may have left things.
#[derive(Debug)]
pub(super) struct Mark(PathBuf);

impl Mark {
    pub(super) fn new(dir: &Path, name: &str) -> std::io::Result<Self> {
        fs_err::create_dir_all(dir)?;
        let path = dir.join(name);
        fs_err::File::create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // One that stays is looked at, and removed, by the next build.
        drop(fs_err::remove_file(&self.0));
    }
}

/// Gives back addresses of builds that were killed, and removes their control groups. The marks and
/// what they stand for all vanish with a reboot.
pub(super) fn remove(dir: &Path, networks: &Networks) {
    let Ok(entries) = fs_err::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !id.starts_with(PREFIX) || is_running_build(&id) {
            continue;
        }
        if let Err(error) = networks.detach(&id) {
            tracing::warn!(id, %error, "cannot release the network of a killed build");
            continue;
        }
        let group = Cgroup::open(&id);
        if let Err(error) = group.and_then(|group| group.kill_all().and_then(|()| group.remove())) {
            tracing::warn!(id, %error, "cannot remove the control group of a killed build");
            continue;
        }
        drop(Mark(entry.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_known_by_its_process() {
        let own = name();
        assert!(is_running_build(&own));
        assert!(!is_running_build("build-1-0-0"));
        assert!(!is_running_build("web-1"));
        assert!(!is_running_build("build-x"));
    }
}
