//! The expressions of a rule as data, and their encoding.

use std::net::Ipv4Addr;

use super::object::{NFTA_LIST_ELEM, SetName};
use crate::net::cidr::Cidr;
use crate::net::netlink::Message;

// linux/netfilter/nf_tables.h
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 2;
const VERDICT_REGISTER: u32 = 0;
/// The first of the sixteen 4-byte registers.
const REGISTER: u32 = 8;
const RTN_LOCAL: u32 = 2;
/// `IPS_DST_NAT`
const STATUS_DNAT: u32 = 1 << 5;
/// Established (2) and related (4).
const STATE_KNOWN: u32 = 2 | 4;
const IFNAMSIZ: usize = 16;

/// One step of a rule; a rule is done at the first one that does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    /// The packet came in by this link.
    FromLink(String),
    NotFromLink(String),
    /// The packet goes out by this link.
    ToLink(String),
    NotToLink(String),
    Source(Cidr),
    Destination(Cidr),
    /// The destination is an address of this host.
    ToThisHost,
    Protocol(u8),
    DestinationPort(u16),
    /// The connection is established, or related to one that is.
    Known,
    /// The connection's destination was translated: it came by a published port.
    Translated,
    /// Looks the destination up in a map of published ports, and translates it if found.
    Dnat(SetName),
    Masquerade,
    /// iptables shows rules without one as damaged.
    Counter,
    Accept,
    Drop,
}

impl Expr {
    /// Appends the expression to a list.
    pub(super) fn encode(&self, list: &mut Message) {
        match self {
            Self::FromLink(name) => link_is(list, META_IIFNAME, CMP_EQ, name),
            Self::NotFromLink(name) => link_is(list, META_IIFNAME, CMP_NEQ, name),
            Self::ToLink(name) => link_is(list, META_OIFNAME, CMP_EQ, name),
            Self::NotToLink(name) => link_is(list, META_OIFNAME, CMP_NEQ, name),
            Self::Source(cidr) => address_in(list, 12, cidr),
            Self::Destination(cidr) => address_in(list, 16, cidr),
            Self::ToThisHost => {
                expression(list, "fib", |data| {
                    data.be32(1, REGISTER).be32(2, FIB_ADDRTYPE).be32(3, FIB_DADDR);
                });
                compare(list, CMP_EQ, &RTN_LOCAL.to_ne_bytes());
            }
            Self::Protocol(number) => {
                meta(list, META_L4PROTO, REGISTER);
                compare(list, CMP_EQ, &[*number]);
            }
            Self::DestinationPort(port) => {
                payload(list, TRANSPORT_HEADER, 2, 2, REGISTER);
                compare(list, CMP_EQ, &port.to_be_bytes());
            }
            Self::Known => connection_has(list, CT_STATE, STATE_KNOWN),
            Self::Translated => connection_has(list, CT_STATUS, STATUS_DNAT),
            Self::Dnat(map) => dnat(list, *map),
            Self::Masquerade => expression(list, "masq", |_| {}),
            Self::Counter => expression(list, "counter", |_| {}),
            Self::Accept => verdict(list, 1),
            Self::Drop => verdict(list, 0),
        }
    }
}

/// `ip daddr . meta l4proto . th dport map @…`, or without the address.
fn dnat(list: &mut Message, map: SetName) {
    let mut register = REGISTER;
    if map == SetName::PublishedOn {
        payload(list, NETWORK_HEADER, 16, 4, register);
        register += 1;
    }
    meta(list, META_L4PROTO, register);
    payload(list, TRANSPORT_HEADER, 2, 2, register + 1);
    expression(list, "lookup", |data| {
        data.text(1, map.as_str()).be32(2, REGISTER).be32(3, REGISTER);
    });
    expression(list, "nat", |data| {
        // destination, IPv4, address and port as the map gave them
        data.be32(1, 1).be32(2, 2).be32(3, REGISTER).be32(5, REGISTER + 1);
    });
}

fn link_is(list: &mut Message, key: u32, operation: u32, name: &str) {
    let mut padded = [0; IFNAMSIZ];
    let length = name.len().min(IFNAMSIZ - 1);
    padded[..length].copy_from_slice(&name.as_bytes()[..length]);
    meta(list, key, REGISTER);
    compare(list, operation, &padded);
}

fn address_in(list: &mut Message, offset: u32, cidr: &Cidr) {
    payload(list, NETWORK_HEADER, offset, 4, REGISTER);
    if cidr.prefix() < 32 {
        mask(list, cidr.mask().octets(), Ipv4Addr::UNSPECIFIED.octets());
    }
    compare(list, CMP_EQ, &cidr.address().octets());
}

fn connection_has(list: &mut Message, key: u32, bits: u32) {
    expression(list, "ct", |data| {
        data.be32(1, REGISTER).be32(2, key);
    });
    mask(list, bits.to_ne_bytes(), [0; 4]);
    compare(list, CMP_NEQ, &[0; 4]);
}

fn meta(list: &mut Message, key: u32, register: u32) {
    expression(list, "meta", |data| {
        data.be32(1, register).be32(2, key);
    });
}

fn payload(list: &mut Message, base: u32, offset: u32, length: u32, register: u32) {
    expression(list, "payload", |data| {
        data.be32(1, register).be32(2, base).be32(3, offset).be32(4, length);
    });
}

fn mask(list: &mut Message, mask: [u8; 4], xor: [u8; 4]) {
    expression(list, "bitwise", |data| {
        data.be32(1, REGISTER).be32(2, REGISTER).be32(3, 4);
        value(data, 4, &mask);
        value(data, 5, &xor);
    });
}

fn compare(list: &mut Message, operation: u32, with: &[u8]) {
    expression(list, "cmp", |data| {
        data.be32(1, REGISTER).be32(2, operation);
        value(data, 3, with);
    });
}

fn verdict(list: &mut Message, code: u32) {
    expression(list, "immediate", |data| {
        data.be32(1, VERDICT_REGISTER).nest(2, |outcome| {
            outcome.nest(NFTA_DATA_VERDICT, |verdict| {
                verdict.be32(NFTA_VERDICT_CODE, code);
            });
        });
    });
}

/// A literal as a nested attribute.
pub(super) fn value(message: &mut Message, kind: u16, bytes: &[u8]) {
    message.nest(kind, |data| {
        data.bytes(NFTA_DATA_VALUE, bytes);
    });
}

fn expression(list: &mut Message, name: &str, data: impl FnOnce(&mut Message)) {
    list.nest(NFTA_LIST_ELEM, |element| {
        element.text(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, data);
    });
}
