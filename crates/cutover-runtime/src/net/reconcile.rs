//! Clearing up after containers that ended without a release: shims that were killed, power cuts.

use std::collections::BTreeSet;

use super::error::NetError;
use super::networks::Networks;
use super::nft::Foreign;
use super::{conntrack, types::Lease};

/// What was not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Containers whose leases were ended.
    pub containers: BTreeSet<String>,
    /// Published ports that were withdrawn or published again.
    pub ports: usize,
    /// Links that nobody has a lease for.
    pub links: Vec<String>,
}

impl Networks {
    /// Makes leases, rules and links those of the containers that `alive` says exist (also when
    /// they are just being started).
    pub fn reconcile(&self, alive: &dyn Fn(&str) -> bool) -> Result<Reconciled, NetError> {
        let locked = self.store.lock()?;
        let networks = self.store.networks()?;
        let mut book = self.store.book()?;
        let ended = book.end(|lease| !alive(&lease.container_id));
        let mut report = Reconciled {
            containers: ended.iter().map(|lease| lease.container_id.clone()).collect(),
            ..Reconciled::default()
        };
        let own = self.names.table();
        report.ports = self.with_table("reconcile the rules", |table| {
            if networks.is_empty() {
                table.unload()?;
                return Ok(0);
            }
            let ports = if table.is_loaded(&networks)? {
                table.reconcile(&book.leases)?
            } else {
                table.load(&networks, &book.leases)?;
                0
            };
            Foreign { socket: table.socket(), owner: &own }.apply(&networks)?;
            Ok(ports)
        })?;
        if !ended.is_empty() {
            locked.save_book(book.clone())?;
        }
        report.links = self.remove_strays(&book.leases)?;
        for lease in ended.iter().filter(|lease| !lease.ports.is_empty()) {
            self.with_table("forget tracked connections", |table| {
                conntrack::forget_answers_of(table.socket(), lease.ip)
            })?;
        }
        Ok(report)
    }

    /// Removes everything of this root: every network, with whatever is attached.
    pub fn remove_all(&self) -> Result<(), NetError> {
        self.reconcile(&|_| false)?;
        for network in self.store.networks()? {
            self.remove(&network.name)?;
        }
        Ok(())
    }

    /// Removes links that are ours by name or mark and belong to no lease and no network.
    fn remove_strays(&self, leases: &[Lease]) -> Result<Vec<String>, NetError> {
        let bridges: BTreeSet<String> =
            self.store.networks()?.into_iter().map(|network| network.bridge).collect();
        let leased: BTreeSet<&str> = leases.iter().map(|lease| lease.link.as_str()).collect();
        let prefix = format!("c{}", self.names.link_tag());
        let mark = self.names.alias_prefix();
        self.with_links("remove links that are left over", |links| {
            let mut strays: Vec<String> = Vec::new();
            for link in links.list()?.into_values() {
                let pair = link.kind == "veth"
                    && link.name.starts_with(&prefix)
                    && !leased.contains(link.name.as_str());
                let bridge = link.kind == "bridge"
                    && link.alias.starts_with(&mark)
                    && !bridges.contains(&link.name);
                if pair || bridge {
                    links.remove(&link.name)?;
                    strays.push(link.name);
                }
            }
            Ok(strays)
        })
    }
}
