//! What the table holds, decided from the networks alone. Pure.
//!
//! | chain | does |
//! |---|---|
//! | `raw` | drops what is addressed to a container, or to loopback, and did not come from where that is allowed |
//! | `prerouting`, `output` | translates published ports, for packets from outside and from this host |
//! | `forward` | between containers of one network: all; into a network: only by published ports |
//! | `postrouting` | the host's address for what leaves a network, and where an answer would miss the host |
//!
//! `raw` runs before any translation, so there a container's own address as the destination means
//! that somebody routes to it past the published ports (docker did not drop that until 28.0). The
//! same goes for 127.0.0.0/8: without the drop, a neighbour on the LAN reaches what is published on
//! 127.0.0.1 (moby did not until 28.0), and `route_localnet` lets containers reach the host's
//! loopback.
//!
//! A drop is final whatever other tables say; an accept is not. Hence what other tables drop is
//! `foreign`'s business.

use super::expr::Expr;
use super::object::{Chain, Hook, Rule, SetName};
use crate::net::cidr::Cidr;
use crate::net::types::Network;

/// Part of the fingerprint: a changed ruleset replaces the one loaded by an earlier build.
const VERSION: u32 = 1;

pub(super) const CHAINS: [Chain; 5] = [
    Chain { name: "raw", kind: "filter", hook: Hook::Prerouting, priority: -300 },
    Chain { name: "prerouting", kind: "nat", hook: Hook::Prerouting, priority: -100 },
    Chain { name: "output", kind: "nat", hook: Hook::Output, priority: -100 },
    Chain { name: "forward", kind: "filter", hook: Hook::Forward, priority: 0 },
    Chain { name: "postrouting", kind: "nat", hook: Hook::Postrouting, priority: 100 },
];

/// All rules, in order.
pub(super) fn rules(networks: &[Network]) -> Vec<Rule> {
    let rule = |chain, exprs: &[Expr]| Rule { chain, exprs: exprs.to_vec() };
    let mut rules = vec![
        rule("raw", &[Expr::FromLink("lo".to_owned()), Expr::Accept]),
        rule("raw", &[Expr::Destination(loopback()), Expr::Drop]),
        rule("prerouting", &[Expr::ToThisHost, Expr::Dnat(SetName::PublishedOn)]),
        rule("prerouting", &[Expr::ToThisHost, Expr::Dnat(SetName::Published)]),
        rule("output", &[Expr::ToThisHost, Expr::Dnat(SetName::PublishedOn)]),
        rule("output", &[Expr::ToThisHost, Expr::Dnat(SetName::Published)]),
        rule("forward", &[Expr::Known, Expr::Accept]),
    ];
    rules.extend(networks.iter().flat_map(of_network));
    rules
}

fn of_network(network: &Network) -> Vec<Rule> {
    let rule = |chain, exprs: &[Expr]| Rule { chain, exprs: exprs.to_vec() };
    let from = || Expr::FromLink(network.bridge.clone());
    let not_from = || Expr::NotFromLink(network.bridge.clone());
    let to = || Expr::ToLink(network.bridge.clone());
    let not_to = || Expr::NotToLink(network.bridge.clone());
    let source = || Expr::Source(network.subnet);
    let mut rules = vec![
        rule("raw", &[from(), Expr::Source(loopback()), Expr::Drop]),
        rule("raw", &[Expr::Destination(network.subnet), not_from(), Expr::Drop]),
        rule("forward", &[from(), to(), Expr::Accept]),
    ];
    if network.internal {
        rules.push(rule("forward", &[from(), Expr::Drop]));
        rules.push(rule("forward", &[to(), Expr::Drop]));
        return rules;
    }
    rules.extend([
        rule("forward", &[to(), Expr::Translated, Expr::Accept]),
        rule("forward", &[to(), Expr::Drop]),
        rule("postrouting", &[source(), not_to(), Expr::Masquerade]),
        // hairpin: a container that comes by a published port must get its answer through the host
        rule("postrouting", &[source(), to(), Expr::Translated, Expr::Masquerade]),
        // this host by 127.0.0.1: a container could not answer to that
        rule("postrouting", &[Expr::Source(loopback()), to(), Expr::Masquerade]),
    ]);
    rules
}

/// What the loaded rules are for, as text; the same text means that nothing is to be done.
pub(super) fn fingerprint(networks: &[Network]) -> String {
    let mut text = format!("v{VERSION}");
    for Network { name, bridge, subnet, internal, .. } in networks {
        text.push_str(&format!("\n{name} {bridge} {subnet} {internal}"));
    }
    let digest = cutover_core::Digest::sha256(text.as_bytes());
    digest.hex().chars().take(16).collect()
}

fn loopback() -> Cidr {
    Cidr::around(std::net::Ipv4Addr::LOCALHOST, 8)
}
