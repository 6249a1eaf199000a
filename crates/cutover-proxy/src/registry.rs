//! Changes to what the proxy knows: fence, check, write, swap, in this order.
//!
//! One writer at a time. A change that cannot be written to disk does not happen; a change that was
//! written and not acknowledged (a crash in between) is repeated by the agent with the same
//! generation and accepted because it says the same.

mod app;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::control::{
    InFlight, NetworkNames, Reply, ServiceSpec, ServiceStats, TargetSpec, TargetState,
};
use crate::gate::Gate;
use crate::health::{Event, Rhythm};
use crate::persist::{Hold, Kept, Loaded, State, StateFile};
use crate::table::{Service, Shared, Table};
use crate::target::Target;
use crate::warm::Warmers;

/// How many former targets of a service are remembered for their counters.
const FORMER_KEPT: usize = 16;

/// The health of targets that another proxy knew: by service and target id.
pub(crate) type KnownHealth = BTreeMap<(String, String), TargetState>;

/// What the proxy knows, and the only way to change it.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) shared: Arc<Shared>,
    /// Grows with every change; workers and probers look again when it does.
    pub(crate) epoch: watch::Sender<u64>,
    /// The names in force, for the DNS server.
    pub(crate) networks: watch::Sender<Arc<BTreeMap<String, NetworkNames>>>,
    /// Which routes there were is not known: see [`Loaded::lost`].
    lost: AtomicBool,
    problem: Mutex<Option<String>>,
    former: Mutex<Vec<Former>>,
    /// Who opens connections before a switch.
    pub(crate) warmers: Warmers,
    file: StateFile,
    writer: tokio::sync::Mutex<State>,
}

/// A target that gets no new requests any more.
#[derive(Clone, Debug)]
pub(crate) struct Former {
    service: String,
    pub(crate) target: Arc<Target>,
}

impl Registry {
    /// Puts a loaded state in force; targets start as `adding` unless their health is known.
    pub(crate) fn restore(file: StateFile, loaded: Loaded, known: &KnownHealth) -> Self {
        let Loaded { state, mut problem, lost } = loaded;
        let services = restored(&state, known);
        let shared = Arc::new(Shared::default());
        match Table::build(services) {
            Ok(table) => shared.swap(table),
            // Only a file that someone edited: what we write was checked before.
            Err(error) => {
                problem = Some(format!("the saved routes contradict each other: {error}"));
            }
        }
        Self {
            shared,
            epoch: watch::Sender::new(0),
            networks: watch::Sender::new(Arc::new(state.networks.clone())),
            lost: AtomicBool::new(lost),
            problem: Mutex::new(problem),
            former: Mutex::new(Vec::new()),
            warmers: Warmers::default(),
            file,
            writer: tokio::sync::Mutex::new(state),
        }
    }

    /// The switch.
    pub(crate) async fn set_service(&self, spec: ServiceSpec) -> Reply {
        let mut state = self.writer.lock().await;
        if let Err(reply) = fence(&state, &spec) {
            return reply;
        }
        let kept = state.services.get(&spec.service);
        if kept.is_some_and(|kept| kept.spec == spec) {
            return Reply::Switched { generation: spec.generation, previous: Vec::new() };
        }
        let hold = kept.and_then(|kept| kept.hold);
        let (key, generation) = (spec.service.clone(), spec.generation);
        let mut next = state.clone();
        next.removed.remove(&key);
        next.services.insert(key.clone(), Kept { spec: spec.clone(), hold });
        let service = self.service(spec);
        match self.commit(&mut state, next, [(key, Some(service))]).await {
            Ok(previous) => Reply::Switched { generation, previous },
            Err(reply) => reply,
        }
    }

