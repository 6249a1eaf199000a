//! What is said on a shim's socket: frames of a kind, a length and bytes.
//!
//! A client sends one [`Request`], the shim answers with one [`Reply`]; then, by the request, streams flow
//! until [`Kind::Exit`]. Both sides are the same program of the same version or its successor:
//! requests are JSON, so a newer client can talk to an older shim.

use std::io;

use serde::{Deserialize, Serialize};

use crate::container::ExecOptions;

/// A stream frame carries at most this; also the size of reads.
pub(crate) const CHUNK: usize = 32 << 10;
/// Bounds requests (an exec's environment) and so the memory that a client can take.
const MAX_FRAME: usize = 1 << 20;
const HEADER: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request = 1,
    Stdin = 2,
    StdinEnd = 3,
    /// Rows and columns, two `u16`.
    Resize = 4,
    Reply = 16,
    Stdout = 17,
    Stderr = 18,
    /// An [`crate::container::ExitStatus`].
    Exit = 19,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Only on the connection that a shim is born with.
    Start {
        attach: bool,
        stdin: bool,
        size: Option<(u16, u16)>,
    },
    Attach {
        stdin: bool,
    },
    Exec(ExecOptions),
    Kill {
        signal: i32,
    },
    /// `None`: the container's own timeout. Answered at once, then an exit.
    Stop {
        timeout_ms: Option<u64>,
    },
    /// Answered at once, then an exit.
    Wait,
    /// Answered at once; then nothing until the shim is gone.
    Follow,
    Pause,
    Unpause,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Ok,
    /// A process could not be executed, or not be made: docker's exit code says which.
    Failed {
        code: i32,
        reason: String,
    },
    /// It cannot be asked now.
    Refused {
        reason: String,
    },
}

/// Bytes as they come in → frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if any.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Kind, Vec<u8>)>> {
        let Some((header, rest)) = self.buffer.split_at_checked(HEADER) else { return Ok(None) };
        let kind = kind_of(header[0]).ok_or_else(|| broken("a frame of unknown kind"))?;
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(broken("a frame that is too long"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let body = rest[..length].to_vec();
        self.buffer.drain(..HEADER + length);
        self.buffer.shrink_to(CHUNK);
        Ok(Some((kind, body)))
    }
}

/// Appends a frame to `out`.
pub(crate) fn put(out: &mut Vec<u8>, kind: Kind, body: &[u8]) {
    out.push(kind as u8);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(body);
}

/// Appends a frame whose body is JSON.
pub(crate) fn put_json<T: Serialize>(out: &mut Vec<u8>, kind: Kind, body: &T) {
    put(out, kind, &serde_json::to_vec(body).expect("plain data is JSON"));
}

pub(crate) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the other side sent {what}"))
}

fn kind_of(byte: u8) -> Option<Kind> {
    use Kind::{Exit, Reply, Request, Resize, Stderr, Stdin, StdinEnd, Stdout};
    [Request, Stdin, StdinEnd, Resize, Reply, Stdout, Stderr, Exit]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        put_json(&mut bytes, Kind::Request, &Request::Kill { signal: 15 });
        put(&mut bytes, Kind::Stdin, b"abc");
        put(&mut bytes, Kind::StdinEnd, b"");
        for size in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.next().unwrap() {
                    seen.push(frame);
                }
            }
            let request = serde_json::from_slice(&seen[0].1).ok();
            assert_eq!(request, Some(Request::Kill { signal: 15 }));
            assert_eq!(seen[1..], [(Kind::Stdin, b"abc".to_vec()), (Kind::StdinEnd, vec![])]);
        }
    }

    #[test]
    fn refuses_nonsense() {
        let check = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.push(bytes);
            assert!(frames.next().is_err(), "{bytes:?}");
        };
        check(&[0, 0, 0, 0, 0]);
        check(b"GET / HTTP/1.1\r\n");
        check(&[1, 0xff, 0xff, 0xff, 0xff]);
    }
}
