//! What can go wrong, by operation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::cidr::Cidr;
use super::netlink::NetlinkError;
use super::types::Protocol;

#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("`{0}` is no name for a network: use letters, digits, `_`, `.` and `-`, at most 64")]
    Name(String),
    #[error("network `{name}` does not exist{}", known_text(.known))]
    Missing { name: String, known: Vec<String> },
    #[error(
        "network `{name}` exists with {key} {has}, which cannot be changed to {wanted}: remove it first"
    )]
    Differs { name: String, key: &'static str, has: String, wanted: String },
    #[error("network `{name}` is in use by {}", list(.containers))]
    InUse { name: String, containers: Vec<String> },
    #[error("subnet `{subnet}` {problem}")]
    Subnet { subnet: Cidr, problem: String },
    #[error(
        "no free subnet for network `{0}`: every one that cutover chooses from overlaps a route of this host; give one"
    )]
    NoSubnet(String),
    #[error("link `{link}` exists and is not the bridge of network `{network}`")]
    ForeignLink { link: String, network: String },
    #[error("bridge `{link}` of network `{network}` is gone")]
    BridgeGone { link: String, network: String },
    #[error("a link `{0}` exists already")]
    LinkName(String),
    #[error("network `{network}` has no free address left in `{subnet}`")]
    Exhausted { network: String, subnet: Cidr },
    #[error("address {ip} is not free on network `{network}`: {problem}")]
    Address { network: String, ip: Ipv4Addr, problem: String },
    #[error("port {port}/{protocol} of `{address}` is taken by {holder}")]
    PortTaken { address: Ipv4Addr, port: u16, protocol: Protocol, holder: Holder },
    #[error("cannot publish on `{0}`: only IPv4 addresses of this host can be published on so far")]
    Ipv6Publish(IpAddr),
    #[error("cannot publish on `{0}`: it is no address of this host")]
    NotOurAddress(Ipv4Addr),
    #[error("reserve port {port}/{protocol} of `{address}`")]
    Port { address: Ipv4Addr, port: u16, protocol: Protocol, source: std::io::Error },
    #[error("network `{0}` is internal, so nothing can be published from it")]
    InternalPublish(String),
    #[error("{what}")]
    Kernel { what: String, source: NetlinkError },
    #[error("enter the container's network namespace")]
    Namespace(#[source] std::io::Error),
    #[error("set `{key}` to `{value}`")]
    Sysctl { key: String, value: String, source: std::io::Error },
    #[error("keep the network's state")]
    State(#[source] std::io::Error),
    #[error("`{}` is damaged: {reason}", .path.display())]
    Corrupt { path: PathBuf, reason: String },
    #[error("`{}` has format {version}, which is newer than this program knows", .path.display())]
    Newer { path: PathBuf, version: u32 },
}

/// Who has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Container(String),
    Process { pid: u32, name: String },
    Unknown,
}

impl NetError {
    pub(crate) fn kernel(what: impl Into<String>) -> impl FnOnce(NetlinkError) -> Self {
        let what = what.into();
        move |source| Self::Kernel { what, source }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(id) => write!(f, "container `{}`", short(id)),
            Self::Process { pid, name } => write!(f, "process {pid} (`{name}`)"),
            Self::Unknown => f.write_str("another program"),
        }
    }
}

fn known_text(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(" (there is {})", list(known)) }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{}`", short(name))).collect::<Vec<_>>().join(", ")
}

/// Container ids as docker shows them.
fn short(id: &str) -> &str {
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { &id[..12] } else { id }
}
