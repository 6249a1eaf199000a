//! [`Connection`]: one conversation with a shim, blocking.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::container::ExitStatus;
use crate::shim::protocol::{self, Frames, Kind, Reply, Request, broken};

/// One conversation with a shim, blocking.
#[derive(Debug)]
pub(in crate::container) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) frames: Frames,
}

impl Connection {
    pub(in crate::container) fn new(stream: UnixStream) -> Self {
        Self { stream, frames: Frames::default() }
    }

    pub(in crate::container) fn into_stream(self) -> UnixStream {
        self.stream
    }

    pub(in crate::container) fn request(&mut self, request: &Request) -> io::Result<()> {
        let mut bytes = Vec::new();
        protocol::put_json(&mut bytes, Kind::Request, request);
        self.stream.write_all(&bytes)
    }

    pub(in crate::container) fn reply(&mut self) -> io::Result<Reply> {
        match self.frame()? {
            (Kind::Reply, body) => Ok(serde_json::from_slice(&body)?),
            _ => Err(broken("something before its answer")),
        }
    }

    pub(in crate::container) fn exit(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let (Kind::Exit, body) = self.frame()? {
                return Ok(serde_json::from_slice(&body)?);
            }
        }
    }

    fn frame(&mut self) -> io::Result<(Kind, Vec<u8>)> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(frame);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.frames.push(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
