//! What clients ask of a shim, and what it does about it.

use std::io;
use std::time::Duration;

use super::client::{Client, Role};
use super::launch::chain;
use super::memory::for_children;
use super::protocol::{self, Kind, Reply, Request};
use super::streams::{Streams, Wanted};
use super::supervisor::{Exec, Stop, Supervisor, is_attached};
use crate::container::{ExecOptions, Status, clock};
use crate::init;
use crate::merge::override_env;
use crate::spec::ExecSpec;

const SIGKILL: i32 = 9;

impl Supervisor {
    /// Acts on all frames that came, and drops the clients that took nothing for too long.
    pub(super) fn serve_clients(&mut self) {
        let ids: Vec<u32> = self.clients.keys().copied().collect();
        for id in ids {
            while let Some(client) = self.clients.get(&id)
                && self.takes_input_of(client)
            {
                let Some(client) = self.clients.get_mut(&id) else { break };
                match client.next_frame() {
                    Ok(Some((kind, body))) => self.on_frame(id, kind, &body),
                    Ok(None) => break,
                    Err(_) => self.drop_client(id),
                }
            }
            let now = clock::monotonic();
            let Some(client) = self.clients.get_mut(&id) else { continue };
            if !client.flush(now) || client.is_hopeless(now) {
                self.drop_client(id);
            }
        }
    }

    /// Whether what a client sends can be taken: its process may be slow to read its input.
    pub(super) fn takes_input_of(&self, client: &Client) -> bool {
        match client.role {
            Role::Attached { stdin: true, .. } => {
                self.run.as_ref().is_none_or(|run| run.streams.takes_input())
            }
            Role::Exec(exec) => self.execs.get(&exec).is_none_or(|exec| exec.streams.takes_input()),
            _ => true,
        }
    }

    pub(super) fn drop_client(&mut self, id: u32) {
        let Some(client) = self.clients.remove(&id) else { return };
        match client.role {
            // As docker's: the input of a foreground program ends with its client; one that runs in the
            // background keeps it for the next client.
            Role::Attached { stdin: true, starter: true } => self.end_input(),
            Role::Exec(exec) => {
                if let Some(exec) = self.execs.get_mut(&exec) {
                    exec.client = None;
                    exec.streams.end_input();
                }
            }
            _ => {}
        }
    }

    fn end_input(&mut self) {
        if let Some(run) = &mut self.run {
            run.streams.end_input();
        }
    }

    fn on_frame(&mut self, id: u32, kind: Kind, body: &[u8]) {
        let Some(role) = self.clients.get(&id).map(|client| client.role) else { return };
        match (kind, role) {
            (Kind::Request, Role::New) => match serde_json::from_slice(body) {
                Ok(request) => self.on_request(id, request),
                Err(error) => {
                    self.refuse(id, &format!("the shim does not know this request: {error}"));
                }
            },
            (Kind::StdinEnd, Role::Attached { starter: false, .. }) => {}
            (Kind::Stdin | Kind::StdinEnd | Kind::Resize, Role::Attached { stdin, .. }) => {
                let Some(run) = &mut self.run else { return };
                on_input(&mut run.streams, kind, body, stdin);
            }
            (Kind::Stdin | Kind::StdinEnd | Kind::Resize, Role::Exec(exec)) => {
                let Some(exec) = self.execs.get_mut(&exec) else { return };
                on_input(&mut exec.streams, kind, body, true);
            }
            _ => self.drop_client(id),
        }
    }

    fn on_request(&mut self, id: u32, request: Request) {
        match request {
            Request::Start { .. } => self.refuse(id, "it is already started"),
            Request::Attach { stdin } => {
                self.accept_as(id, Role::Attached { stdin, starter: false });
            }
            Request::Wait => self.accept_as(id, Role::Waiting),
            Request::Follow => self.accept_as(id, Role::Following),
            Request::Exec(options) => self.on_exec(id, &options),
            Request::Kill { signal } => {
                let done = self.kill(signal);
                self.answer(id, done);
            }
            Request::Stop { timeout_ms } => {
                let timeout = timeout_ms.map(Duration::from_millis);
                self.accept_as(id, Role::Waiting);
                self.state.stopped_by_user = true;
                self.stop(timeout.unwrap_or(self.config.stop_timeout), clock::monotonic());
            }
            Request::Pause => {
                let done = self.pause();
                self.answer(id, done);
            }
            Request::Unpause => {
                let done = self.unpause();
                self.answer(id, done);
            }
        }
    }

