//! DNS names of an app's services: pushed to the proxy, which answers for them.
//!
//! A name means the instances that serve. While a deployment is under way it means something else to
//! its new instances: those of the new release that are well already, so that the release is proven
//! as a whole ([`preview`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cutover_core::release::Release;
use cutover_core::service::Service;
use cutover_proxy::control::{CallError, Client, NetworkNames, Preview};
use cutover_release::InstanceId;
use cutover_runtime::net::Network;

use super::instance::label;
use super::machine::{Machine, Step, failed};

/// Services with the instances that their names mean.
pub(crate) type Named<'a> = Vec<(&'a Service, Vec<InstanceId>)>;

type Names = BTreeMap<String, Vec<IpAddr>>;

/// Makes these all the names of `app`, on every network that it uses, for everyone.
pub(crate) fn publish(machine: &Machine, app: &str, named: &Named<'_>) -> Step {
    let networks = of_all(machine, app, named)?;
    let services: Vec<&Service> = named.iter().map(|(service, _)| *service).collect();
    let beyond = beyond(&services);
    push(machine, app, networks, |known, names| NetworkNames {
        names,
        also: also(machine, &beyond, &known.network),
        preview: None,
        ..known
    })
}

/// Makes the names of one service mean these instances; other names stay.
pub(crate) fn announce(
    machine: &Machine,
    app: &str,
    service: &Service,
    instances: &[InstanceId],
) -> Step {
    let networks = of_service(machine, app, service, instances)?;
    push(machine, app, networks, |mut known, names| {
        known.names.extend(names);
        known.names.retain(|_, addresses| !addresses.is_empty());
        known
    })
}

/// Has the gateways of the release's networks answer, be it for names from outside only: a hook may
/// ask before anything serves.
pub(crate) fn prepare(machine: &Machine, app: &str, release: &Release) -> Step {
    let services: Vec<&Service> = release.services.values().map(|it| &it.service).collect();
    let used = services.iter().flat_map(|service| service.networks.values());
    let networks = used.map(|used| (used.network.name.clone(), Names::new())).collect();
    let beyond = beyond(&services);
    push(machine, app, networks, |known, _| NetworkNames {
        also: also(machine, &beyond, &known.network),
        ..known
    })
}

/// Lets whoever comes to the networks of these services from now on find these instances under their
/// names, and also those whose container `is_new` knows already. To all others nothing changes.
pub(crate) fn preview(
    machine: &Machine,
    app: &str,
    named: &Named<'_>,
    is_new: &dyn Fn(&InstanceId) -> bool,
) -> Step {
    let new: BTreeSet<String> = machine
        .containers
        .list()
        .map_err(failed)?
        .into_iter()
        .filter(|summary| {
            let labels = &summary.config.labels;
            let ours = labels.get(label::APP).is_some_and(|owner| owner == app);
            let id = labels.get(label::INSTANCE).cloned().map(InstanceId);
            let is_one_off = labels.get(label::KIND).is_some_and(|kind| kind == "one-off");
            ours && (is_one_off || id.is_some_and(|id| is_new(&id)))
        })
        .map(|summary| summary.config.id.to_string())
        .collect();
    let networks = of_all(machine, app, named)?;
    let mut strangers: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for name in networks.keys().filter(|name| !name.is_empty()) {
        let (_, leases) = machine.networks.inspect(name).map_err(failed)?;
        let old = leases.into_iter().filter(|lease| !new.contains(&lease.container_id));
        strangers.insert(name.clone(), old.map(|lease| IpAddr::V4(lease.ip)).collect());
    }
    push(machine, app, networks, |known, mut names| {
        names.retain(|_, addresses| !addresses.is_empty());
        let network = known.network.split_once('/').map_or("", |(_, network)| network);
        let not_for = strangers.get(network).cloned().unwrap_or_default();
        NetworkNames { preview: Some(Preview { names, not_for }), ..known }
    })
}

/// All names mean the same to everyone again.
pub(crate) fn end_preview(machine: &Machine, app: &str) -> Step {
    let mut proxy = machine.proxy()?;
    let prefix = format!("{app}/");
    for known in proxy.list().map_err(failed)?.networks {
        if known.network.starts_with(&prefix) && known.preview.is_some() {
            let generation = known.generation + 1;
            set(&mut proxy, NetworkNames { preview: None, generation, ..known })?;
        }
    }
    Ok(())
}

/// The names of all these services on each of their networks.
fn of_all(machine: &Machine, app: &str, named: &Named<'_>) -> Step<BTreeMap<String, Names>> {
    let mut networks: BTreeMap<String, Names> = BTreeMap::new();
    for (service, instances) in named {
        for (network, names) in of_service(machine, app, service, instances)? {
            let all = networks.entry(network).or_default();
            for (name, addresses) in names {
                all.entry(name).or_default().extend(addresses);
            }
        }
    }
    Ok(networks)
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

/// For each network the others that a service on it is on as well. An instance asks one gateway
/// only, that of its first network.
fn beyond(services: &[&Service]) -> BTreeMap<String, BTreeSet<String>> {
    let mut beyond: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for service in services {
        let names = || service.networks.values().map(|used| &used.network.name);
        for name in names() {
            let others = names().filter(|other| *other != name).cloned();
            beyond.entry(name.clone()).or_default().extend(others);
        }
    }
    beyond
}

fn also(
    machine: &Machine,
    beyond: &BTreeMap<String, BTreeSet<String>>,
    key: &str,
) -> Vec<SocketAddr> {
    let name = key.split_once('/').map_or("", |(_, network)| network);
    let others = beyond.get(name).into_iter().flatten();
    // one that does not exist yet is found by the next push
    let others = others.filter_map(|other| machine.network(other).ok().flatten());
    others.map(|network| gateway(&network)).collect()
}

fn gateway(network: &Network) -> SocketAddr {
    SocketAddr::from((network.gateway, 53))
}

/// Tells the proxy what changed: `change` makes what is known of a network, and its new names, into
/// what is to be known.
fn push(
    machine: &Machine,
    app: &str,
    networks: BTreeMap<String, Names>,
    change: impl Fn(NetworkNames, Names) -> NetworkNames,
) -> Step {
    let mut proxy = machine.proxy()?;
    let listing = proxy.list().map_err(failed)?;
    for (name, names) in networks {
        let Some(network) = machine.network(&name)? else { continue };
        let key = format!("{app}/{name}");
        let known = listing.networks.iter().find(|known| known.network == key);
        let place = NetworkNames {
            network: key,
            listen: vec![gateway(&network)],
            subnets: vec![network.subnet.to_string()],
            ..known.cloned().unwrap_or_default()
        };
        let wanted = change(place, names);
        if known != Some(&wanted) {
            set(&mut proxy, NetworkNames { generation: wanted.generation + 1, ..wanted })?;
        }
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
