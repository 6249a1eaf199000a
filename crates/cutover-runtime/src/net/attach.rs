//! Putting a container on a network and taking it off.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use super::error::{Holder, NetError};
use super::link::Pair;
use super::networks::Networks;
use super::store::Locked;
use super::types::{Attached, Endpoint, Lease, Mac, Network, Protocol, PublishedPort};
use super::{conntrack, holder, netns, ports};

/// A link's name is only ever taken when the lease file was lost under running containers.
const NAME_TRIES: u32 = 64;

impl Networks {
    /// Puts the container whose network namespace is `netns` on the network: leases an address,
    /// makes its link and publishes its ports. On an error nothing is left.
    ///
    /// Keep what is returned until the container has exited, then [`release`](Self::release) it.
    pub fn attach(
        &self,
        network: &Network,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
    ) -> Result<Attached, NetError> {
        if network.internal && !endpoint.ports.is_empty() {
            return Err(NetError::InternalPublish(network.name.clone()));
        }
        let reserved =
            ports::reserve(&endpoint.ports).map_err(|error| self.name_holder(error, endpoint))?;
        let lease = self.wire(network, netns, endpoint, &reserved.ports)?;
        Ok(Attached {
            lease: lease.lease,
            container_id: lease.container_id,
            network: lease.network,
            interface: lease.interface,
            ip: lease.ip,
            prefix: network.subnet.prefix(),
            gateway: network.gateway,
            mac: Mac::of(lease.ip),
            ports: reserved.ports,
            reservations: reserved.sockets,
        })
    }

    /// Ends one attachment after the container's exit: its ports lead nowhere, the address and the
    /// host's ports are free. The links went with the container's namespace.
    ///
    /// Never ends a later attachment of the same container.
    pub fn release(&self, attached: Attached) -> Result<(), NetError> {
        self.end(|lease| lease.lease == attached.lease).map(drop)
    }

    /// Ends all attachments of a container, whoever made them, and removes links that are left.
    pub fn detach(&self, container_id: &str) -> Result<(), NetError> {
        let ended = self.end(|lease| lease.container_id == container_id)?;
        for lease in ended {
            self.with_links(format!("remove link `{}`", lease.link), |links| {
                links.remove(&lease.link)
            })?;
        }
        Ok(())
    }

    /// Host names and aliases on a network with the addresses behind them, for who answers DNS.
    pub fn names(&self, network: &str) -> Result<BTreeMap<String, Vec<Ipv4Addr>>, NetError> {
        let mut names: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
        let leases = self.store.book()?.leases;
        for lease in leases.iter().filter(|lease| lease.network == network) {
            for name in
                lease.aliases.iter().chain([&lease.hostname]).filter(|name| !name.is_empty())
            {
                let addresses = names.entry(name.clone()).or_default();
                if !addresses.contains(&lease.ip) {
                    addresses.push(lease.ip);
                }
            }
        }
        Ok(names)
    }

    fn wire(
        &self,
        network: &Network,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
        ports: &[PublishedPort],
    ) -> Result<Lease, NetError> {
        let mut tries = 0;
        loop {
            let lease = self.claim(network, endpoint, ports)?;
            let error =
                match self.make_link(network, netns, &lease).and_then(|()| self.publish(&lease)) {
                    Ok(()) => return Ok(lease),
                    Err(error) => error,
                };
            tries += 1;
            let name_taken = matches!(&error, NetError::LinkName(_)) && tries < NAME_TRIES;
            self.abandon(&lease, !name_taken);
            if !name_taken {
                return Err(error);
            }
        }
    }

    /// Leases an address and the ports, whose sockets are bound by now.
    fn claim(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        ports: &[PublishedPort],
    ) -> Result<Lease, NetError> {
        let locked = self.store.lock()?;
        self.existing(&network.name)?;
        let mut book = self.store.book()?;
        let earlier = book.end(|lease| {
            lease.container_id == endpoint.container_id && lease.network == network.name
        });
        for lease in &earlier {
            self.with_links(format!("remove link `{}`", lease.link), |links| {
                links.remove(&lease.link)
            })?;
            self.withdraw(lease)?;
        }
        for port in ports {
            // its socket could be bound, so the holder's shim is dead; is the container, too?
            let Some(holder) = book.holder(port).cloned() else { continue };
            if self.with_links("look for a link", |links| links.find(&holder.link))?.is_some() {
                return Err(NetError::PortTaken {
                    address: port.host_ip,
                    port: port.host_port,
                    protocol: port.protocol,
                    holder: Holder::Container(holder.container_id),
                });
            }
            book.strike(port);
        }
        let lease = book.claim(network, endpoint, ports, self.names.link_tag())?;
        locked.save_book(book)?;
        Ok(lease)
    }

