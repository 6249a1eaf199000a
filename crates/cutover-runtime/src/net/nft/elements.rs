//! Published ports as elements of the table's two maps.

use std::net::Ipv4Addr;

use super::expr::value;
use super::object::{NFGEN, NFTA_LIST_ELEM, SetName, message};
use crate::net::netlink::{Message, Reply, flags};
use crate::net::types::PublishedPort;

const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;
const NFTA_ELEMENTS_TABLE: u16 = 1;
const NFTA_ELEMENTS_SET: u16 = 2;
const NFTA_ELEMENTS: u16 = 3;
const NFTA_ELEM_KEY: u16 = 1;
const NFTA_ELEM_DATA: u16 = 2;
/// An attribute holds at most 64 KiB, and an element takes up to 56 bytes.
const PER_MESSAGE: usize = 500;

/// One element: key and data as the kernel has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    pub(super) set: SetName,
    pub(super) key: Vec<u8>,
    pub(super) data: Vec<u8>,
}

impl Element {
    /// `port` of the host leads to `ip`.
    pub(super) fn new(port: &PublishedPort, ip: Ipv4Addr) -> Self {
        // each part of a key or a value fills whole 4-byte registers
        let [high, low] = port.host_port.to_be_bytes();
        let mut key = vec![port.protocol.number(), 0, 0, 0, high, low, 0, 0];
        let mut set = SetName::Published;
        if !port.host_ip.is_unspecified() {
            set = SetName::PublishedOn;
            key.splice(0..0, port.host_ip.octets());
        }
        let [high, low] = port.container_port.to_be_bytes();
        let [a, b, c, d] = ip.octets();
        Self { set, key, data: vec![a, b, c, d, high, low, 0, 0] }
    }
}

/// Messages that add the elements; one that is there with the same data is left as it is.
pub(super) fn add(table: &str, elements: &[Element]) -> Vec<Message> {
    messages(table, elements, NEWSETELEM, flags::CREATE, true)
}

/// Messages that delete the elements, which must all exist.
pub(super) fn delete(table: &str, elements: &[Element]) -> Vec<Message> {
    messages(table, elements, DELSETELEM, 0, false)
}

pub(super) fn list(table: &str, set: SetName) -> Message {
    let mut message = message(GETSETELEM, 0);
    message.text(NFTA_ELEMENTS_TABLE, table).text(NFTA_ELEMENTS_SET, set.as_str());
    message
}

/// The elements in one reply to [`list`].
pub(super) fn found(reply: &Reply, set: SetName) -> Vec<Element> {
    let Some(elements) = reply.attributes(NFGEN).nest(NFTA_ELEMENTS) else { return Vec::new() };
    let bytes = |element: crate::net::netlink::Attributes<'_>, kind| {
        element.nest(kind).and_then(|nest| nest.get(1)).map(<[u8]>::to_vec)
    };
    elements
        .iter()
        .map(|(_, element)| crate::net::netlink::Attributes::new(element))
        .filter_map(|element| {
            let key = bytes(element, NFTA_ELEM_KEY)?;
            let data = bytes(element, NFTA_ELEM_DATA)?;
            Some(Element { set, key, data })
        })
        .collect()
}

fn messages(
    table: &str,
    elements: &[Element],
    kind: u16,
    flags: u16,
    with_data: bool,
) -> Vec<Message> {
    let mut messages = Vec::new();
    for set in [SetName::PublishedOn, SetName::Published] {
        let of_set: Vec<&Element> = elements.iter().filter(|element| element.set == set).collect();
        for chunk in of_set.chunks(PER_MESSAGE) {
            let mut message = message(kind, flags);
            message.text(NFTA_ELEMENTS_TABLE, table).text(NFTA_ELEMENTS_SET, set.as_str());
            message.nest(NFTA_ELEMENTS, |list| {
                for element in chunk {
                    list.nest(NFTA_LIST_ELEM, |nest| {
                        value(nest, NFTA_ELEM_KEY, &element.key);
                        if with_data {
                            value(nest, NFTA_ELEM_DATA, &element.data);
                        }
                    });
                }
            });
            messages.push(message);
        }
    }
    messages
}
