//! Lines and file descriptors over a unix socket, for both sides of the control protocol.
//!
//! Descriptors travel with the first byte of the line that announces them; the reader collects
//! them in order and hands them over with the line. All received descriptors are close-on-exec.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::{ListenerInfo, MAX_LINE};
use crate::listen::HeldListener;

/// How many sockets travel with one line at most; the kernel's own limit is 253.
pub(crate) const MAX_SOCKETS: usize = 250;

/// The longest path that fits into `sockaddr_un`.
const MAX_SUN_PATH: usize = 107;

/// Collects bytes and descriptors until a line is complete.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    sockets: Vec<OwnedFd>,
    /// How much of `bytes` has no newline.
    searched: usize,
}

impl LineBuffer {
    /// The first complete line without its newline, and every descriptor that came with it.
    pub(crate) fn take_line(&mut self) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
        let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + end;
        let rest = self.bytes.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.pop();
        self.searched = 0;
        Some((line, std::mem::take(&mut self.sockets)))
    }

    /// Receives once. `Ok(false)`: the peer has closed.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        if self.bytes.len() > MAX_LINE {
            let message = format!("control line is longer than {MAX_LINE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut chunk = [0; 16 << 10];
        let received = receive_chunk(socket, &mut chunk, &mut self.sockets)?;
        if self.sockets.len() > MAX_SOCKETS {
            let message = format!("more than {MAX_SOCKETS} sockets in one control line");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.bytes.extend_from_slice(&chunk[..received]);
        Ok(received > 0)
    }
}

fn receive_chunk(
    socket: BorrowedFd<'_>,
    chunk: &mut [u8],
    sockets: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [io::IoSliceMut::new(chunk)];
    let received =
        rustix::net::recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    Ok(received)
}

/// Sends once, with the descriptors at the first byte; returns how much was sent.
pub(crate) fn send_chunk(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    sockets: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(sockets)) {
        let message = format!("more than {MAX_SOCKETS} sockets to send");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let parts = &[io::IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(socket, parts, &mut ancillary, SendFlags::NOSIGNAL)?)
}

/// Sends a whole line over a blocking socket.
pub(crate) fn send_line(
    socket: &UnixStream,
    line: &[u8],
    sockets: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut sent = 0;
    while sent < line.len() {
        let sockets = if sent == 0 { sockets } else { &[] };
        sent += match send_chunk(socket.as_fd(), &line[sent..], sockets) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
    }
    Ok(())
}

/// Receives a whole line over a blocking socket. `None`: the peer closed before it was complete.
pub(crate) fn receive_line(
    socket: &UnixStream,
    buffer: &mut LineBuffer,
) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    loop {
        if let Some(line) = buffer.take_line() {
            return Ok(Some(line));
        }
        match buffer.receive(socket.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(false) => return Ok(None),
            other => _ = other?,
        }
    }
}

/// Joins what a line announced with what came beside it.
pub(crate) fn pair(
    infos: Vec<ListenerInfo>,
    sockets: Vec<OwnedFd>,
) -> io::Result<Vec<HeldListener>> {
    if infos.len() != sockets.len() {
        let message = format!("{} sockets announced, {} received", infos.len(), sockets.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(infos.into_iter().zip(sockets).map(|(info, socket)| HeldListener { info, socket }).collect())
}

/// Sends listening sockets to a process that will be a proxy: the other end is its
/// [`crate::ProxyOptions::sockets_from`], for example its standard input.
pub fn send_listeners(to: &UnixStream, listeners: &[HeldListener]) -> io::Result<()> {
    let infos: Vec<_> = listeners.iter().map(|listener| listener.info.clone()).collect();
    let sockets: Vec<_> = listeners.iter().map(|listener| listener.socket.as_fd()).collect();
    let mut line = serde_json::to_vec(&infos)?;
    line.push(b'\n');
    send_line(to, &line, &sockets)
}

/// Receives what [`send_listeners`] sent.
pub fn recv_listeners(from: &UnixStream) -> io::Result<Vec<HeldListener>> {
    let Some((line, sockets)) = receive_line(from, &mut LineBuffer::default())? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    pair(serde_json::from_slice(&line)?, sockets)
}

/// A path for the same socket that fits into a socket address, and what keeps it valid.
pub(crate) fn short_path(path: &Path) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().len() <= MAX_SUN_PATH {
        return Ok((path.to_owned(), None));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = OwnedFd::from(fs_err::File::open(folder)?.into_parts().0);
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    Ok((Path::new(&format!("/proc/self/fd/{number}")).join(name), Some(folder)))
}
