//! [`Book`]: who has which address and ports. Pure; `store` keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::error::NetError;
use super::types::{Endpoint, Lease, Network, PublishedPort};

/// The leases of one root.
///
/// Invariants: no two leases have the same network and address, or the same link; a lease number is
/// never used twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Book {
    /// The number of the next lease.
    pub(crate) sequence: u64,
    /// Per network, where the search for a free address starts. Addresses go round, so that one is
    /// used again as late as possible: tables of neighbours and tracked connections remember it.
    pub(crate) next: BTreeMap<String, u32>,
    pub(crate) leases: Vec<Lease>,
}

impl Book {
    /// Leases an address on `network`. `tag` starts the link's name: two roots must not collide.
    pub(crate) fn claim(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        ports: &[PublishedPort],
        tag: &str,
    ) -> Result<Lease, NetError> {
        let ip = self.address(network, endpoint.ip)?;
        let own = || self.leases.iter().filter(|l| l.container_id == endpoint.container_id);
        let interface = (0u32..)
            .map(|number| format!("eth{number}"))
            .find(|name| !own().any(|lease| lease.interface == *name))
            .unwrap_or_default();
        let default_route = !network.internal && !own().any(|lease| lease.default_route);
        let lease = Lease {
            lease: self.sequence,
            container_id: endpoint.container_id.clone(),
            network: network.name.clone(),
            interface,
            default_route,
            // at most 1 + 6 + 8 characters: the kernel's limit is 15
            link: format!("c{tag}{:x}", self.sequence & 0xffff_ffff),
            ip,
            hostname: endpoint.hostname.clone(),
            aliases: endpoint.aliases.clone(),
            ports: ports.to_vec(),
        };
        self.sequence += 1;
        self.leases.push(lease.clone());
        Ok(lease)
    }

    /// Ends the leases that `which` picks, and returns them.
    pub(crate) fn end(&mut self, which: impl Fn(&Lease) -> bool) -> Vec<Lease> {
        let (ended, kept) = std::mem::take(&mut self.leases).into_iter().partition(which);
        self.leases = kept;
        ended
    }

    /// The lease of another container that publishes `port`, or a part of it.
    pub(crate) fn holder(&self, port: &PublishedPort) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.ports.iter().any(|held| collide(held, port)))
    }

    /// Strikes `port` from all leases: its holder is dead.
    pub(crate) fn strike(&mut self, port: &PublishedPort) {
        for lease in &mut self.leases {
            lease.ports.retain(|held| !collide(held, port));
        }
    }

    fn address(
        &mut self,
        network: &Network,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, NetError> {
        let used: BTreeSet<Ipv4Addr> = self
            .leases
            .iter()
            .filter(|lease| lease.network == network.name)
            .map(|lease| lease.ip)
            .chain([network.gateway])
            .collect();
        if let Some(ip) = wanted {
            self.check_fixed(network, ip)?;
            return Ok(ip);
        }
        let hosts = network.subnet.hosts();
        let start = self.next.get(&network.name).copied().unwrap_or(1);
        let found = (0..hosts).map(|step| start.wrapping_add(step) % hosts).find_map(|index| {
            Some((index, network.subnet.host(index)?)).filter(|f| !used.contains(&f.1))
        });
        let (index, ip) = found.ok_or_else(|| NetError::Exhausted {
            network: network.name.clone(),
            subnet: network.subnet,
        })?;
        self.next.insert(network.name.clone(), index + 1);
        Ok(ip)
    }

    fn check_fixed(&self, network: &Network, ip: Ipv4Addr) -> Result<(), NetError> {
        let taken = |lease: &&Lease| lease.network == network.name && lease.ip == ip;
        let problem = if network.subnet.index(ip).is_none() {
            format!("it is no host's address in `{}`", network.subnet)
        } else if ip == network.gateway {
            "it is the gateway's".to_owned()
        } else if let Some(lease) = self.leases.iter().find(taken) {
            format!("{} has it", super::error::Holder::Container(lease.container_id.clone()))
        } else {
            return Ok(());
        };
        Err(NetError::Address { network: network.name.clone(), ip, problem })
    }
}

/// Whether the two cannot be published at the same time.
fn collide(a: &PublishedPort, b: &PublishedPort) -> bool {
    let same_address =
        a.host_ip.is_unspecified() || b.host_ip.is_unspecified() || a.host_ip == b.host_ip;
    a.protocol == b.protocol && a.host_port == b.host_port && same_address
}

#[cfg(test)]
mod tests;
