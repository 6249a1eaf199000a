//! Links, addresses and routes: what rtnetlink is asked for.
//!
//! [`Links`] works in the network namespace where it was opened.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use super::cidr::Cidr;
use super::netlink::{Message, NetlinkError, Reply, Socket, flags};
use super::types::Mac;

// linux/if_link.h, linux/rtnetlink.h, linux/veth.h
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const IFINFO: usize = 16;
const RTMSG: usize = 12;
const UP: u32 = 1;
/// `RTEXT_FILTER_SKIP_STATS`
const NO_STATISTICS: u32 = 1 << 3;
const OPERATIONAL: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const NO_ADDRESS: u8 = 1;
const CARRIER_POLL: Duration = Duration::from_micros(200);

/// A link as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) alias: String,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Its carrier was noticed: packets pass.
    pub(crate) operational: bool,
}

/// A route as found; `destination` has prefix 0 for a default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Cidr,
    pub(crate) link: u32,
}

/// A pair of links: one end on the bridge, the other born in the container as `inside`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) outside: &'a str,
    pub(crate) inside: &'a str,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    pub(crate) bridge: u32,
    pub(crate) netns: BorrowedFd<'a>,
}

#[derive(Debug)]
pub(crate) struct Links {
    socket: Socket,
}

impl Links {
    /// In the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::route()? })
    }

    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut question = Message::new(RTM_GETLINK, 0, &ifinfo(0, 0));
        question.text(IFLA_IFNAME, name).u32(IFLA_EXT_MASK, NO_STATISTICS);
        Ok(self.socket.get(question)?.as_ref().and_then(link))
    }

    /// All links, by index.
    pub(crate) fn list(&mut self) -> Result<BTreeMap<u32, Link>, NetlinkError> {
        let replies = self.socket.dump(Message::new(RTM_GETLINK, 0, &ifinfo(0, 0)))?;
        Ok(replies.iter().filter_map(link).map(|link| (link.index, link)).collect())
    }

    /// Every IPv4 route in every table.
    pub(crate) fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let mut body = [0; RTMSG];
        body[0] = AF_INET;
        let replies = self.socket.dump(Message::new(RTM_GETROUTE, 0, &body))?;
        Ok(replies.iter().filter_map(route).collect())
    }

    /// A bridge with a fixed hardware address (else it changes with the ports) and no forward
    /// delay (else a container cannot talk in its first seconds).
    pub(crate) fn add_bridge(
        &mut self,
        name: &str,
        mac: Mac,
        mtu: u32,
        alias: &str,
    ) -> Result<(), NetlinkError> {
        let mut create = Message::new(RTM_NEWLINK, flags::CREATE | flags::EXCL, &ifinfo(0, 0));
        create.text(IFLA_IFNAME, name).bytes(IFLA_ADDRESS, &mac.0).u32(IFLA_MTU, mtu);
        create.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "bridge").nest(IFLA_INFO_DATA, |data| {
                data.u32(IFLA_BR_FORWARD_DELAY, 0);
            });
        });
        // the kernel takes an alias only for a link that exists
        let mut mark = Message::new(RTM_NEWLINK, 0, &ifinfo(0, 0));
        mark.text(IFLA_IFNAME, name).text(IFLA_IFALIAS, alias);
        self.socket.send(vec![create, mark])
    }

    /// Gives the link an address in `subnet` and sets it up.
    pub(crate) fn address_and_up(
        &mut self,
        link: u32,
        address: Ipv4Addr,
        subnet: &Cidr,
    ) -> Result<(), NetlinkError> {
        self.socket.send(vec![add_address(link, address, subnet), set_up(link)])
    }

    pub(crate) fn up(&mut self, link: u32) -> Result<(), NetlinkError> {
        self.socket.send(vec![set_up(link)])
    }

    /// Loopback has index 1 in every network namespace.
    pub(crate) fn loopback_up(&mut self) -> Result<(), NetlinkError> {
        self.up(1)
    }

    /// One message makes both ends and puts the outer one on the bridge; a second sets it up.
    ///
    /// Hairpin mode: with br_netfilter on (docker turns it on), a container that reaches itself
    /// through its published port is bridged back to the port that it came from.
    /// One queue: the default is one per processor, each with its own sysfs folder.
    pub(crate) fn add_pair(&mut self, pair: &Pair<'_>) -> Result<(), NetlinkError> {
        let Pair { outside, inside, mac, mtu, bridge, netns } = *pair;
        let netns = netns.as_raw_fd().cast_unsigned();
        let mut create = Message::new(RTM_NEWLINK, flags::CREATE | flags::EXCL, &ifinfo(0, 0));
        create.text(IFLA_IFNAME, outside).u32(IFLA_MTU, mtu).u32(IFLA_MASTER, bridge);
        create.u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1);
        create.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&ifinfo(0, 0)).text(IFLA_IFNAME, inside);
                    peer.bytes(IFLA_ADDRESS, &mac.0).u32(IFLA_MTU, mtu);
                    peer.u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1);
                    peer.u32(IFLA_NET_NS_FD, netns);
                });
            });
        });
        let mut join = Message::new(RTM_NEWLINK, 0, &ifinfo(0, UP));
        join.text(IFLA_IFNAME, outside);
        join.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |data| {
                data.u8(IFLA_BRPORT_MODE, 1);
            });
        });
        join.nest(IFLA_AF_SPEC, |families| {
            families.nest(AF_INET6, |inet6| {
                inet6.u8(IFLA_INET6_ADDR_GEN_MODE, NO_ADDRESS);
            });
        });
        self.socket.send(vec![create, join])
    }

    /// Waits until packets pass through the link, at most a second.
    ///
    /// The kernel notices a carrier later, in the background, and until then a bridge port is
    /// disabled and a queue drops all; the container's first connection would lose its first packet
    /// and wait a second. Being asked makes the kernel (6.8 and later) look at once.
    pub(crate) fn await_carrier(&mut self, name: &str) -> Result<(), NetlinkError> {
        for _ in 0..5_000 {
            match self.find(name)? {
                Some(link) if !link.operational => std::thread::sleep(CARRIER_POLL),
                _ => return Ok(()),
            }
        }
        tracing::warn!(link = name, "no carrier after a second");
        Ok(())
    }

    /// Loopback up, address, link up, default route, in one go.
    pub(crate) fn configure_inside(
        &mut self,
        interface: &str,
        address: Ipv4Addr,
        subnet: &Cidr,
        default_route: Option<Ipv4Addr>,
    ) -> Result<(), NetlinkError> {
        let link = self.find(interface)?.ok_or(NetlinkError::Malformed("a new link is missing"))?;
        let mut batch = vec![set_up(1), add_address(link.index, address, subnet)];
        batch.push(set_up(link.index));
        if let Some(gateway) = default_route {
            // main table, made at boot, everywhere, unicast
            let body = [AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
            let mut route = Message::new(RTM_NEWROUTE, flags::CREATE | flags::EXCL, &body);
            route.bytes(RTA_GATEWAY, &gateway.octets()).u32(RTA_OIF, link.index);
            batch.push(route);
        }
        self.socket.send(batch)
    }

    /// Removes the link if it exists; of a pair, both ends go. Takes some milliseconds.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = Message::new(RTM_DELLINK, 0, &ifinfo(0, 0));
        message.text(IFLA_IFNAME, name);
        match self.socket.send(vec![message]) {
            Err(error) if error.is(libc::ENODEV) => Ok(()),
            other => other,
        }
    }
}

