//! Container networking without any program but the kernel: rtnetlink and nf_tables.
//!
//! [`Networks`] owns the bridges, addresses, published ports and firewall rules of one root, and
//! nothing else: another root's, docker's or the administrator's are never touched, but for the
//! accept rules that `nft/foreign.rs` documents.
//!
//! ```text
//! ensure(config) → Network        bridge up, rules loaded; a few syscalls when it is so already
//! attach(network, netns, …)       address leased, eth0 made, ports published → Attached
//! release(attached)               after the container's exit
//! reconcile(is alive)             at start of a supervisor: what died without a release
//! remove(name)                    bridge and rules; the last network's removal leaves nothing
//! ```
//!
//! **Who calls what.** The container's shim calls `ensure`, `attach` and, once it has reported the
//! exit to whoever waits, `release`, and keeps the one [`Networks`] until it ends. `release` of a
//! container with published ports takes milliseconds (tracked connections are listed), and closing
//! the nf_tables socket of a `Networks` waits 7–19 ms for the kernel when ports were withdrawn
//! shortly before, by anyone. A command line that a user waits on must not do either.
//!
//! **Addresses** are IPv4. IPv6 is off on container links, and publishing on an IPv6 address is
//! refused; `localhost` reaches a published port because programs go on to 127.0.0.1 when `::1`
//! refuses.
//!
//! **Seen on the host.** `net.ipv4.ip_forward` is set to 1 when a network that is not internal
//! comes up, and stays (others may rely on it by the time the network goes). The rules drop
//! everything to containers but answers and published ports; what else the host forwards is left to
//! its other rules. A forward policy of drop in another table cannot be overruled, see
//! `nft/foreign.rs`.
//!
//! Invariants: a lease is in the book before its link exists and until its rules are gone; the
//! flock on `RUN/networks/lock` is held while the book or the ruleset as a whole changes; every
//! function works in the network namespace of the thread that first used the `Networks`.

mod attach;
mod book;
mod cidr;
mod conntrack;
mod error;
mod holder;
mod link;
mod names;
mod netlink;
mod netns;
mod networks;
mod nft;
mod pool;
mod ports;
mod reconcile;
mod store;
mod types;

pub use cidr::{Cidr, ParseCidrError};
pub use error::{Holder, NetError};
pub use netlink::NetlinkError;
pub use netns::loopback_up;
pub use networks::Networks;
pub use reconcile::Reconciled;
pub use types::{
    Attached, DEFAULT_NETWORK, Endpoint, Lease, Mac, Network, NetworkConfig, Protocol, Publish,
    PublishedPort,
};
