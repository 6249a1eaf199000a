//! What happens when processes end, up to the end of the container.

use std::time::Duration;

use fs_err as fs;
use rustix::process::{WaitOptions, WaitStatus, wait};

use super::client::Role;
use super::launch::Failure;
use super::protocol::Kind;
use super::supervisor::{Run, Supervisor};
use crate::container::{ExitStatus, Status, clock, remove};
use crate::health::Event;
use crate::restart::{Ended, Verdict};

/// A pipe holds at most a megabyte.
const MAX_READS: usize = 32;
/// How long the output of an ended container is read at most when somebody outside still holds it open.
const DRAIN: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Collects every process that ended: process 1, execs, probes, and orphans of a container that
    /// shares the host's processes.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let Some(exit) = exit_status(status) else { continue };
            if self.run.as_ref().is_some_and(|run| run.ended.is_none() && run.running.pid == pid) {
                self.on_exit(exit);
            } else if self.probe.as_ref().is_some_and(|probe| probe.running.pid == pid) {
                self.finish_probe(exit);
            } else if let Some(id) = self.exec_with(pid) {
                self.finish_exec(id, exit);
            }
        }
    }

    fn exec_with(&self, pid: i32) -> Option<u32> {
        self.execs.iter().find(|(_, exec)| exec.running.pid == pid).map(|(id, _)| *id)
    }

    fn finish_exec(&mut self, id: u32, exit: ExitStatus) {
        // Everything it wrote is in the pipes by now; what its orphans will write is not waited for.
        for at in (0..self.execs.get(&id).map_or(0, |exec| exec.streams.sources.len())).rev() {
            let mut reads = 0;
            while reads < MAX_READS && self.pump_exec(id, at) {
                reads += 1;
            }
        }
        let Some(exec) = self.execs.remove(&id) else { return };
        if let Some(client) = exec.client.and_then(|client| self.clients.get_mut(&client)) {
            client.send_json(Kind::Exit, &exit);
            client.role = Role::Leaving;
            client.flush(clock::monotonic());
        }
    }

    /// Process 1 ended: the state says so before anything else happens.
    fn on_exit(&mut self, mut exit: ExitStatus) {
        let now = clock::monotonic();
        let Some(run) = &mut self.run else { return };
        exit.oom_killed = run.cgroup.stats().is_ok_and(|stats| stats.oom_kills > 0);
        run.ended = Some((exit, now + DRAIN));
        if self.config.security.pid_host {
            // No namespace died with it.
            drop(run.cgroup.kill_all());
        }
        let ended = Ended {
            exit,
            stopped_by_user: self.state.stopped_by_user || self.state.interrupted,
            ran_for: now.saturating_sub(run.started),
        };
        self.conclude(ended, now);
    }

    /// Writes down how a run ended, and when the next one begins, if it does.
    fn conclude(&mut self, ended: Ended, now: Duration) {
        self.stop = None;
        let state = &mut self.state;
        state.pid = None;
        state.exit = Some(ended.exit);
        state.finished_at = Some(clock::now());
        match self.restart.on_exit(ended) {
            Verdict::Stay => {
                state.status = Status::Exited;
                state.shim_pid = None;
            }
            Verdict::Again { after } => {
                state.status = Status::Restarting;
                state.restart_count = self.restart.count();
                self.restart_at = Some(now + after);
            }
        }
        self.write_state();
    }

    /// Ends a run whose output was read to the end.
    pub(super) fn settle(&mut self) {
        let now = clock::monotonic();
        let is_over = |run: &Run| {
            run.ended.is_some_and(|(_, until)| run.streams.sources.is_empty() || now >= until)
        };
        if !self.run.as_ref().is_some_and(is_over) {
            return;
        }
        // Between two runs its clean-up is nobody's delay; at the end, `finish` has the order.
        if self.restart_at.is_some()
            && let Some(run) = self.run.take()
        {
            self.probe = None;
            self.finish_output();
            self.clean_up_run(&run.cgroup);
        } else {
            self.finish_output();
            self.ended_cgroup = self.run.take().map(|run| run.cgroup);
        }
    }

    pub(super) fn on_timers(&mut self, now: Duration) {
        if self.stop.and_then(|stop| stop.kill_at).is_some_and(|at| now >= at) {
            self.kill_now();
        }
        let alive = self.run.as_ref().is_some_and(|run| run.ended.is_none());
        if alive && !self.is_paused() {
            self.on_health(Event::Tick, now);
        }
        if self.run.is_none() && self.restart_at.is_some_and(|at| now >= at) {
            self.restart_at = None;
            if let Err(failure) = self.relaunch() {
                self.on_failed_restart(&failure, now);
            }
        }
    }

    fn on_failed_restart(&mut self, failure: &Failure, now: Duration) {
        self.state.error = Some(failure.reason.clone());
        let exit = ExitStatus::exited(failure.code);
        let ended =
            Ended { exit, stopped_by_user: self.state.stopped_by_user, ran_for: Duration::ZERO };
        self.conclude(ended, now);
    }

    /// The container has ended for good: everyone is told, then everything is cleaned up.
    pub(super) fn finish(&mut self) {
        self.release_name();
        self.announce_exit();
        self.clean_up();
    }

    /// A name is free again as soon as its holder's end is known.
    pub(super) fn release_name(&mut self) {
        if self.config.auto_remove {
            remove::release_name(&self.places, &self.config);
        }
    }

    /// Nobody waits for this part.
    pub(super) fn clean_up(&mut self) {
        self.listener = None;
        self.log = None;
        self.clients.retain(|_, client| client.has_pending());
        fs::remove_dir_all(&self.paths.run).unwrap_or_default();
        if let Some(cgroup) = self.ended_cgroup.take() {
            self.clean_up_run(&cgroup);
        }
        if self.config.auto_remove
            && let Err(error) = remove::remove_directory(&self.places, &self.config, true)
        {
            super::complain(&format!("failed to remove the container: {error}"));
        }
        self.lock = None;
    }
}

fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(ExitStatus::exited(code)),
        (None, Some(signal)) => Some(ExitStatus::killed(signal)),
        (None, None) => None,
    }
}
