//! DNS names of an app's services: pushed to the proxy, which answers for them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use cutover_core::service::Service;
use cutover_proxy::control::{CallError, Client, NetworkNames};
use cutover_release::InstanceId;

use super::machine::{Machine, Step, failed};

/// Services with the instances that their names mean.
pub(crate) type Named<'a> = Vec<(&'a Service, Vec<InstanceId>)>;

type Names = BTreeMap<String, Vec<IpAddr>>;

/// Makes these all the names of `app`, on every network that it uses.
pub(crate) fn publish(machine: &Machine, app: &str, named: &Named<'_>) -> Step {
    let mut networks: BTreeMap<String, Names> = BTreeMap::new();
    for (service, instances) in named {
        for (network, names) in of_service(machine, app, service, instances)? {
            let all = networks.entry(network).or_default();
            for (name, addresses) in names {
                all.entry(name).or_default().extend(addresses);
            }
        }
    }
    push(machine, app, networks, |_, names| names)
}

/// Makes the names of one service mean these instances; other names stay.
pub(crate) fn announce(
    machine: &Machine,
    app: &str,
    service: &Service,
    instances: &[InstanceId],
) -> Step {
    let networks = of_service(machine, app, service, instances)?;
    push(machine, app, networks, |known, names| {
        let mut all = known.clone();
        all.extend(names);
        all.retain(|_, addresses| !addresses.is_empty());
        all
    })
}

/// The names of a service on each of its networks.
fn of_service(
    machine: &Machine,
    app: &str,
    service: &Service,
    instances: &[InstanceId],
) -> Step<BTreeMap<String, Names>> {
    let mut networks: BTreeMap<String, Names> = BTreeMap::new();
    for used in service.networks.values() {
        let addresses = addresses(machine, app, instances, &used.network.name)?;
        let names = networks.entry(used.network.name.clone()).or_default();
        for name in std::iter::once(&service.name).chain(&used.aliases) {
            names.insert(name.to_lowercase(), addresses.clone());
        }
    }
    Ok(networks)
}

/// Tells the proxy what changed: `merge` makes a network's new names of those known and these.
fn push(
    machine: &Machine,
    app: &str,
    networks: BTreeMap<String, Names>,
    merge: impl Fn(&Names, Names) -> Names,
) -> Step {
    let mut proxy = machine.proxy()?;
    let listing = proxy.list().map_err(failed)?;
    for (name, names) in networks {
        let Some(network) = machine.network(&name)? else { continue };
        let key = format!("{app}/{name}");
        let known = listing.networks.iter().find(|known| known.network == key);
        let names = merge(known.map_or(&Names::new(), |known| &known.names), names);
        if known.is_some_and(|known| known.names == names) {
            continue;
        }
        let names = NetworkNames {
            generation: known.map_or(0, |known| known.generation) + 1,
            network: key,
            listen: vec![SocketAddr::from((network.gateway, 53))],
            subnets: vec![network.subnet.to_string()],
            names,
        };
        set(&mut proxy, names)?;
    }
    Ok(())
}

/// Names that were withdrawn have left their fence behind: the next ones go over it. The agent is
/// their only writer, so nobody newer is overwritten.
fn set(proxy: &mut Client, names: NetworkNames) -> Step {
    match proxy.set_names(names.clone()) {
        Err(CallError::Stale { current, .. }) => {
            let names = NetworkNames { generation: current + 1, ..names };
            proxy.set_names(names).map_err(failed)
        }
        other => other.map_err(failed),
    }
}

/// Takes the names of `app` away from one network.
pub(crate) fn withdraw_from(machine: &Machine, app: &str, network: &str) -> Step {
    let key = format!("{app}/{network}");
    take_away(machine, |known| known == key)
}

/// Takes the names of `app` away.
pub(crate) fn withdraw(machine: &Machine, app: &str) -> Step {
    let prefix = format!("{app}/");
    take_away(machine, |known| known.starts_with(&prefix))
}

fn take_away(machine: &Machine, of: impl Fn(&str) -> bool) -> Step {
    let mut proxy = machine.proxy()?;
    for known in proxy.list().map_err(failed)?.networks {
        if of(&known.network) {
            proxy.remove_names(&known.network, known.generation + 1).map_err(failed)?;
        }
    }
    Ok(())
}

fn addresses(
    machine: &Machine,
    app: &str,
    instances: &[InstanceId],
    network: &str,
) -> Step<Vec<IpAddr>> {
    let mut found = Vec::new();
    for id in instances {
        let Some(container) = machine.container(app, id)? else { continue };
        let state = container.state().map_err(failed)?;
        let addresses = state.addresses.iter().filter(|address| address.network == network);
        found.extend(addresses.map(|address| IpAddr::V4(address.ip)));
    }
    Ok(found)
}
