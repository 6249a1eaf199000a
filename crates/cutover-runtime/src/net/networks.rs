//! [`Networks`]: making, finding and removing networks.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::book::Book;
use super::cidr::Cidr;
use super::error::NetError;
use super::link::Links;
use super::names::{Names, check_network};
use super::netlink::NetlinkError;
use super::nft::{Foreign, Table};
use super::store::{Locked, Store};
use super::types::{Lease, Mac, Network, NetworkConfig};
use super::{netns, pool};

/// The networks of one root.
///
/// May be shared by threads. Closing it can take 7–19 ms, see the module's text.
#[derive(Debug)]
pub struct Networks {
    pub(super) names: Names,
    pub(super) store: Store,
    /// Opened at first use, in that thread's network namespace.
    links: Mutex<Option<Links>>,
    table: Mutex<Option<Table>>,
}

impl Networks {
    /// Makes the folders; touches nothing of the kernel's.
    pub fn open(root: &Path, run: &Path) -> Result<Self, NetError> {
        let store = Store::open(root, run)?;
        let root = fs_err::canonicalize(root).map_err(NetError::State)?;
        let names = Names::of(&root);
        Ok(Self { names, store, links: Mutex::new(None), table: Mutex::new(None) })
    }

    /// The network, made if it does not exist, and brought up if a reboot or somebody took its
    /// bridge or rules away.
    pub fn ensure(&self, config: &NetworkConfig) -> Result<Network, NetError> {
        check_network(&config.name)?;
        let locked = self.store.lock()?;
        let mut all = self.store.networks()?;
        if let Some(network) = all.iter().find(|network| network.name == config.name) {
            check_same(network, config)?;
            self.bring_up(network, &all)?;
            return Ok(network.clone());
        }
        let network = self.choose(config, &all)?;
        all.push(network.clone());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        locked.save_network(&network)?;
        if let Err(error) = self.bring_up(&network, &all) {
            all.retain(|other| other.name != network.name);
            if let Err(also) = self.take_down(&locked, &network, &all) {
                tracing::warn!(network = network.name, error = %also, "half a network is left");
            }
            return Err(error);
        }
        Ok(network)
    }

    /// All networks, by name.
    pub fn list(&self) -> Result<Vec<Network>, NetError> {
        self.store.networks()
    }

    /// A network, and who is on it.
    pub fn inspect(&self, name: &str) -> Result<(Network, Vec<Lease>), NetError> {
        let network = self.existing(name)?;
        let mut leases = self.store.book()?.leases;
        leases.retain(|lease| lease.network == name);
        Ok((network, leases))
    }

    /// Removes the bridge, the rules and the file; refused while a container is attached.
    pub fn remove(&self, name: &str) -> Result<(), NetError> {
        let locked = self.store.lock()?;
        let network = self.existing(name)?;
        let leases = self.store.book()?.leases.into_iter().filter(|lease| lease.network == name);
        let containers: Vec<String> = leases.map(|lease| lease.container_id).collect();
        if !containers.is_empty() {
            return Err(NetError::InUse { name: name.to_owned(), containers });
        }
        let mut rest = self.store.networks()?;
        rest.retain(|other| other.name != name);
        self.take_down(&locked, &network, &rest)
    }

    /// Chains of other tables that drop forwarded packets by default and are not ours to change, as
    /// `family table chain`: with one of these, containers have no way out until its owner lets
    /// them.
    pub fn obstacles(&self) -> Result<Vec<String>, NetError> {
        let own = self.names.table();
        self.with_table("look at the firewall", |table| {
            Foreign { socket: table.socket(), owner: &own }.obstacles(&own)
        })
    }

    pub(super) fn existing(&self, name: &str) -> Result<Network, NetError> {
        check_network(name)?;
        if let Some(network) = self.store.network(name)? {
            return Ok(network);
        }
        let known = self.store.networks()?.into_iter().map(|network| network.name).collect();
        Err(NetError::Missing { name: name.to_owned(), known })
    }

    fn choose(&self, config: &NetworkConfig, others: &[Network]) -> Result<Network, NetError> {
        let bridge = self.names.bridge(&config.name);
        let routes = self.with_links("list routes", Links::routes)?;
        let links = self.with_links("list links", Links::list)?;
        let name_of = |index| links.get(&index).map(|link| link.name.as_str());
        let uplink = routes.iter().find(|route| route.destination.prefix() == 0);
        let uplink_mtu = uplink.and_then(|route| links.get(&route.link)).map_or(1500, |l| l.mtu);
        // what leads to our own half-made bridge of the same name is no obstacle
        let routes = routes
            .iter()
            .filter(|route| route.destination.prefix() != 0)
            .filter(|route| name_of(route.link) != Some(bridge.as_str()))
            .map(|r| (r.destination, format!("link `{}`", name_of(r.link).unwrap_or("?"))));
        let taken: Vec<(Cidr, String)> = others
            .iter()
            .map(|network| (network.subnet, format!("network `{}`", network.name)))
            .chain(routes)
            .collect();
        let subnet = match config.subnet {
            Some(subnet) => check_subnet(subnet, &taken)?,
            None => {
                let taken: Vec<Cidr> = taken.into_iter().map(|(cidr, _)| cidr).collect();
                pool::choose(self.names.seed(&config.name), &taken)
                    .ok_or_else(|| NetError::NoSubnet(config.name.clone()))?
            }
        };
        let gateway = subnet.host(0).unwrap_or(subnet.address());
        Ok(Network {
            name: config.name.clone(),
            bridge,
            subnet,
            gateway,
            internal: config.internal,
            mtu: config.mtu.unwrap_or(uplink_mtu.min(1500)),
        })
    }

