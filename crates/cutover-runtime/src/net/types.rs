//! The words of container networking: what is asked for and what is handed back.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::cidr::Cidr;

/// The network that a container joins when nothing else is said.
pub const DEFAULT_NETWORK: &str = "bridge";

/// A network as asked for; what is left open is chosen once and then kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    pub name: String,
    /// `None`: one that overlaps no route of the host.
    pub subnet: Option<Cidr>,
    /// No way out and nothing published: containers reach only each other and the gateway.
    pub internal: bool,
    /// `None`: that of the link of the host's default route, at most 1500.
    pub mtu: Option<u32>,
}

impl NetworkConfig {
    /// A network with a chosen subnet and a way to the outside.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A network that exists: its file is written, its bridge is up and its rules are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub name: String,
    /// The bridge's link name on the host.
    pub bridge: String,
    pub subnet: Cidr,
    /// The host's address on the bridge: what `host-gateway` means, and where names are served.
    pub gateway: Ipv4Addr,
    pub internal: bool,
    pub mtu: u32,
}

/// What a container asks of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    pub container_id: String,
    pub hostname: String,
    /// Further names under which others on the network find the container.
    pub aliases: Vec<String>,
    pub ports: Vec<Publish>,
    /// A fixed address; `None`: the next free one.
    pub ip: Option<Ipv4Addr>,
}

/// A port of the container to be reachable on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// `None` or `0.0.0.0`: every IPv4 address of the host. IPv6 addresses are refused.
    pub host_ip: Option<IpAddr>,
    /// 0: any free one.
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

/// A published port with nothing left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// `0.0.0.0`: every address of the host.
    pub host_ip: Ipv4Addr,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

/// A container's place on a network, from `attach` to `release`.
#[derive(Debug)]
pub struct Attached {
    /// Which attachment this is; never used again under the same root until the next boot.
    pub lease: u64,
    pub container_id: String,
    pub network: String,
    /// The link's name in the container: `eth0`, or `eth1`… for further networks.
    pub interface: String,
    pub ip: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Ipv4Addr,
    pub mac: Mac,
    pub ports: Vec<PublishedPort>,
    /// Keep these until the container has exited: they hold the host ports, so that no other
    /// program can take one while its traffic goes to the container.
    pub reservations: Vec<OwnedFd>,
}

/// One container's lease of an address, as kept in the lease file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub lease: u64,
    pub container_id: String,
    pub network: String,
    pub interface: String,
    /// The container's default route goes here.
    pub default_route: bool,
    /// The host's end of the pair of links.
    pub link: String,
    pub ip: Ipv4Addr,
    pub hostname: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishedPort>,
}

/// A link's hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of whoever holds `ip`: locally administered, and the same at every use of the
    /// address, so that a neighbour entry of an earlier holder is never stale.
    pub(crate) fn of(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The number in an IP header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host_ip, host_port, container_port, protocol } = self;
        write!(f, "{host_ip}:{host_port}->{container_port}/{protocol}")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
