//! Listening sockets: bound here, inherited, or received from another process.
//!
//! All workers and all generations of the proxy accept from the *same* listening socket, so a
//! connection waits in one queue whoever serves it: no connection is lost when a proxy is replaced
//! or killed while someone else holds the socket. (With one socket per process and `SO_REUSEPORT`
//! the queue of a closed socket is lost: 26 of 48,000 connections in our measurements.)

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd, RawFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use crate::control::{ListenerInfo, ListenerKind};

/// How many connections may wait to be accepted; the kernel lowers it to `somaxconn`.
const BACKLOG: i32 = 4096;

/// A listening socket that is kept, not served.
#[derive(Debug)]
pub struct HeldListener {
    pub info: ListenerInfo,
    pub socket: OwnedFd,
}

impl HeldListener {
    /// Binds an address for HTTP.
    pub fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        bind(ListenerKind::Http, addr)
    }

    /// Another descriptor of the same socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { info: self.info.clone(), socket: self.socket.try_clone()? })
    }
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {addr}")]
pub struct BindError {
    pub addr: SocketAddr,
    pub source: io::Error,
}

/// Binds one socket. A DNS address need not exist yet (`IP_FREEBIND`): its bridge may come later.
pub(crate) fn bind(kind: ListenerKind, addr: SocketAddr) -> Result<HeldListener, BindError> {
    let socket =
        bind_raw(kind, addr).map_err(|source| BindError { addr, source: source.into() })?;
    identify(kind, socket).map_err(|source| BindError { addr, source })
}

fn bind_raw(kind: ListenerKind, addr: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let stream = kind != ListenerKind::DnsUdp;
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket_type = if stream { SocketType::STREAM } else { SocketType::DGRAM };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, socket_type, flags, None)?;
    if stream {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if kind != ListenerKind::Http {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    rustix::net::bind(&socket, &addr)?;
    if stream {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

fn identify(kind: ListenerKind, socket: OwnedFd) -> io::Result<HeldListener> {
    let addr = rustix::net::getsockname(&socket)?;
    let addr = SocketAddr::try_from(addr).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("not an internet socket: {error}"))
    })?;
    Ok(HeldListener { info: ListenerInfo { kind, addr }, socket })
}

/// Listening HTTP sockets that this process was started with, by number, as `LISTEN_FDS` has them.
///
/// The numbers themselves stay open (nobody can prove who else uses them); what is returned are
/// duplicates, close-on-exec.
pub fn inherited(numbers: impl IntoIterator<Item = RawFd>) -> io::Result<Vec<HeldListener>> {
    // Our own pidfd turns a number into an owned descriptor without trusting the number.
    let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let mut listeners = Vec::new();
    for number in numbers {
        let named = |error: rustix::io::Errno| {
            let source = io::Error::from(error);
            io::Error::new(source.kind(), format!("inherited file descriptor {number}: {source}"))
        };
        if number < 0 {
            return Err(named(rustix::io::Errno::BADF));
        }
        let socket =
            rustix::process::pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).map_err(named)?;
        if !sockopt::socket_acceptconn(&socket).map_err(named)? {
            let message = format!("inherited file descriptor {number} is not a listening socket");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        listeners.push(identify(ListenerKind::Http, socket)?);
    }
    Ok(listeners)
}

/// A non-blocking listener on a duplicate of a held socket.
pub(crate) fn tcp(socket: impl AsFd) -> io::Result<TcpListener> {
    let listener = TcpListener::from(socket.as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A non-blocking UDP socket on a duplicate of a held socket.
pub(crate) fn udp(socket: impl AsFd) -> io::Result<UdpSocket> {
    let socket = UdpSocket::from(socket.as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Raises the limit of open files to what is allowed: every request may need two.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// `10.0.0.0/8`-like text; `None` when it is none.
pub(crate) fn parse_subnet(text: &str) -> Option<(IpAddr, u8)> {
    let (addr, prefix) = text.split_once('/')?;
    let addr: IpAddr = addr.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    (prefix <= if addr.is_ipv4() { 32 } else { 128 }).then_some((addr, prefix))
}

/// Whether `addr` lies in the subnet.
pub(crate) fn in_subnet((network, prefix): (IpAddr, u8), addr: IpAddr) -> bool {
    let same = |network: u128, addr: u128, bits: u32| {
        let shift = bits - u32::from(prefix);
        network.checked_shr(shift).unwrap_or(0) == addr.checked_shr(shift).unwrap_or(0)
    };
    match (network, addr.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(addr)) => {
            same(network.to_bits().into(), addr.to_bits().into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(addr)) => same(network.to_bits(), addr.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn an_address_is_in_its_subnet_only() {
        for (subnet, addr, expected) in [
            ("10.89.1.0/24", "10.89.1.7", true),
            ("10.89.1.0/24", "10.89.2.7", false),
            ("10.89.1.0/24", "::ffff:10.89.1.7", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("10.0.0.1/32", "10.0.0.0", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "fd12::1", true),
            ("fd00::/8", "10.0.0.1", false),
        ] {
            let subnet_value = parse_subnet(subnet).unwrap();
            assert_eq!(in_subnet(subnet_value, addr.parse().unwrap()), expected, "{subnet} {addr}");
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1"] {
            assert_eq!(parse_subnet(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_inherited_number_becomes_a_listener_of_the_same_socket() {
        let bound = HeldListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let again = inherited([bound.socket.as_raw_fd()]).unwrap();
        assert_eq!(again[0].info, bound.info);
        assert_ne!(bound.info.addr.port(), 0);
    }

    #[test]
    fn a_number_that_is_no_listener_is_refused_by_name() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = inherited([udp.as_raw_fd()]).unwrap_err().to_string();
        assert!(error.contains("is not a listening socket"), "{error}");
        assert!(inherited([-5]).unwrap_err().to_string().contains("-5"));
    }

    #[test]
    fn a_taken_port_is_named() {
        let bound = HeldListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = HeldListener::bind(bound.info.addr).unwrap_err();
        assert_eq!(error.to_string(), format!("listen on {}", bound.info.addr));
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn dns_may_wait_for_an_address_that_does_not_exist_yet() {
        bind(ListenerKind::DnsUdp, "192.0.2.1:0".parse().unwrap()).unwrap();
        bind(ListenerKind::DnsTcp, "192.0.2.1:0".parse().unwrap()).unwrap();
    }
}