    /// Bridge, forwarding and rules, each only if it is not as it should be.
    fn bring_up(&self, network: &Network, all: &[Network]) -> Result<(), NetError> {
        self.bridge_up(network)?;
        if !network.internal {
            forward()?;
        }
        let own = self.names.table();
        let loaded = self.with_table("look at the rules", |table| table.is_loaded(all))?;
        if !loaded {
            self.load(all, &self.store.book()?)?;
        }
        self.with_table("make room in the firewall", |table| {
            Foreign { socket: table.socket(), owner: &own }.apply(all)
        })
    }

    /// Replaces the ruleset. The lock must be held.
    pub(super) fn load(&self, all: &[Network], book: &Book) -> Result<(), NetError> {
        self.with_table("load the rules", |table| table.load(all, &book.leases))
    }

    fn bridge_up(&self, network: &Network) -> Result<(), NetError> {
        let Network { name, bridge, gateway, subnet, mtu, internal } = network;
        let alias = self.names.alias(name);
        let what = || format!("make bridge `{bridge}` of network `{name}`");
        let found = self.with_links(what(), |links| links.find(bridge))?;
        let index = match found {
            Some(link) if link.kind != "bridge" || link.alias != alias => {
                return Err(NetError::ForeignLink { link: bridge.clone(), network: name.clone() });
            }
            // up is the last thing it becomes
            Some(link) if link.up => return Ok(()),
            Some(link) => link.index,
            None => self.with_links(what(), |links| {
                links.add_bridge(bridge, Mac::of(*gateway), *mtu, &alias)?;
                let link = links.find(bridge)?;
                link.map(|link| link.index).ok_or(NetlinkError::Malformed("the bridge is missing"))
            })?,
        };
        netns::set_if_there(&format!("net/ipv6/conf/{bridge}/disable_ipv6"), "1")?;
        if !internal {
            netns::set(&format!("net/ipv4/conf/{bridge}/forwarding"), "1")?;
            // for what is published on 127.0.0.1; see the `raw` chain on what this must not allow
            netns::set(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1")?;
        }
        self.with_links(what(), |links| match links.address_and_up(index, *gateway, subnet) {
            Err(error) if error.is(libc::EEXIST) => links.up(index),
            other => other,
        })
    }

    /// Undoes [`bring_up`](Self::bring_up); the file goes last, so that an interruption can be
    /// repeated.
    fn take_down(
        &self,
        locked: &Locked<'_>,
        network: &Network,
        rest: &[Network],
    ) -> Result<(), NetError> {
        let Network { name, bridge, .. } = network;
        let alias = self.names.alias(name);
        self.with_links(
            format!("remove bridge `{bridge}` of network `{name}`"),
            |links| match links.find(bridge)? {
                Some(link) if link.alias == alias => links.remove(bridge),
                _ => Ok(()),
            },
        )?;
        let mut book = self.store.book()?;
        let own = self.names.table();
        self.with_table(format!("remove the rules of network `{name}`"), |table| {
            Foreign { socket: table.socket(), owner: &own }.apply(rest)?;
            if rest.is_empty() { table.unload() } else { table.load(rest, &book.leases) }
        })?;
        if book.next.remove(name).is_some() {
            locked.save_book(book)?;
        }
        locked.forget_network(name)
    }

    pub(super) fn with_links<T>(
        &self,
        what: impl Into<String>,
        work: impl FnOnce(&mut Links) -> Result<T, NetlinkError>,
    ) -> Result<T, NetError> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        open_once(&mut links, Links::open).and_then(work).map_err(NetError::kernel(what))
    }

    pub(super) fn with_table<T>(
        &self,
        what: impl Into<String>,
        work: impl FnOnce(&mut Table) -> Result<T, NetlinkError>,
    ) -> Result<T, NetError> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        open_once(&mut table, || Table::open(&self.names.table()))
            .and_then(work)
            .map_err(NetError::kernel(what))
    }
}

fn open_once<T, E>(slot: &mut Option<T>, open: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
    match slot {
        Some(open) => Ok(open),
        None => Ok(slot.insert(open()?)),
    }
}

fn check_same(network: &Network, config: &NetworkConfig) -> Result<(), NetError> {
    let differs = |key, has: String, wanted: String| NetError::Differs {
        name: network.name.clone(),
        key,
        has,
        wanted,
    };
    if let Some(subnet) = config.subnet.filter(|subnet| *subnet != network.subnet) {
        return Err(differs("subnet", network.subnet.to_string(), subnet.to_string()));
    }
    if config.internal != network.internal {
        return Err(differs("internal", network.internal.to_string(), config.internal.to_string()));
    }
    if let Some(mtu) = config.mtu.filter(|mtu| *mtu != network.mtu) {
        return Err(differs("mtu", network.mtu.to_string(), mtu.to_string()));
    }
    Ok(())
}

fn check_subnet(subnet: Cidr, taken: &[(Cidr, String)]) -> Result<Cidr, NetError> {
    let problem = if subnet.prefix() < 8 || subnet.prefix() > 30 {
        "must have a prefix from 8 to 30".to_owned()
    } else if let Some((cidr, whose)) = taken.iter().find(|(cidr, _)| cidr.overlaps(&subnet)) {
        format!("overlaps `{cidr}` of {whose}")
    } else {
        return Ok(subnet);
    };
    Err(NetError::Subnet { subnet, problem })
}

/// Lets the host route; stays on, because by the end others may rely on it.
fn forward() -> Result<(), NetError> {
    const KEY: &str = "net/ipv4/ip_forward";
    let now = fs_err::read_to_string(format!("/proc/sys/{KEY}")).map_err(NetError::State)?;
    if now.trim() == "1" { Ok(()) } else { netns::set(KEY, "1") }
}
