//! What the shim waits for, and who reacts to it.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::client::{Client, Role};
use super::probe::RunningProbe;
use super::supervisor::{Supervisor, is_attached};
use crate::container::clock;

/// Which descriptor `poll` is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Listener,
    Children,
    Terminate,
    Client(u32),
    Output(usize),
    Input,
    ExecOutput(u32, usize),
    ExecInput(u32),
    Probe,
}

impl Supervisor {
    pub(super) fn wait(&self) -> io::Result<Vec<Token>> {
        let mut tokens = Vec::with_capacity(8);
        let mut fds = Vec::with_capacity(8);
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        self.each_interest(&mut add);
        let timeout = self.next_timer().map(|at| until(at, clock::monotonic()));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = fds.iter().zip(&tokens).filter(|(fd, _)| !fd.revents().is_empty());
        // Later descriptors first: reading one to its end takes it out of its list.
        let mut ready: Vec<Token> = ready.map(|(_, token)| *token).collect();
        ready.reverse();
        Ok(ready)
    }

    fn each_interest<'a>(&'a self, add: &mut impl FnMut(Token, BorrowedFd<'a>, PollFlags)) {
        const IN: PollFlags = PollFlags::IN;
        const OUT: PollFlags = PollFlags::OUT;
        if let Some(listener) = &self.listener {
            add(Token::Listener, listener.as_fd(), IN);
        }
        add(Token::Children, self.wakeups.children.as_fd(), IN);
        add(Token::Terminate, self.wakeups.terminate.as_fd(), IN);
        for (id, client) in &self.clients {
            let reads = if self.takes_input_of(client) { IN } else { PollFlags::empty() };
            let writes = if client.has_pending() { OUT } else { PollFlags::empty() };
            add(Token::Client(*id), client.stream().as_fd(), reads | writes);
        }
        if let Some(run) = &self.run {
            if !self.clients.values().any(|c| is_attached(c.role) && c.is_full()) {
                for (at, source) in run.streams.sources.iter().enumerate() {
                    add(Token::Output(at), source.fd.as_fd(), IN);
                }
            }
            if let Some(fd) = run.streams.blocked_sink() {
                add(Token::Input, fd, OUT);
            }
        }
        for (id, exec) in &self.execs {
            let client = exec.client.and_then(|client| self.clients.get(&client));
            if !client.is_some_and(Client::is_full) {
                for (at, source) in exec.streams.sources.iter().enumerate() {
                    add(Token::ExecOutput(*id, at), source.fd.as_fd(), IN);
                }
            }
            if let Some(fd) = exec.streams.blocked_sink() {
                add(Token::ExecInput(*id), fd, OUT);
            }
        }
        if let Some(output) = self.probe.as_ref().and_then(RunningProbe::output) {
            add(Token::Probe, output, IN);
        }
    }

    pub(super) fn react(&mut self, token: Token) -> io::Result<()> {
        let now = clock::monotonic();
        match token {
            Token::Listener => self.accept(),
            Token::Children => drain(&mut self.wakeups.children),
            Token::Terminate => {
                drain(&mut self.wakeups.terminate);
                self.on_terminate(now);
            }
            Token::Client(id) => {
                let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
                if !client.flush(now) || !client.read(&mut self.buffer) {
                    self.drop_client(id);
                }
            }
            Token::Output(at) => self.pump(at),
            Token::Input => {
                if let Some(run) = &mut self.run {
                    run.streams.flush();
                }
            }
            Token::ExecOutput(id, at) => {
                self.pump_exec(id, at);
            }
            Token::ExecInput(id) => {
                if let Some(exec) = self.execs.get_mut(&id) {
                    exec.streams.flush();
                }
            }
            Token::Probe => {
                if let Some(probe) = &mut self.probe {
                    probe.read(&mut self.buffer);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        // Whoever hung up before we looked is nobody.
        let Ok((stream, _)) = listener.accept() else { return };
        let own = rustix::process::geteuid();
        let peer = rustix::net::sockopt::socket_peercred(&stream);
        let allowed = peer.is_ok_and(|peer| peer.uid == own || peer.uid.is_root());
        if let Ok(client) = Client::new(stream, Role::New)
            && allowed
        {
            self.add_client(client);
        }
    }

    pub(super) fn add_client(&mut self, client: Client) -> u32 {
        let id = self.number();
        self.clients.insert(id, client);
        id
    }

    pub(super) fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn next_timer(&self) -> Option<Duration> {
        let run = self.run.as_ref();
        let health = run
            .filter(|run| run.ended.is_none() && !self.is_paused())
            .and_then(|run| run.checks.as_ref()?.deadline());
        let drain = run.and_then(|run| run.ended).map(|(_, until)| until);
        let kill = self.stop.and_then(|stop| stop.kill_at);
        // Whether a client is stuck is looked at once a second while one has not taken everything.
        let stuck = self.clients.values().any(Client::has_pending);
        let patience = stuck.then(|| clock::monotonic() + Duration::from_secs(1));
        [health, drain, kill, self.restart_at, patience].into_iter().flatten().min()
    }
}

fn until(at: Duration, now: Duration) -> Timespec {
    // Rounded up: waking a moment too early would spin.
    let left = at.saturating_sub(now) + Duration::from_micros(100);
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}

fn drain(stream: &mut UnixStream) {
    let mut bytes = [0; 64];
    while stream.read(&mut bytes).is_ok_and(|read| read == bytes.len()) {}
}
