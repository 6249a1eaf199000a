//! What the agent does unasked: at its start it sets right what a crash or a reboot left; after
//! that it keeps the proxy's addresses true when a container came back with another one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cutover_release::{InstanceId, Releases};
use tracing::{info, warn};

use super::instance::label;
use super::machine::{Machine, Step, failed};
use super::server::Shared;
use super::{names, routes, traffic};

/// How long until containers are looked at although none told of a change: a killed shim tells
/// nothing.
const INTERVAL: Duration = Duration::from_secs(2);

/// At the agent's start: lays out secrets, which a reboot has wiped, takes back addresses, and starts
/// what its restart policy says.
pub(crate) fn recover(shared: &Shared) {
    if let Err(error) = lay_out_secrets(shared) {
        warn!("cannot lay out the secrets of some instances: {error}");
    }
    free_addresses(shared);
    revive(shared);
    super::deploy::collect_secrets(shared);
}

/// Sets right containers whose shim is gone, and starts again those whose policy says so.
fn revive(shared: &Shared) {
    match shared.machine.containers.recover() {
        Ok(all) => {
            for one in all {
                match one.restarted {
                    Some(Ok(())) => info!(container = one.name, "started again"),
                    Some(Err(error)) => warn!(container = one.name, "did not start again: {error}"),
                    None => info!(container = one.name, "set right"),
                }
            }
        }
        Err(error) => warn!("cannot look after the containers: {error}"),
    }
}

/// Takes back addresses and ports of containers that ended without giving them back.
fn free_addresses(shared: &Shared) {
    let machine = &shared.machine;
    let live: BTreeSet<String> = match machine.containers.list() {
        Ok(all) => {
            let live = all.into_iter().filter(|one| one.state.status.is_live());
            live.map(|one| one.config.id.to_string()).collect()
        }
        Err(error) => {
            warn!("cannot list the containers: {error}");
            return;
        }
    };
    let alive = |id: &str| live.contains(id) || cutover_build::is_running_build(id);
    if let Err(error) = machine.networks.reconcile(&alive) {
        warn!("cannot take back addresses: {error}");
    }
}

fn lay_out_secrets(shared: &Shared) -> Step {
    let machine = &shared.machine;
    let mut releases: BTreeMap<String, Releases> = BTreeMap::new();
    for summary in machine.containers.list().map_err(failed)? {
        let labels = &summary.config.labels;
        let get = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let (app, service) = (get(label::APP), get(label::SERVICE));
        if get(label::KIND) != "instance" {
            continue;
        }
        if !releases.contains_key(&app) {
            let kept = shared.ledger.lock().releases(&app).map_err(failed)?;
            releases.insert(app.clone(), kept);
        }
        let (instance, spec) = (get(label::INSTANCE), get(label::SPEC));
        if machine.files_dir(&app, &instance).exists() {
            continue;
        }
        let kept = releases[&app].values().filter_map(|release| release.services.get(&service));
        if let Some(sealed) = { kept }.find(|sealed| sealed.instance_digest().as_str() == spec) {
            machine.lay_out_files(&app, &instance, sealed)?;
        }
    }
    Ok(())
}

/// Watches containers in a thread of its own, for as long as the agent lives.
pub(crate) fn spawn(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut watch = match shared.machine.containers.watch() {
            Ok(watch) => watch,
            Err(error) => {
                warn!("cannot watch the containers: {error}");
                return;
            }
        };
        loop {
            if !shared.is_busy() {
                revive(&shared);
            }
            if let Err(error) = refresh_all(&shared) {
                warn!("cannot compare addresses: {error}");
            }
            if let Err(error) = watch.next(Some(INTERVAL)) {
                warn!("cannot watch the containers: {error}");
                std::thread::sleep(INTERVAL);
            }
        }
    });
}

fn refresh_all(shared: &Shared) -> Step {
    for app in routes::apps(&shared.machine.paths.root).map_err(failed)? {
        // A deployment changes addresses itself, and its switch must not be overtaken: it looks at
        // the machine only when this is done.
        let _refreshing = shared.refreshing();
        if shared.active(&app).is_none() {
            refresh(shared, &app)?;
        }
    }
    Ok(())
}

/// Tells the proxy the addresses that the instances have now.
fn refresh(shared: &Shared, app: &str) -> Step {
    let machine = &shared.machine;
    let mut routes = routes::load(&machine.paths.root, app).map_err(failed)?;
    if routes.targets.is_empty() {
        return Ok(());
    }
    let mut proxy = machine.proxy()?;
    let listing = proxy.list().map_err(failed)?;
    let prefix = format!("{app}/");
    let known = listing.services.into_iter().filter(|spec| spec.service.starts_with(&prefix));
    let mut specs: Vec<_> = known.collect();
    let mut changed = false;
    for target in specs.iter_mut().flat_map(|spec| &mut spec.targets) {
        if let Some(now) = moved(machine, app, &target.id, target.addr)? {
            info!(app, instance = target.id, from = %target.addr, to = %now, "address changed");
            target.addr = now;
            changed = true;
        }
    }
    if changed {
        let newest = specs.iter().map(|spec| spec.generation).max().unwrap_or(0);
        routes.generation = routes.generation.max(newest) + 1;
        for spec in &mut specs {
            spec.generation = routes.generation;
        }
        traffic::set_app(&mut proxy, app, routes.generation, specs)?;
        routes::save(&machine.paths.root, app, &routes).map_err(failed)?;
    }
    let ledger = shared.ledger.lock();
    let serving = ledger.app(app).map_err(failed)?.and_then(|app| app.serving);
    let Some(serving) = serving else { return Ok(()) };
    let release = ledger.release(app, serving).map_err(failed)?;
    drop(ledger);
    let mut named = Vec::new();
    for (service, ids) in &routes.targets {
        if let Some(sealed) = release.services.get(service) {
            named.push((&sealed.service, ids.iter().cloned().collect()));
        }
    }
    names::publish(machine, app, &named)
}

/// The new address of a target, if it has another one than `before`.
fn moved(machine: &Machine, app: &str, id: &str, before: SocketAddr) -> Step<Option<SocketAddr>> {
    let now = machine.address(app, &InstanceId(id.to_owned()))?;
    let now = now.map(|ip| SocketAddr::from((ip, before.port())));
    Ok(now.filter(|now| *now != before && !before.ip().is_loopback()))
}
