//! [`Port`]: a container's port published on the machine.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::is_default;

/// One container port made reachable on the machine. Ranges in the file are already expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The port in the container.
    pub target: u16,
    /// The port on the machine, or a range from which a free one is taken; `None`: any free port.
    #[serde(default, skip_serializing_if = "is_default")]
    pub published: Option<PortRange>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// `None`: every address of the machine.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host_ip: Option<IpAddr>,
}

/// `first` and `last` are both part of it; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl PortRange {
    pub fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Docker's short form, e.g. `127.0.0.1:8080:80/tcp`; parses back to the same value.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        match self.published {
            Some(range) => write!(f, "{range}:")?,
            None if self.host_ip.is_some() => f.write_str(":")?,
            None => {}
        }
        write!(f, "{}/{}", self.target, self.protocol)
    }
}
