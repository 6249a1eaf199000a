//! Forgetting connections that the kernel tracks.
//!
//! The translation of a connection is decided once, at its first packet. So what is tracked
//! outlives a published port: a UDP client that was talking to the port before stays untranslated,
//! and after a container is gone a client that reuses a source port would be sent to the dead
//! address.

use std::net::Ipv4Addr;

use super::netlink::{Attributes, Message, NetlinkError, Reply, Socket};

// linux/netfilter/nfnetlink_conntrack.h
const CTNETLINK: u16 = 1 << 8;
const CT_GET: u16 = CTNETLINK | 1;
const CT_DELETE: u16 = CTNETLINK | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: u16 = 1;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION: u16 = 3;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const BY_SOURCE: u32 = 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_DESTINATION_PORT: u32 = 1 << 5;
const NFGEN: usize = 4;
const IPV4: [u8; 4] = [2, 0, 0, 0];
const UDP: u8 = 17;
/// Deletions per datagram.
const BATCH: usize = 256;

/// Forgets the connections that `ip` answers: all to a container, translated or not.
pub(crate) fn forget_answers_of(socket: &mut Socket, ip: Ipv4Addr) -> Result<(), NetlinkError> {
    let mut question = Message::new(CT_GET, 0, &IPV4);
    question.nest(TUPLE_REPLY, |tuple| {
        tuple.nest(TUPLE_IP, |part| {
            part.bytes(IP_SOURCE, &ip.octets());
        });
    });
    question.nest(FILTER, |filter| {
        filter.u32(FILTER_ORIGINAL, 0).u32(FILTER_REPLY, BY_SOURCE);
    });
    forget(socket, question, |tracked| {
        let source = tracked.nest(TUPLE_REPLY)?.nest(TUPLE_IP)?.get(IP_SOURCE)?;
        Some(source == ip.octets())
    })
}

/// Forgets the UDP conversations with `port` of whatever address.
pub(crate) fn forget_udp_port(socket: &mut Socket, port: u16) -> Result<(), NetlinkError> {
    let mut question = Message::new(CT_GET, 0, &IPV4);
    question.nest(TUPLE_ORIGINAL, |tuple| {
        tuple.nest(TUPLE_PROTOCOL, |part| {
            part.u8(PROTOCOL_NUMBER, UDP).bytes(PROTOCOL_DESTINATION, &port.to_be_bytes());
        });
    });
    question.nest(FILTER, |filter| {
        filter.u32(FILTER_ORIGINAL, BY_PROTOCOL | BY_DESTINATION_PORT).u32(FILTER_REPLY, 0);
    });
    forget(socket, question, |tracked| {
        let part = tracked.nest(TUPLE_ORIGINAL)?.nest(TUPLE_PROTOCOL)?;
        let is_udp = part.get(PROTOCOL_NUMBER)? == [UDP];
        Some(is_udp && part.get(PROTOCOL_DESTINATION)? == port.to_be_bytes())
    })
}

/// Lists by the kernel's filter (5.8 and later; before, it lists all), and again by `matches`.
/// Deleting by filter in one step takes 6.11.
fn forget(
    socket: &mut Socket,
    question: Message,
    matches: impl Fn(Attributes<'_>) -> Option<bool>,
) -> Result<(), NetlinkError> {
    let tracked = socket.dump(question)?;
    let deletions: Vec<Message> = tracked
        .iter()
        .filter(|reply| matches(reply.attributes(NFGEN)).unwrap_or(false))
        .filter_map(deletion)
        .collect();
    for batch in deletions.chunks(BATCH) {
        match socket.send(batch.to_vec()) {
            // it ended by itself meanwhile
            Err(error) if error.is(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

fn deletion(tracked: &Reply) -> Option<Message> {
    const NESTED: u16 = 0x8000;
    let tuple = tracked.attributes(NFGEN).get(TUPLE_ORIGINAL)?;
    let mut message = Message::new(CT_DELETE, 0, &IPV4);
    message.bytes(TUPLE_ORIGINAL | NESTED, tuple);
    Some(message)
}
