//! DNS names of an app's services: pushed to the proxy, which answers for them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use cutover_core::service::Service;
use cutover_proxy::control::NetworkNames;
use cutover_release::InstanceId;

use super::machine::{Machine, Step, failed};

/// Services with the instances that their names mean.
pub(crate) type Named<'a> = Vec<(&'a Service, Vec<InstanceId>)>;

/// Makes the names of `app` mean these instances, on every network that they use.
pub(crate) fn publish(machine: &Machine, app: &str, named: &Named<'_>) -> Step {
    let mut networks: BTreeMap<String, BTreeMap<String, Vec<IpAddr>>> = BTreeMap::new();
    for (service, instances) in named {
        for used in service.networks.values() {
            let names = networks.entry(used.network.name.clone()).or_default();
            let addresses = addresses(machine, app, instances, &used.network.name)?;
            for name in std::iter::once(&service.name).chain(&used.aliases) {
                names.entry(name.to_lowercase()).or_default().extend(&addresses);
            }
        }
    }
    let mut proxy = machine.proxy()?;
    let listing = proxy.list().map_err(failed)?;
    for (name, names) in networks {
        let Some(network) = machine.network(&name)? else { continue };
        let key = format!("{app}/{name}");
        let known = listing.networks.iter().find(|known| known.network == key);
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
        proxy.set_names(names).map_err(failed)?;
    }
    Ok(())
}

/// Takes the names of `app` away.
pub(crate) fn withdraw(machine: &Machine, app: &str) -> Step {
    let mut proxy = machine.proxy()?;
    let prefix = format!("{app}/");
    for known in proxy.list().map_err(failed)?.networks {
        if known.network.starts_with(&prefix) {
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