    pub(crate) async fn remove(&self, service: &str, generation: u64) -> Reply {
        let mut state = self.writer.lock().await;
        if let Some(current) = newer(&state, service, generation) {
            return Reply::Stale { service: service.to_owned(), current };
        }
        let mut next = state.clone();
        let gate = self.shared.services().get(service).and_then(|service| service.gate.clone());
        next.services.remove(service);
        next.removed.insert(service.to_owned(), generation);
        match self.commit(&mut state, next, [(service.to_owned(), None)]).await {
            Ok(previous) => {
                // Those who wait learn that there is nothing to wait for.
                gate.inspect(|gate| gate.open());
                Reply::Switched { generation, previous }
            }
            Err(reply) => reply,
        }
    }

    /// Begins (`Some`) or ends (`None`) a hold.
    pub(crate) async fn hold(&self, key: &str, generation: u64, hold: Option<Hold>) -> Reply {
        let mut state = self.writer.lock().await;
        if let Some(current) = newer(&state, key, generation) {
            return Reply::Stale { service: key.to_owned(), current };
        }
        let mut next = state.clone();
        let current = self.shared.services().get(key).cloned();
        let (Some(kept), Some(current)) = (next.services.get_mut(key), current) else {
            return Reply::Error { message: format!("there is no service `{key}`") };
        };
        if kept.hold == hold {
            return Reply::Ok;
        }
        kept.hold = hold;
        let gate = hold.map(|hold| Arc::new(Gate::new(hold.timeout, hold.limit)));
        let service = Service::new(current.spec.clone(), current.targets.clone(), gate);
        match self.commit(&mut state, next, [(key.to_owned(), Some(service))]).await {
            Ok(_) => {
                // The old gate, after the swap: whoever wakes chooses from the new table.
                current.gate.as_ref().inspect(|gate| gate.open());
                Reply::Ok
            }
            Err(reply) => reply,
        }
    }

    /// Replaces (`Ok`) or forgets (`Err`, by name and generation) the names of a network.
    pub(crate) async fn set_names(&self, names: Result<NetworkNames, (String, u64)>) -> Reply {
        let mut state = self.writer.lock().await;
        let (network, generation) = match &names {
            Ok(names) => (names.network.clone(), names.generation),
            Err((network, generation)) => (network.clone(), *generation),
        };
        let fence = format!("network {network}");
        let kept = state.networks.get(&network).map(|kept| kept.generation);
        let removed = state.removed.get(&fence).copied();
        if let Some(current) = kept.max(removed).filter(|current| *current > generation) {
            return Reply::Stale { service: fence, current };
        }
        let mut next = state.clone();
        match names {
            Ok(names) => {
                next.removed.remove(&fence);
                next.networks.insert(network, names);
            }
            Err(_) => {
                next.networks.remove(&network);
                next.removed.insert(fence, generation);
            }
        }
        if next == *state {
            return Reply::Ok;
        }
        if let Err(reply) = self.save(&next).await {
            return reply;
        }
        self.networks.send_replace(Arc::new(next.networks.clone()));
        *state = next;
        Reply::Ok
    }

    /// Waits for former targets; returns those that are still busy at the deadline.
    pub(crate) async fn drain(
        &self,
        service: &str,
        ids: &[String],
        timeout: Duration,
    ) -> Result<Drained, String> {
        let former = self.former_of(service, ids);
        let services = self.shared.services();
        let serving = services.get(service).map_or(&[][..], |service| &service.targets);
        let is_former = |id: &String| former.iter().any(|former| former.target.id == *id);
        let live = |id: &&String| serving.iter().any(|target| target.id == **id);
        if let Some(id) = ids.iter().filter(|id| !is_former(id)).find(live) {
            return Err(format!("target `{id}` of `{service}` still gets new requests"));
        }
        let all = async {
            for former in &former {
                former.target.drained().await;
            }
        };
        let in_time = tokio::time::timeout(timeout, all).await.is_ok();
        let mut drained: BTreeSet<_> = ids.iter().cloned().collect();
        drained.extend(former.iter().map(|former| former.target.id.clone()));
        let busy: Vec<_> = former
            .into_iter()
            .map(|former| former.target)
            .filter(|target| !in_time && target.in_flight() > 0)
            .collect();
        for target in &busy {
            drained.remove(&target.id);
        }
        Ok(Drained { drained: drained.into_iter().collect(), busy })
    }

