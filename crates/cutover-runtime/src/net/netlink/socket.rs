//! Sending and waiting for the answer.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use super::{Message, NetlinkError, Reply, flags};
use crate::sys;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// Flag of an error message: the kernel's attributes follow.
const HAS_ATTRIBUTES: u16 = 0x200;
/// Attribute of an error message: a sentence.
const ERROR_TEXT: u16 = 1;
/// Flag of a list's messages: the list changed meanwhile and may lack something.
const INTERRUPTED: u16 = 0x10;
const DUMP_TRIES: u32 = 64;
/// Length of the error number and the header of the refused request.
const ERROR_HEADER: usize = 20;
/// The kernel fills at most 32 KiB per datagram of a dump.
const RECEIVE: usize = 64 * 1024;
/// The kernel answers before `send` returns, so this only turns a bug into an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// A netlink socket of one family, in the network namespace where it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Links, addresses and routes.
    pub(crate) fn route() -> Result<Self, NetlinkError> {
        Self::open(None) // `NETLINK_ROUTE` is protocol 0
    }

    /// nf_tables and conntrack.
    ///
    /// **Closing it may take 7–19 ms**: the kernel waits there for the destruction of whatever
    /// nf_tables objects were deleted shortly before, by anyone. Close it where nobody waits.
    pub(crate) fn netfilter() -> Result<Self, NetlinkError> {
        let socket = Self::open(Some(netlink::NETFILTER))?;
        // a batch is one datagram, and a ruleset may be larger than the default send buffer
        sockopt::set_socket_send_buffer_size_force(&socket.fd, 4 << 20)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&socket.fd, 4 << 20))
            .map_err(std::io::Error::from)?;
        Ok(socket)
    }

    fn open(protocol: impl Into<Option<rustix::net::Protocol>>) -> Result<Self, NetlinkError> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol.into(),
        )
        .map_err(std::io::Error::from)?;
        sys::netlink::explain_errors(fd.as_fd())?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(std::io::Error::from)?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE] })
    }

    /// Sends all messages at once; the kernel works through them in order.
    ///
    /// The first refusal is returned, but messages after it were tried too (rtnetlink has no
    /// transactions).
    pub(crate) fn send(&mut self, messages: Vec<Message>) -> Result<(), NetlinkError> {
        let Some(last) = messages.len().checked_sub(1) else { return Ok(()) };
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            // errors are always reported, so one acknowledgement covers the batch
            let ack = if index == last { flags::ACK } else { 0 };
            datagram.extend(message.seal(self.next(), ack));
        }
        self.write(&datagram)?;
        self.await_ack(first, self.sequence)
    }

    /// Sends the messages as one nf_tables transaction: all of them happen, or none.
    pub(crate) fn transact(&mut self, messages: Vec<Message>) -> Result<(), NetlinkError> {
        // nfgenmsg: no family, version 0, subsystem nf_tables in network order
        let frame = |kind| Message::new(kind, 0, &[0, 0, 0, 10]);
        let Some(last) = messages.len().checked_sub(1) else { return Ok(()) };
        let begin = self.next();
        let mut datagram = frame(BATCH_BEGIN).seal(begin, 0);
        for (index, message) in messages.into_iter().enumerate() {
            let ack = if index == last { flags::ACK } else { 0 };
            datagram.extend(message.seal(self.next(), ack));
        }
        let end = self.sequence;
        datagram.extend(frame(BATCH_END).seal(self.next(), 0));
        self.write(&datagram)?;
        // an error in the name of the opening frame means that nothing else will be answered
        self.await_ack(begin, end).map_err(|error| match error {
            NetlinkError::Refused { index, errno, text } => {
                NetlinkError::Refused { index: index.saturating_sub(1), errno, text }
            }
            other => other,
        })
    }

    /// Asks for one thing; `None` if it does not exist.
    pub(crate) fn get(&mut self, question: Message) -> Result<Option<Reply>, NetlinkError> {
        let sequence = self.next();
        self.write(&question.seal(sequence, 0))?;
        loop {
            for reply in self.read()? {
                match reply.kind {
                    _ if reply.sequence != sequence => {}
                    ERROR => {
                        return match refusal(&reply, 0) {
                            Some(error) if error.is(libc::ENOENT) || error.is(libc::ENODEV) => {
                                Ok(None)
                            }
                            Some(error) => Err(error),
                            None => Ok(None),
                        };
                    }
                    _ => return Ok(Some(reply)),
                }
            }
        }
    }

    /// Asks for a list, again if it changed while it was being read.
    pub(crate) fn dump(&mut self, question: Message) -> Result<Vec<Reply>, NetlinkError> {
        for _ in 0..DUMP_TRIES {
            let list = self.dump_once(question.clone())?;
            if !list.iter().any(|reply| reply.flags & INTERRUPTED != 0) {
                return Ok(list);
            }
        }
        Err(NetlinkError::Malformed("the list never stopped changing"))
    }

    fn dump_once(&mut self, question: Message) -> Result<Vec<Reply>, NetlinkError> {
        let sequence = self.next();
        self.write(&question.seal(sequence, flags::DUMP))?;
        let mut list = Vec::new();
        loop {
            for reply in self.read()? {
                match reply.kind {
                    _ if reply.sequence != sequence => {}
                    DONE if reply.flags & INTERRUPTED != 0 => {
                        list.push(reply);
                        return Ok(list);
                    }
                    DONE if reply.u32(0).is_none() => return Ok(list),
                    DONE | ERROR => match refusal(&reply, 0) {
                        Some(error) => return Err(error),
                        None => return Ok(list),
                    },
                    _ => list.push(reply),
                }
            }
        }
    }

    /// Reads answers to `first..=last` until the last one's, or one to `first` that is an error and
    /// may be the only one.
    fn await_ack(&mut self, first: u32, last: u32) -> Result<(), NetlinkError> {
        let mut failed = None;
        loop {
            for reply in self.read()? {
                let index = reply.sequence.wrapping_sub(first);
                if reply.kind != ERROR || index > last.wrapping_sub(first) {
                    continue; // left over from an earlier batch that failed as a whole
                }
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let error = refusal(&reply, index);
                let ends = reply.sequence == last || (index == 0 && error.is_some());
                failed = failed.or(error);
                if ends {
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn write(&self, datagram: &[u8]) -> Result<(), NetlinkError> {
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, datagram, SendFlags::empty()))
                .map_err(std::io::Error::from)?;
        if sent == datagram.len() {
            Ok(())
        } else {
            Err(NetlinkError::Malformed("it took only a part of the request"))
        }
    }

    fn read(&mut self) -> Result<Vec<Reply>, NetlinkError> {
        let length =
            rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, self.buffer.as_mut_slice()))
                .map_err(std::io::Error::from)?;
        Ok(Reply::split(&self.buffer[..length]))
    }
}

/// The error that an error message reports; `None` for an acknowledgement.
fn refusal(reply: &Reply, index: usize) -> Option<NetlinkError> {
    let Some(code) = reply.u32(0) else {
        return Some(NetlinkError::Malformed("an error without a number"));
    };
    let errno = code.cast_signed().wrapping_neg();
    if errno == 0 {
        return None;
    }
    let text = (reply.flags & HAS_ATTRIBUTES != 0)
        .then(|| reply.attributes(ERROR_HEADER).text(ERROR_TEXT))
        .flatten()
        .unwrap_or_default();
    Some(NetlinkError::Refused { index, errno, text })
}