/// An `ifinfomsg` that names the link by index, or by an attribute if that is 0, and sets `flags`.
fn ifinfo(index: u32, set: u32) -> [u8; IFINFO] {
    let mut body = [0; IFINFO];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&set.to_ne_bytes());
    body[12..16].copy_from_slice(&set.to_ne_bytes());
    body
}

fn set_up(link: u32) -> Message {
    Message::new(RTM_NEWLINK, 0, &ifinfo(link, UP))
}

fn add_address(link: u32, address: Ipv4Addr, subnet: &Cidr) -> Message {
    let mut body = [0; 8];
    body[0] = AF_INET;
    body[1] = subnet.prefix();
    body[4..8].copy_from_slice(&link.to_ne_bytes());
    let mut message = Message::new(RTM_NEWADDR, flags::CREATE | flags::EXCL, &body);
    message.bytes(IFA_LOCAL, &address.octets()).bytes(IFA_ADDRESS, &address.octets());
    message.bytes(IFA_BROADCAST, &subnet.broadcast().octets());
    message
}

fn link(reply: &Reply) -> Option<Link> {
    let attributes = reply.attributes(IFINFO);
    let info = attributes.nest(IFLA_LINKINFO);
    Some(Link {
        index: reply.u32(4)?,
        name: attributes.text(IFLA_IFNAME)?,
        kind: info.and_then(|info| info.text(IFLA_INFO_KIND)).unwrap_or_default(),
        alias: attributes.text(IFLA_IFALIAS).unwrap_or_default(),
        mtu: attributes.u32(IFLA_MTU).unwrap_or_default(),
        up: reply.u32(8)? & UP != 0,
        operational: attributes.get(IFLA_OPERSTATE) == Some(&[OPERATIONAL]),
    })
}

fn route(reply: &Reply) -> Option<Route> {
    let prefix = *reply.body.get(1)?;
    let attributes = reply.attributes(RTMSG);
    let address = match attributes.get(RTA_DST) {
        Some(bytes) => Ipv4Addr::from(*bytes.first_chunk::<4>()?),
        None => Ipv4Addr::UNSPECIFIED,
    };
    let link = attributes.u32(RTA_OIF).unwrap_or_default();
    Some(Route { destination: Cidr::around(address, prefix), link })
}