    /// Live and former targets of one service or of all.
    pub(crate) fn stats(&self, only: Option<&str>) -> Vec<ServiceStats> {
        let services = self.shared.services();
        let wanted = services
            .values()
            .filter(|service| only.is_none_or(|only| service.spec.service == only));
        wanted
            .map(|service| {
                let former = self.former_of(&service.spec.service, &[]);
                let former = former.iter().map(|former| former.target.report());
                let held = service.gate.as_ref().map_or(0, |gate| gate.waiting());
                ServiceStats {
                    service: service.spec.service.clone(),
                    generation: service.spec.generation,
                    held: held.try_into().unwrap_or(u64::MAX),
                    targets: service
                        .targets
                        .iter()
                        .map(|live| live.report())
                        .chain(former)
                        .collect(),
                }
            })
            .collect()
    }

    pub(crate) fn specs(&self) -> Vec<ServiceSpec> {
        self.shared.services().values().map(|service| service.spec.clone()).collect()
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an unknown route may be one that was lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn former_of(&self, service: &str, ids: &[String]) -> Vec<Former> {
        let former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = former.iter().filter(|former| {
            former.service == service && (ids.is_empty() || ids.contains(&former.target.id))
        });
        wanted.cloned().collect()
    }

    /// A service for `spec`, with the target objects of those instances that stay.
    fn service(&self, spec: ServiceSpec) -> Arc<Service> {
        let current = self.shared.services().get(&spec.service).cloned();
        let rhythm = rhythm(&spec);
        let targets = spec.targets.iter().map(|wanted| {
            let live = current.iter().flat_map(|service| &service.targets);
            let stays = live.into_iter().find(|target| target.is(wanted));
            match (stays, current.as_ref()) {
                (Some(target), Some(current)) => {
                    if current.spec.health != spec.health {
                        target.set_rhythm(rhythm);
                    }
                    Arc::clone(target)
                }
                _ => Target::new(wanted, first_state(wanted), rhythm),
            }
        });
        let targets = targets.collect();
        let gate = current.and_then(|current| current.gate.clone());
        Service::new(spec, targets, gate)
    }

    /// Check, write, swap: once for all changes, of which `None` is a service that goes. Returns
    /// the targets that are none any more.
    async fn commit(
        &self,
        state: &mut State,
        next: State,
        changes: impl IntoIterator<Item = (String, Option<Arc<Service>>)>,
    ) -> Result<Vec<InFlight>, Reply> {
        let before = self.shared.services();
        let mut services = before.clone();
        for (key, service) in changes {
            match service {
                Some(service) => services.insert(key, service),
                None => services.remove(&key),
            };
        }
        let table = Table::build(services.clone())
            .map_err(|error| Reply::Error { message: error.to_string() })?;
        // Both at once: opening a few connections takes no longer than the disk.
        let (saved, ()) = tokio::join!(self.save(&next), self.warmers.warm(&before, &services));
        if let Err(reply) = saved {
            // The connections to targets that are none now are closed.
            self.epoch.send_modify(|epoch| *epoch += 1);
            return Err(reply);
        }
        self.shared.swap(table);
        *state = next;
        self.lost.store(false, Ordering::Relaxed);
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).take();
        let previous = self.retire(&before, &services);
        self.epoch.send_modify(|epoch| *epoch += 1);
        Ok(previous)
    }

    async fn save(&self, next: &State) -> Result<(), Reply> {
        let (file, next) = (self.file.clone(), next.clone());
        let saved = tokio::task::spawn_blocking(move || file.save(&next)).await;
        let error = match saved {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => chain(&error),
            Err(error) => error.to_string(),
        };
        Err(Reply::Error { message: format!("nothing was changed: failed to {error}") })
    }