    fn accept_as(&mut self, id: u32, role: Role) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.role = role;
            client.send_json(Kind::Reply, &Reply::Ok);
        }
    }

    fn refuse(&mut self, id: u32, reason: &str) {
        self.answer(id, Err(reason.to_owned()));
    }

    fn answer(&mut self, id: u32, done: Result<(), String>) {
        let reply = match done {
            Ok(()) => Reply::Ok,
            Err(reason) => Reply::Refused { reason },
        };
        self.last_words(id, &reply);
    }

    pub(super) fn last_words(&mut self, id: u32, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.role = Role::Leaving;
            client.send_json(Kind::Reply, reply);
        }
    }

    fn kill(&mut self, signal: i32) -> Result<(), String> {
        let run = self.run.as_ref().filter(|run| run.ended.is_none());
        let Some(run) = run else { return Err("it is not running".to_owned()) };
        run.running.signal(signal).map_err(|error| error.to_string())?;
        if signal == SIGKILL || signal == self.config.stop_signal {
            // docker: what a user ended by hand is not started again.
            self.state.stopped_by_user = true;
        }
        if signal == SIGKILL && self.is_paused() {
            self.unpause()?;
        }
        Ok(())
    }

    /// Begins to stop the container: its signal now, SIGKILL after `timeout`.
    fn stop(&mut self, timeout: Duration, now: Duration) {
        if self.restart_at.take().is_some() {
            self.state.status = Status::Exited;
            self.write_state();
            return;
        }
        let Some(run) = self.run.as_ref().filter(|run| run.ended.is_none()) else { return };
        // It may be dead but not reaped yet; then there is nothing to signal.
        drop(run.running.signal(self.config.stop_signal));
        if self.is_paused() {
            drop(self.unpause());
        }
        let kill_at = now + timeout;
        // A second stop can only make it sooner.
        let earlier = self.stop.and_then(|stop| stop.kill_at).filter(|at| *at < kill_at);
        self.stop = Some(Stop { kill_at: Some(earlier.unwrap_or(kill_at)) });
        self.write_state();
    }

    /// SIGTERM to the shim itself: the machine goes down. The container is stopped properly, and will be
    /// started again by its policy when the machine is back.
    pub(super) fn on_terminate(&mut self, now: Duration) {
        self.state.interrupted = true;
        self.stop(self.config.stop_timeout, now);
    }

    pub(super) fn kill_now(&mut self) {
        self.stop = Some(Stop { kill_at: None });
        if let Some(run) = &self.run {
            drop(run.running.signal(SIGKILL));
            drop(run.cgroup.kill_all());
        }
    }

    fn pause(&mut self) -> Result<(), String> {
        let run = self.run.as_ref().filter(|run| run.ended.is_none());
        let Some(run) = run else { return Err("it is not running".to_owned()) };
        if self.is_paused() {
            return Err("it is paused already".to_owned());
        }
        run.cgroup.freeze().map_err(|error| chain(&error))?;
        self.state.status = Status::Paused;
        self.write_state();
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), String> {
        let Some(run) = self.run.as_ref().filter(|_| self.is_paused()) else {
            return Err("it is not paused".to_owned());
        };
        run.cgroup.thaw().map_err(|error| chain(&error))?;
        self.state.status = Status::Running;
        self.write_state();
        Ok(())
    }

    fn on_exec(&mut self, id: u32, options: &ExecOptions) {
        let run = self.run.as_ref().filter(|run| run.ended.is_none());
        let Some(run) = run else { return self.refuse(id, "it is not running") };
        if self.is_paused() {
            return self.refuse(id, "it is paused: unpause it first");
        }
        let spec = self.exec_spec(options);
        let terminal = options.terminal.then(|| options.size.unwrap_or((0, 0)));
        let started = Streams::open(Wanted { stdin: options.stdin, terminal })
            .map_err(|error| (125, error.to_string()))
            .and_then(|(mut streams, io)| {
                use std::os::fd::AsFd;
                let pidfd = run.running.pidfd.as_fd();
                let mut running = for_children(|| init::exec(&self.spec, pidfd, &spec, io))
                    .map_err(|error| (error.exit_code(), chain(&error)))?;
                adopt_console(&mut streams, &mut running, options.stdin)
                    .map_err(|error| (125, error.to_string()))?;
                Ok((streams, running))
            });
        match started {
            Err((code, reason)) => self.last_words(id, &Reply::Failed { code, reason }),
            Ok((streams, running)) => {
                let number = self.number();
                self.execs.insert(number, Exec { running, streams, client: Some(id) });
                self.accept_as(id, Role::Exec(number));
            }
        }
    }

    pub(super) fn exec_spec(&self, options: &ExecOptions) -> ExecSpec {
        ExecSpec {
            args: options.args.clone(),
            env: override_env(&self.config.env, &options.env, options.terminal),
            cwd: options.working_dir.clone().unwrap_or_else(|| self.config.working_dir.clone()),
            user: options.user.clone().unwrap_or_else(|| self.config.user.clone()),
            additional_groups: self.config.security.group_add.clone(),
            privileged: options.privileged,
            parent_death_signal: Some(SIGKILL),
        }
    }

    /// Tells everyone who waits for the container's end.
    pub(super) fn announce_exit(&mut self) {
        let exit = self.state.exit.unwrap_or_default();
        for client in self.clients.values_mut() {
            if is_attached(client.role) || client.role == Role::Waiting {
                client.send_json(Kind::Exit, &exit);
                client.role = Role::Leaving;
            }
        }
        self.serve_clients();
    }
}

fn on_input(streams: &mut Streams, kind: Kind, body: &[u8], stdin: bool) {
    match kind {
        Kind::Stdin if stdin => streams.input(body),
        Kind::StdinEnd if stdin => streams.end_input(),
        Kind::Resize => {
            if let &[a, b, c, d] = body {
                streams.resize(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
            }
        }
        _ => {}
    }
}

/// Moves the terminal that a new process brought along to our ends of its streams.
pub(super) fn adopt_console(
    streams: &mut Streams,
    running: &mut init::Running,
    stdin: bool,
) -> io::Result<()> {
    match running.console.take() {
        Some(console) => streams.take_console(console, stdin),
        None => Ok(()),
    }
}

const _: () = assert!(protocol::CHUNK <= 64 << 10, "a frame must fit a client's patience");
