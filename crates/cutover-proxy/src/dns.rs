//! Names of services: a DNS server on each network's gateway.
//!
//! Every network has its own names and its own sockets, and answers only those who are on it: a
//! name of one app is unknown to another. What is not a name of the network is forwarded to the
//! machine's resolvers, except what must not leave the machine: names without a dot and addresses
//! of the network itself.

mod answer;
mod forward;
mod server;

pub(crate) use forward::Resolvers;
pub(crate) use server::Dns;

use crate::control::NetworkNames;
use crate::listen::parse_subnet;

/// Refuses names that could never be answered.
pub(crate) fn check(names: &NetworkNames) -> Result<(), String> {
    let network = &names.network;
    if let Some(bad) = names.subnets.iter().find(|subnet| parse_subnet(subnet).is_none()) {
        return Err(format!("subnet `{bad}` of network `{network}` is not like `10.0.0.0/24`"));
    }
    let bad = names.names.keys().find(|name| answer::parse_name(name).is_none());
    match bad {
        Some(bad) => Err(format!("`{bad}` in network `{network}` is not a DNS name")),
        None => Ok(()),
    }
}
