//! [`Client`]: one connection to the shim.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Serialize;

use super::protocol::{self, Frames, Kind};

/// Output that a client has not taken yet; beyond this the process's output is not read, so that
/// nothing is lost and nothing grows.
const MAX_PENDING: usize = 64 << 10;
/// A client that came later and takes nothing for this long is cut off: it must not stop the container.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    frames: Frames,
    out: Vec<u8>,
    pub(super) role: Role,
    /// Since when it took nothing.
    stuck_since: Option<Duration>,
}

/// What a client is connected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Has not said it yet.
    New,
    /// Gets the container's output; with `stdin`, gives it its input. The `starter` is waited for as
    /// long as it likes: the container is its foreground program.
    Attached { stdin: bool, starter: bool },
    /// Carries the exec with this number.
    Exec(u32),
    /// Gets the exit status.
    Waiting,
    /// Gets nothing but the end of the connection.
    Following,
    /// Gets what is pending, then is closed.
    Leaving,
}

impl Client {
    pub(super) fn new(stream: UnixStream, role: Role) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (frames, out) = (Frames::default(), Vec::new());
        Ok(Self { stream, frames, out, role, stuck_since: None })
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.out.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= MAX_PENDING
    }

    pub(super) fn is_hopeless(&self, now: Duration) -> bool {
        // An exec's client holds up nobody but its own command.
        let holds_up_others = matches!(self.role, Role::Attached { starter: false, .. });
        holds_up_others && self.stuck_since.is_some_and(|since| now >= since + PATIENCE)
    }

    pub(super) fn send(&mut self, kind: Kind, body: &[u8]) {
        protocol::put(&mut self.out, kind, body);
    }

    pub(super) fn send_json<T: Serialize>(&mut self, kind: Kind, body: &T) {
        protocol::put_json(&mut self.out, kind, body);
    }

    /// Writes what it takes. `false`: it is gone.
    pub(super) fn flush(&mut self, now: Duration) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return false,
                Ok(written) => {
                    self.out.drain(..written);
                    self.stuck_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck_since.get_or_insert(now);
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.stuck_since = None;
        self.out.shrink_to(protocol::CHUNK);
        self.role != Role::Leaving
    }

    /// Reads what came. `false`: it is gone.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.frames.push(&buffer[..read]);
                true
            }
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            }
        }
    }

    /// The next frame that it sent. An error: it talks nonsense.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<(Kind, Vec<u8>)>> {
        self.frames.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a client that takes nothing; whether it is given up before and after ten seconds, and after
    /// it has taken something.
    fn check(role: Role, expected: [bool; 3]) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours, role).unwrap();
        let at = Duration::from_secs;
        while !client.is_full() {
            client.send(Kind::Stdout, &[0; 4096]);
            assert!(client.flush(at(100)));
        }
        let before = client.is_hopeless(at(109));
        let after = client.is_hopeless(at(110));
        theirs.read_exact(&mut [0; 64 << 10]).unwrap();
        assert!(client.flush(at(110)));
        assert_eq!([before, after, client.is_hopeless(at(111))], expected, "{role:?}");
    }

    #[test]
    fn only_who_came_later_is_given_up() {
        check(Role::Attached { stdin: false, starter: false }, [false, true, false]);
        check(Role::Exec(1), [false; 3]);
        check(Role::Attached { stdin: true, starter: true }, [false; 3]);
    }
}
