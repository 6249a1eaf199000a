//! Room in other firewalls' tables.
//!
//! A packet must be accepted by *every* table, so a forward policy of drop elsewhere (docker and
//! ufw set one) cuts containers off whatever our own table says. Only the tables that iptables
//! makes are touched, as docker and libvirt do too:
//!
//! - `ip filter`, chain `DOCKER-USER` (docker's place for the rules of others), else `FORWARD` if
//!   its policy is drop: accept what comes from or goes to our bridges.
//! - `ip filter`, chain `INPUT` if its policy is drop: accept DNS from our bridges, because names are
//!   served on the gateway's address.
//!
//! Out of reach: a drop in a table that somebody wrote for nft or that firewalld made (rules of
//! ours would be lost on its reload) is only reported; what the old iptables-legacy drops is not
//! even seen. There the administrator has to let our bridges through, e.g. by firewalld's trusted
//! zone.

use super::expr::Expr;
use super::object::{self, FoundChain, FoundRule};
use crate::net::netlink::{NetlinkError, Socket};
use crate::net::types::{Network, Protocol};

const TABLE: &str = "filter";
const FORWARD: u32 = 2;
const INPUT: u32 = 1;
const DNS: u16 = 53;

/// The rules of one root in tables of others.
#[derive(Debug)]
pub(crate) struct Foreign<'a> {
    pub(crate) socket: &'a mut Socket,
    /// Starts the comment by which our rules are found again.
    pub(crate) owner: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    chain: String,
    comment: String,
    exprs: Vec<Expr>,
}

impl Foreign<'_> {
    /// Makes our rules in `ip filter` those for `networks`: adds what is missing, deletes what is
    /// too much. Where there is no such table it costs one question.
    pub(crate) fn apply(&mut self, networks: &[Network]) -> Result<(), NetlinkError> {
        if self.socket.get(object::get_table(TABLE))?.is_none() {
            return Ok(());
        }
        let chains = self.chains()?;
        let found = self.ours()?;
        let wanted = wanted(self.owner, &chains, networks);
        let is = |found: &FoundRule, wanted: &Wanted| {
            found.chain == wanted.chain && found.comment == wanted.comment
        };
        let surplus = found.iter().filter(|found| !wanted.iter().any(|wanted| is(found, wanted)));
        let missing = wanted.iter().filter(|wanted| !found.iter().any(|found| is(found, wanted)));
        let mut batch: Vec<_> = surplus.map(|rule| object::delete_rule(TABLE, rule)).collect();
        batch.extend(
            missing.map(|rule| object::insert_rule(TABLE, &rule.chain, &rule.exprs, &rule.comment)),
        );
        self.socket.transact(batch)
    }

    /// Chains of others that drop forwarded packets by default and that we leave alone.
    pub(crate) fn obstacles(&mut self, own_table: &str) -> Result<Vec<String>, NetlinkError> {
        let chains = self.chains()?;
        Ok(chains
            .into_iter()
            .filter(|chain| chain.hook == Some((FORWARD, true)))
            .filter(|chain| !(chain.ipv4 && [own_table, TABLE].contains(&chain.table.as_str())))
            .map(|FoundChain { ipv4, table, name, .. }| {
                format!("{} {table} {name}", if ipv4 { "ip" } else { "inet" })
            })
            .collect())
    }

    fn chains(&mut self) -> Result<Vec<FoundChain>, NetlinkError> {
        let mut chains = Vec::new();
        for family in object::FAMILIES {
            let replies = self.socket.dump(object::list_chains(family))?;
            chains.extend(replies.iter().filter_map(object::found_chain));
        }
        Ok(chains)
    }

    fn ours(&mut self) -> Result<Vec<FoundRule>, NetlinkError> {
        let prefix = format!("{}:", self.owner);
        let replies = self.socket.dump(object::list_rules(TABLE))?;
        let mut rules: Vec<_> = replies.iter().filter_map(object::found_rule).collect();
        rules.retain(|rule| rule.comment.starts_with(&prefix));
        Ok(rules)
    }
}

/// The rules that `ip filter` should hold for us, given its chains.
fn wanted(owner: &str, chains: &[FoundChain], networks: &[Network]) -> Vec<Wanted> {
    let find = |name: &str| {
        chains.iter().find(|chain| chain.ipv4 && chain.table == TABLE && chain.name == name)
    };
    let drops = |name: &str, hook: u32| {
        find(name).filter(|chain| chain.hook == Some((hook, true))).map(|chain| &chain.name)
    };
    let forward =
        find("DOCKER-USER").map(|chain| &chain.name).or_else(|| drops("FORWARD", FORWARD));
    let input = drops("INPUT", INPUT);
    let mut wanted = Vec::new();
    for Network { bridge, .. } in networks {
        let mut add = |chain: &str, what: &str, mut exprs: Vec<Expr>| {
            exprs.extend([Expr::Counter, Expr::Accept]);
            let comment = format!("{owner}:{bridge}:{what}");
            wanted.push(Wanted { chain: chain.to_owned(), comment, exprs });
        };
        if let Some(chain) = forward {
            add(chain, "out", vec![Expr::FromLink(bridge.clone())]);
            add(chain, "in", vec![Expr::ToLink(bridge.clone())]);
        }
        if let Some(chain) = input {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                let what = format!("dns-{protocol}");
                let from = Expr::FromLink(bridge.clone());
                let to = [Expr::Protocol(protocol.number()), Expr::DestinationPort(DNS)];
                add(chain, &what, [vec![from], to.to_vec()].concat());
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_what_it_needs() {
        let network = Network {
            name: "n".to_owned(),
            bridge: "br9".to_owned(),
            subnet: "10.9.0.0/24".parse().unwrap(),
            gateway: [10, 9, 0, 1].into(),
            internal: false,
            mtu: 1500,
        };
        type Shown<'a> = (&'a str, &'a str, Option<(u32, bool)>);
        let check = |chains: &[Shown<'_>], expected: &[&str]| {
            let chains: Vec<_> = chains
                .iter()
                .map(|(table, name, hook)| FoundChain {
                    ipv4: true,
                    table: (*table).to_owned(),
                    name: (*name).to_owned(),
                    hook: *hook,
                })
                .collect();
            let got: Vec<_> = wanted("cutover", &chains, std::slice::from_ref(&network))
                .into_iter()
                .map(|rule| format!("{} {}", rule.chain, rule.comment))
                .collect();
            assert_eq!(got, expected);
        };
        check(&[], &[]);
        check(&[("filter", "FORWARD", Some((2, false)))], &[]);
        check(&[("other", "FORWARD", Some((2, true)))], &[]);
        check(
            &[("filter", "FORWARD", Some((2, true)))],
            &["FORWARD cutover:br9:out", "FORWARD cutover:br9:in"],
        );
        check(
            &[("filter", "FORWARD", Some((2, true))), ("filter", "DOCKER-USER", None)],
            &["DOCKER-USER cutover:br9:out", "DOCKER-USER cutover:br9:in"],
        );
        check(
            &[("filter", "INPUT", Some((1, true)))],
            &["INPUT cutover:br9:dns-udp", "INPUT cutover:br9:dns-tcp"],
        );
    }
}
