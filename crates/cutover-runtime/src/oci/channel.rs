//! What a child and its maker say to each other: small documents over a sequenced socket, perhaps with a descriptor.
//!
//! The front has one thread, so its children may allocate, unlike those of [`crate::init`].

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result, Told};

/// From a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Said {
    /// Its namespaces exist.
    Isolated,
    /// Its file systems exist: it waits for the sources of its bind mounts.
    Made,
    /// From the maker: the next source.
    Source,
    /// Everything is made; perhaps with the terminal.
    Ready,
    /// The program's process is this one.
    Forked(i32),
    /// `execve` is next: what follows is the end of the connection.
    Executing,
    /// It gave up.
    Failed(Told),
}

const LARGEST: usize = 64 << 10;

/// Connected, close-on-exec, above the standard streams.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let make = || {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let above = |fd: OwnedFd| rustix::io::fcntl_dupfd_cloexec(&fd, 3);
        Ok((above(a)?, above(b)?))
    };
    make().map_err(Error::step::<Errno>("create a", "socket"))
}

/// A listener that is gone is no error of the one who speaks.
pub(super) fn say(socket: BorrowedFd<'_>, said: &Said, fd: Option<BorrowedFd<'_>>) {
    let mut said = said.clone();
    if let Said::Failed(told) = &mut said {
        let short =
            (0..=4096.min(told.text.len())).rev().find(|&at| told.text.is_char_boundary(at));
        told.text.truncate(short.unwrap_or(0));
    }
    let text = serde_json::to_vec(&said).unwrap_or_default();
    let _gone = send(socket, &text, fd);
}

/// Bytes with a descriptor.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> std::result::Result<(), Errno> {
    let fds = fd.map(|fd| [fd]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result.map(drop),
        }
    }
}

/// The next words; `None` at the end.
pub(super) fn hear(socket: BorrowedFd<'_>) -> Result<Option<(Said, Option<OwnedFd>)>> {
    let mut bytes = vec![0; LARGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let buffer = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, buffer, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // It was killed with words of ours unread.
            Err(Errno::CONNRESET) => return Ok(None),
            result => break result.map_err(Error::step("hear from the", "child"))?,
        }
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if received.bytes == 0 {
        return Ok(None);
    }
    let said = serde_json::from_slice(&bytes[..received.bytes])
        .map_err(|error| Error::step("understand the", "child")(std::io::Error::from(error)))?;
    Ok(Some((said, fd)))
}

/// Maker: go on.
pub(super) fn go(socket: BorrowedFd<'_>) {
    // Who is gone is found out by `hear`.
    let _gone = rustix::net::send(socket, &[1], SendFlags::NOSIGNAL);
}

/// Child: whether to go on; `false` when the other end is gone.
pub(super) fn wait(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0u8; 1];
    loop {
        match rustix::io::read(socket, &mut byte) {
            Err(Errno::INTR) => {}
            result => return result == Ok(1),
        }
    }
}