    /// Marks what is in `before` but not in `after` as draining.
    fn retire(
        &self,
        before: &BTreeMap<String, Arc<Service>>,
        after: &BTreeMap<String, Arc<Service>>,
    ) -> Vec<InFlight> {
        let stays: BTreeSet<u64> = after
            .values()
            .flat_map(|service| &service.targets)
            .map(|target| target.serial)
            .collect();
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        let mut previous = Vec::new();
        for (key, service) in before {
            for target in service.targets.iter().filter(|target| !stays.contains(&target.serial)) {
                target.on(Event::Drain, Instant::now());
                let in_flight = target.in_flight();
                previous.push(InFlight { target: target.id.clone(), in_flight });
                former.push(Former { service: key.clone(), target: Arc::clone(target) });
            }
        }
        forget_old(&mut former);
        previous
    }
}

/// The outcome of waiting.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) drained: Vec<String>,
    pub(crate) busy: Vec<Arc<Target>>,
}

/// Keeps the newest former targets of each service, and every one that is still busy.
fn forget_old(former: &mut Vec<Former>) {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut kept: Vec<_> = std::mem::take(former)
        .into_iter()
        .rev()
        .filter(|former| {
            let count = seen.entry(former.service.clone()).or_default();
            *count += 1;
            *count <= FORMER_KEPT || former.target.in_flight() > 0
        })
        .collect();
    kept.reverse();
    *former = kept;
}

/// Refuses late writers and senseless specs.
fn fence(state: &State, spec: &ServiceSpec) -> Result<(), Reply> {
    let stale = |current| Reply::Stale { service: spec.service.clone(), current };
    if let Some(current) = newer(state, &spec.service, spec.generation) {
        return Err(stale(current));
    }
    let same_generation = |current: u64| current == spec.generation;
    let kept = state.services.get(&spec.service).map(|kept| &kept.spec);
    if kept.is_some_and(|kept| same_generation(kept.generation) && kept != spec)
        || state.removed.get(&spec.service).copied().is_some_and(same_generation)
    {
        return Err(stale(spec.generation));
    }
    distinct_targets(spec)
}

fn distinct_targets(spec: &ServiceSpec) -> Result<(), Reply> {
    let mut ids = BTreeSet::new();
    match spec.targets.iter().find(|target| !ids.insert(&target.id)) {
        Some(twice) => {
            let message = format!("target `{}` of `{}` is there twice", twice.id, spec.service);
            Err(Reply::Error { message })
        }
        None => Ok(()),
    }
}

/// The generation in force if it is newer than `generation`.
fn newer(state: &State, service: &str, generation: u64) -> Option<u64> {
    let kept = state.services.get(service).map(|kept| kept.spec.generation);
    let removed = state.removed.get(service).copied();
    kept.max(removed).filter(|current| *current > generation)
}

fn restored(state: &State, known: &KnownHealth) -> BTreeMap<String, Arc<Service>> {
    let service = |(key, kept): (&String, &Kept)| {
        let rhythm = rhythm(&kept.spec);
        let target = |spec: &TargetSpec| {
            // A proof from before the start is worth nothing: probe again.
            let known = known.get(&(key.clone(), spec.id.clone())).copied();
            Target::new(spec, known.unwrap_or(TargetState::Adding), rhythm)
        };
        let targets = kept.spec.targets.iter().map(target).collect();
        let gate = kept.hold.map(|hold| Arc::new(Gate::new(hold.timeout, hold.limit)));
        (key.clone(), Service::new(kept.spec.clone(), targets, gate))
    };
    state.services.iter().map(service).collect()
}

fn first_state(spec: &TargetSpec) -> TargetState {
    if spec.proven { TargetState::Healthy } else { TargetState::Adding }
}

fn rhythm(spec: &ServiceSpec) -> Rhythm {
    let health = spec.health.clone().unwrap_or_default();
    Rhythm {
        // Nobody wants to be probed a thousand times a second.
        interval: health.interval.max(Duration::from_millis(10)),
        healthy_after: health.healthy_after,
        unhealthy_after: health.unhealthy_after,
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
