//! A way from a step's container to an ssh agent of the host.
//!
//! The container gets a socket of ours. Of the agent's protocol (frames of a length and a message)
//! only what uses keys passes: listing them and signing. Adding, removing and locking are refused,
//! so that a step cannot change the agent of who builds.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Messages of the protocol.
const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
/// OpenSSH's own limit of a message.
const MAX_FRAME: u32 = 256 * 1024;
/// Connections at a time; more are closed.
const MAX_CONNECTIONS: usize = 64;

/// A socket that leads to an agent, until it is dropped.
#[derive(Debug)]
pub(super) struct Forward {
    listener: Arc<UnixListener>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    ended: AtomicBool,
    /// What is to be shut down in the end.
    open: Mutex<Vec<UnixStream>>,
}

/// Permissions and owner of the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Forward {
    /// Makes the socket `path`, which leads to the agent that listens on `agent`.
    pub(super) fn open(path: &Path, agent: PathBuf, access: Access) -> io::Result<Self> {
        // An agent that is not there is said now, not by a puzzled `ssh`.
        drop(UnixStream::connect(&agent)?);
        let listener = Arc::new(UnixListener::bind(path)?);
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(access.mode))?;
        std::os::unix::fs::chown(path, Some(access.uid), Some(access.gid))?;
        let state = Arc::new(State::default());
        let (accepting, shared) = (Arc::clone(&listener), Arc::clone(&state));
        let thread = std::thread::spawn(move || accept(&accepting, &agent, &shared));
        Ok(Self { listener, state, thread: Some(thread) })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // It wakes `accept`; a failure means that it is awake.
        let _awake = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl State {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<UnixStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &UnixListener, agent: &Path, state: &State) {
    std::thread::scope(|scope| {
        while let Ok((client, _)) = listener.accept() {
            if state.ended.load(Ordering::SeqCst) || state.open().len() >= 2 * MAX_CONNECTIONS {
                continue;
            }
            scope.spawn(move || {
                let inode = |stream: &UnixStream| rustix::fs::fstat(stream).map(|s| s.st_ino).ok();
                let Ok(agent) = UnixStream::connect(agent) else { return };
                let kept = [client.try_clone(), agent.try_clone()];
                let ours = [inode(&client), inode(&agent)];
                state.open().extend(kept.into_iter().flatten());
                if let Err(error) = serve(client, agent) {
                    tracing::debug!(%error, "a connection to the ssh agent ended");
                }
                state.open().retain(|stream| !ours.contains(&inode(stream)));
            });
            // Whoever came between the end and this line would be waited for.
        }
        for stream in state.open().iter() {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    });
}

fn serve(mut client: UnixStream, mut agent: UnixStream) -> io::Result<()> {
    while let Some(request) = frame(&mut client)? {
        let reply = match request.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                send(&mut agent, &request)?;
                frame(&mut agent)?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
            _ => vec![FAILURE],
        };
        send(&mut client, &reply)?;
    }
    Ok(())
}

/// One message; `None` at the end.
fn frame(from: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

fn send(to: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_long| io::ErrorKind::InvalidData)?;
    to.write_all(&[&length.to_be_bytes(), message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that says which message it got, once per connection.
    fn agent(path: &Path) -> JoinHandle<()> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            // The first connection is the look whether somebody is there.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                while let Ok(Some(message)) = frame(&mut stream) {
                    send(&mut stream, &[b'a', message[0]]).unwrap();
                }
            }
        })
    }

    #[test]
    fn keys_are_used_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (agent_path, path) = (dir.path().join("agent"), dir.path().join("ours"));
        let agent = agent(&agent_path);
        let access = Access { mode: 0o640, uid: 3, gid: 4 };
        let forward = Forward::open(&path, agent_path, access).unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        assert_eq!((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (0o640, 3, 4));
        let mut client = UnixStream::connect(&path).unwrap();
        let mut ask = |message: &[u8]| {
            send(&mut client, message).unwrap();
            frame(&mut client).unwrap().unwrap()
        };
        assert_eq!(ask(&[REQUEST_IDENTITIES]), [b'a', REQUEST_IDENTITIES]);
        assert_eq!(ask(&[SIGN_REQUEST, 1, 2]), [b'a', SIGN_REQUEST]);
        // Remove all identities, add one, lock.
        for refused in [19, 17, 22, 27] {
            assert_eq!(ask(&[refused]), [FAILURE]);
        }
        assert_eq!(ask(&[]), [FAILURE]);
        // A client that stays does not keep the step from ending.
        drop(forward);
        assert!(frame(&mut client).unwrap().is_none());
        agent.join().unwrap();
    }

    #[test]
    fn an_agent_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let access = Access { mode: 0o600, uid: 0, gid: 0 };
        Forward::open(&dir.path().join("ours"), dir.path().join("none"), access).unwrap_err();
    }
}
