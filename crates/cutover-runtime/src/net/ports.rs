//! Reserving ports of the host.
//!
//! A published port needs no listener, since packets are translated before one would get them. One
//! is bound all the same and kept by the container's shim: binding is the one test
//! that cannot be raced, no other program can take the port later and wonder where its traffic
//! goes, and `ss -ltnp` shows whose it is. Nobody accepts from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::error::{Holder, NetError};
use super::types::{Protocol, Publish, PublishedPort};

/// With more ports than this, each is only tested: a range like 10000-20000 would use up the
/// shim's file descriptors.
const KEEP: usize = 256;

/// Ports with their sockets.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) sockets: Vec<OwnedFd>,
}

/// Reserves all or nothing; host port 0 becomes a free one. Does not know who has a taken one.
pub(crate) fn reserve(wanted: &[Publish]) -> Result<Reserved, NetError> {
    let mut reserved = Reserved::default();
    for (index, publish) in wanted.iter().enumerate() {
        // compose files that are merged may say a thing twice
        if publish.host_port != 0 && wanted[..index].contains(publish) {
            continue;
        }
        let address = match publish.host_ip {
            None => Ipv4Addr::UNSPECIFIED,
            Some(IpAddr::V4(address)) => address,
            Some(address) => return Err(NetError::Ipv6Publish(address)),
        };
        let (port, socket) = bind(address, publish.host_port, publish.protocol)
            .map_err(|errno| refusal(errno, address, publish))?;
        reserved.ports.push(PublishedPort {
            host_ip: address,
            host_port: port,
            container_port: publish.container_port,
            protocol: publish.protocol,
        });
        if wanted.len() <= KEEP {
            reserved.sockets.push(socket);
        }
    }
    Ok(reserved)
}

fn refusal(errno: Errno, address: Ipv4Addr, publish: &Publish) -> NetError {
    let Publish { host_port: port, protocol, .. } = *publish;
    match errno {
        // who it is takes a look at every process, so only who tells a user looks
        Errno::ADDRINUSE => {
            NetError::PortTaken { address, port, protocol, holder: Holder::Unknown }
        }
        Errno::ADDRNOTAVAIL => NetError::NotOurAddress(address),
        _ => NetError::Port { address, port, protocol, source: errno.into() },
    }
}

/// The port, which is chosen if `port` is 0, and the socket that holds it.
fn bind(address: Ipv4Addr, port: u16, protocol: Protocol) -> Result<(u16, OwnedFd), Errno> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if protocol == Protocol::Tcp && port != 0 {
        // connections of an earlier server that are still in TIME_WAIT are no obstacle
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddrV4::new(address, port))?;
    match protocol {
        // another server's bind conflicts only with a listening socket, given SO_REUSEADDR
        Protocol::Tcp => rustix::net::listen(&socket, 0)?,
        Protocol::Udp => sockopt::set_socket_recv_buffer_size(&socket, 0)?,
    }
    let bound = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((bound.port(), socket))
}
