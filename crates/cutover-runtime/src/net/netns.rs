//! Visiting a container's network namespace.
//!
//! A thread can change its network namespace alone, also in a process with many. So a [`Visit`]
//! moves the calling thread there and back; nothing else of the process notices, and no thread is
//! started (a caller that must be single-threaded stays so). Sockets opened during a visit go on
//! working in that namespace, hence visits are short: sysctls and one socket.

use std::marker::PhantomData;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::NetError;
use super::link::Links;

/// Where the calling thread's own namespace is found; `/proc/self` would be the main thread's.
const OWN: &str = "/proc/thread-self/ns/net";

/// Ends when dropped. Bound to the thread.
struct Visit {
    home: OwnedFd,
    _thread: PhantomData<*const ()>,
}

impl Visit {
    fn to(netns: BorrowedFd<'_>) -> Result<Self, NetError> {
        let home = rustix::fs::open(OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| NetError::Namespace(error.into()))?;
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
            .map_err(|error| NetError::Namespace(error.into()))?;
        Ok(Self { home, _thread: PhantomData })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let back = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network));
        if back.is_err() {
            // everything after this would happen to the wrong network; it cannot happen to a
            // process that was allowed to leave
            std::process::abort();
        }
    }
}

/// Loopback up, and the settings every container gets: for one without a network.
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<(), NetError> {
    prepare(netns)?.loopback_up().map_err(NetError::kernel("set up the container's loopback"))
}

/// Writes the settings and opens a socket inside.
///
/// - No router advertisement is believed and links get no IPv6 address (CVE-2020-13401); the
///   loopback keeps `::1`.
/// - Any port may be listened on and ping works without a capability.
pub(crate) fn prepare(netns: BorrowedFd<'_>) -> Result<Links, NetError> {
    let _visit = Visit::to(netns)?;
    set_if_there("net/ipv6/conf/default/accept_ra", "0")?;
    set_if_there("net/ipv6/conf/all/accept_ra", "0")?;
    set_if_there("net/ipv6/conf/default/disable_ipv6", "1")?;
    set_if_there("net/ipv4/ip_unprivileged_port_start", "0")?;
    // groups that a user namespace does not map are refused
    set_if_there("net/ipv4/ping_group_range", "0 2147483647")
        .or_else(|_| set_if_there("net/ipv4/ping_group_range", "0 65535"))?;
    Links::open().map_err(NetError::kernel("open a netlink socket in the container's namespace"))
}

/// Sets a sysctl of the calling thread's namespace.
pub(crate) fn set(key: &str, value: &str) -> Result<(), NetError> {
    fs_err::write(format!("/proc/sys/{key}"), value).map_err(|source| NetError::Sysctl {
        key: key.replace('/', "."),
        value: value.to_owned(),
        source,
    })
}

/// The same, but a kernel without the feature is fine.
pub(crate) fn set_if_there(key: &str, value: &str) -> Result<(), NetError> {
    match set(key, value) {
        Err(NetError::Sysctl { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(())
        }
        other => other,
    }
}
