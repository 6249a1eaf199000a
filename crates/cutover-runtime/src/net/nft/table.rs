//! The table of one root: loaded as a whole, with published ports coming and going.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::elements::{self, Element};
use super::object::{self, SetName};
use super::ruleset;
use crate::net::netlink::{NetlinkError, Socket};
use crate::net::types::{Lease, Network, PublishedPort};

/// Works in the network namespace where it was opened.
#[derive(Debug)]
pub(crate) struct Table {
    name: String,
    socket: Socket,
}

impl Table {
    /// See [`Socket::netfilter`] on when to drop it.
    pub(crate) fn open(name: &str) -> Result<Self, NetlinkError> {
        Ok(Self { name: name.to_owned(), socket: Socket::netfilter()? })
    }

    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Whether the table as loaded is the one for these networks.
    pub(crate) fn is_loaded(&mut self, networks: &[Network]) -> Result<bool, NetlinkError> {
        let reply = self.socket.get(object::get_table(&self.name))?;
        let found = reply.as_ref().and_then(object::table_comment);
        Ok(found.as_deref() == Some(comment(networks).as_str()))
    }

    /// Replaces the table, in one transaction; no packet sees anything in between.
    pub(crate) fn load(
        &mut self,
        networks: &[Network],
        leases: &[Lease],
    ) -> Result<(), NetlinkError> {
        let table = self.name.as_str();
        // adding first makes the deletion succeed whether or not the table was there
        let mut batch = vec![object::add_table(table, ""), object::delete_table(table)];
        batch.push(object::add_table(table, &comment(networks)));
        batch.extend(ruleset::CHAINS.iter().map(|chain| object::add_chain(table, chain)));
        batch.extend(
            [SetName::PublishedOn, SetName::Published].map(|set| object::add_map(table, set)),
        );
        let rules = ruleset::rules(networks);
        batch.extend(rules.iter().map(|rule| object::append_rule(table, rule)));
        batch.extend(elements::add(table, &wanted(leases)));
        self.socket.transact(batch)
    }

    /// Deletes the table if it is there.
    pub(crate) fn unload(&mut self) -> Result<(), NetlinkError> {
        match self.socket.transact(vec![object::delete_table(&self.name)]) {
            Err(error) if error.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Makes `ports` lead to `ip`, whatever they led to before. `false`: the table is gone.
    pub(crate) fn publish(
        &mut self,
        ip: Ipv4Addr,
        ports: &[PublishedPort],
    ) -> Result<bool, NetlinkError> {
        let added: Vec<Element> = ports.iter().map(|port| Element::new(port, ip)).collect();
        match self.socket.transact(elements::add(&self.name, &added)) {
            Err(error) if error.is(libc::ENOENT) => return Ok(false),
            // left over from a container whose shim was killed; the host port is ours by now
            Err(error) if error.is(libc::EEXIST) || error.is(libc::EBUSY) => {}
            other => return other.map(|()| true),
        }
        let keys: BTreeSet<_> = added.iter().map(|element| element.key.clone()).collect();
        let mut taken = self.elements()?;
        taken.retain(|element| keys.contains(&element.key));
        let mut batch = elements::delete(&self.name, &taken);
        batch.extend(elements::add(&self.name, &added));
        self.socket.transact(batch).map(|()| true)
    }

    /// Deletes what leads from `ports` to `ip`; what is gone already, or leads elsewhere by now, is
    /// no error.
    pub(crate) fn withdraw(
        &mut self,
        ip: Ipv4Addr,
        ports: &[PublishedPort],
    ) -> Result<(), NetlinkError> {
        if ports.is_empty() {
            return Ok(());
        }
        let ours: BTreeSet<_> = ports.iter().map(|port| Element::new(port, ip)).collect();
        let mut found = self.elements()?;
        found.retain(|element| ours.contains(element));
        self.socket.transact(elements::delete(&self.name, &found))
    }

    /// Makes the published ports exactly those of `leases`; says how many were wrong.
    pub(crate) fn reconcile(&mut self, leases: &[Lease]) -> Result<usize, NetlinkError> {
        let wanted: BTreeSet<_> = wanted(leases).into_iter().collect();
        let found: BTreeSet<_> = self.elements()?.into_iter().collect();
        let stale: Vec<_> = found.difference(&wanted).cloned().collect();
        let missing: Vec<_> = wanted.difference(&found).cloned().collect();
        let mut batch = elements::delete(&self.name, &stale);
        batch.extend(elements::add(&self.name, &missing));
        self.socket.transact(batch)?;
        Ok(stale.len() + missing.len())
    }

    /// All elements of both maps; none if the table is gone.
    fn elements(&mut self) -> Result<Vec<Element>, NetlinkError> {
        let mut all = Vec::new();
        for set in [SetName::PublishedOn, SetName::Published] {
            let replies = match self.socket.dump(elements::list(&self.name, set)) {
                Err(error) if error.is(libc::ENOENT) => continue,
                other => other?,
            };
            all.extend(replies.iter().flat_map(|reply| elements::found(reply, set)));
        }
        Ok(all)
    }
}

fn wanted(leases: &[Lease]) -> Vec<Element> {
    leases
        .iter()
        .flat_map(|lease| lease.ports.iter().map(|port| Element::new(port, lease.ip)))
        .collect()
}

fn comment(networks: &[Network]) -> String {
    format!("cutover {}", ruleset::fingerprint(networks))
}