    fn make_link(
        &self,
        network: &Network,
        netns: BorrowedFd<'_>,
        lease: &Lease,
    ) -> Result<(), NetError> {
        let what = || format!("connect the container to network `{}`", network.name);
        let mut inside = netns::prepare(netns)?;
        let bridge =
            self.with_links(what(), |links| links.find(&network.bridge))?.ok_or_else(|| {
                NetError::BridgeGone { link: network.bridge.clone(), network: network.name.clone() }
            })?;
        let pair = Pair {
            outside: &lease.link,
            inside: &lease.interface,
            mac: Mac::of(lease.ip),
            mtu: network.mtu,
            bridge: bridge.index,
            netns,
        };
        let taken = self.with_links(what(), |links| match links.add_pair(&pair) {
            Err(error) if error.is(libc::EEXIST) && links.find(&lease.link)?.is_some() => Ok(true),
            other => other.map(|()| false),
        })?;
        if taken {
            return Err(NetError::LinkName(lease.link.clone()));
        }
        let route = lease.default_route.then_some(network.gateway);
        inside
            .configure_inside(&lease.interface, lease.ip, &network.subnet, route)
            .and_then(|()| inside.await_carrier(&lease.interface))
            .map_err(NetError::kernel(what()))?;
        self.with_links(what(), |links| {
            links.await_carrier(&lease.link)?;
            // the first container on a bridge is also what gives the bridge its carrier
            links.await_carrier(&network.bridge)
        })
    }

    fn publish(&self, lease: &Lease) -> Result<(), NetError> {
        if lease.ports.is_empty() {
            return Ok(());
        }
        let done =
            self.with_table("publish ports", |table| table.publish(lease.ip, &lease.ports))?;
        if !done {
            // somebody flushed the whole ruleset since the network was brought up
            let _locked: Locked<'_> = self.store.lock()?;
            self.load(&self.store.networks()?, &self.store.book()?)?;
        }
        let udp = lease.ports.iter().filter(|port| port.protocol == Protocol::Udp);
        for port in udp {
            self.with_table("forget tracked connections", |table| {
                conntrack::forget_udp_port(table.socket(), port.host_port)
            })?;
        }
        Ok(())
    }

    /// Undoes what an attachment that failed has done. A link whose name was taken is not ours.
    fn abandon(&self, lease: &Lease, with_link: bool) {
        let removed = if with_link {
            self.with_links(format!("remove link `{}`", lease.link), |links| {
                links.remove(&lease.link)
            })
        } else {
            Ok(())
        };
        let ended = self.end(|other| other.lease == lease.lease).map(drop);
        for error in [removed, ended].into_iter().filter_map(Result::err) {
            tracing::warn!(container = lease.container_id, %error, "half an attachment is left");
        }
    }

    /// Withdraws ports, then frees addresses, then forgets connections.
    fn end(&self, which: impl Fn(&Lease) -> bool) -> Result<Vec<Lease>, NetError> {
        let ended = {
            let locked = self.store.lock()?;
            let mut book = self.store.book()?;
            let ended = book.end(which);
            if ended.is_empty() {
                return Ok(ended);
            }
            for lease in &ended {
                self.withdraw(lease)?;
            }
            locked.save_book(book)?;
            ended
        };
        for lease in ended.iter().filter(|lease| !lease.ports.is_empty()) {
            self.with_table("forget tracked connections", |table| {
                conntrack::forget_answers_of(table.socket(), lease.ip)
            })?;
        }
        Ok(ended)
    }

    fn withdraw(&self, lease: &Lease) -> Result<(), NetError> {
        if lease.ports.is_empty() {
            return Ok(());
        }
        self.with_table("withdraw ports", |table| table.withdraw(lease.ip, &lease.ports))
    }

    /// The book knows containers by their id, where `/proc` shows only a shim.
    fn name_holder(&self, error: NetError, endpoint: &Endpoint) -> NetError {
        let NetError::PortTaken { address, port, protocol, .. } = error else { return error };
        let wanted =
            PublishedPort { host_ip: address, host_port: port, container_port: 0, protocol };
        let book = self.store.book().unwrap_or_default();
        let container = book
            .holder(&wanted)
            .filter(|lease| lease.container_id != endpoint.container_id)
            .map(|lease| Holder::Container(lease.container_id.clone()));
        let holder =
            container.or_else(|| holder::of(address, port, protocol)).unwrap_or(Holder::Unknown);
        NetError::PortTaken { address, port, protocol, holder }
    }
}
