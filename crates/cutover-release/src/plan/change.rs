//! [`Change`]: what a deployment does to one service.

use cutover_core::release::SealedService;
use cutover_core::service::Order;

use super::waves::waves;
use super::{Aim, PlanError};
use crate::facts::{Health, Instance, InstanceFact, InstanceId, Kind, State};
use crate::policy::{self, Conflict, Policy};

/// One service, before and after. In wave order in all lists of it.
#[derive(Clone, Debug)]
pub(super) struct Change<'a> {
    pub(super) name: &'a str,
    pub(super) old: Option<&'a SealedService>,
    pub(super) new: Option<&'a SealedService>,
    /// Runs to its end and serves nothing.
    pub(super) job: bool,
    /// Serve now and go on serving, untouched.
    pub(super) keep: Vec<Instance>,
    /// Exist, are what is wanted, and only need to be brought up and proved.
    pub(super) wake: Vec<InstanceFact>,
    pub(super) fresh: Vec<Instance>,
    /// Serve now and are not wanted any more.
    pub(super) go: Vec<InstanceFact>,
    pub(super) policy: Policy,
    /// Why it is stop-first although the file does not say so.
    pub(super) conflict: Option<Conflict>,
    /// Brought up after the switch: the fast way back does not wait for it.
    pub(super) late: bool,
}

/// All services of both releases: those of the new one in waves, start-first before stop-first so
/// that requests are held as shortly as possible; then those that end.
pub(super) fn all<'a>(aim: &Aim<'a>) -> Result<Vec<Change<'a>>, PlanError> {
    if let Some(service) =
        aim.wanted.services.iter().find(|name| {
            aim.to.is_some_and(|release| !release.services.contains_key(name.as_str()))
        })
    {
        return Err(PlanError::NoService { app: aim.wanted.app.clone(), service: service.clone() });
    }
    let mut changes = Vec::new();
    for wave in aim.to.map(waves).transpose()?.unwrap_or_default() {
        let mut wave: Vec<_> =
            wave.into_iter().map(|name| Change::of(aim, name)).collect::<Result<_, _>>()?;
        wave.sort_by_key(|change| change.policy.order == Order::StopFirst);
        changes.append(&mut wave);
    }
    let ending = aim.from.into_iter().flat_map(|release| release.services.keys());
    for name in ending.filter(|name| aim.to.is_none_or(|it| !it.services.contains_key(*name))) {
        changes.push(Change::of(aim, name)?);
    }
    mark_late(aim, &mut changes);
    Ok(changes)
}

/// Sees whether traffic can move at once, and which services then need not be waited for.
fn mark_late(aim: &Aim<'_>, changes: &mut [Change<'_>]) {
    let Some(to) = aim.to else { return };
    let routed = |change: &&Change<'_>| change.is_routed() && change.starts().next().is_some();
    let ready = |change: &Change<'_>| change.fresh.is_empty() && change.wake.iter().all(in_memory);
    let moving: Vec<&Change<'_>> = changes.iter().filter(routed).collect();
    if aim.wanted.kind != Kind::Rollback || moving.is_empty() || !moving.into_iter().all(ready) {
        return;
    }
    let needed: Vec<_> = changes
        .iter()
        .filter(|change| change.is_routed())
        .flat_map(|change| policy::needs(change.name, to))
        .map(str::to_owned)
        .collect();
    for change in changes {
        change.late = !change.is_routed()
            && change.policy.order == Order::StartFirst
            && !change.job
            && change.starts().next().is_some()
            && !needed.iter().any(|name| name == change.name);
    }
}

/// Waits in memory: serves as soon as it is thawed.
pub(super) fn in_memory(fact: &InstanceFact) -> bool {
    matches!(fact.state, State::Running | State::Frozen)
}

/// What the user should know about the choices made.
pub(super) fn notes(aim: &Aim<'_>, changes: &[Change<'_>], notes: &mut Vec<String>) {
    for change in changes {
        let name = change.name;
        match change.conflict.as_ref().filter(|_| change.stops_first()) {
            Some(Conflict::Volume(volume)) => notes.push(format!(
                "{name}: stop-first, because old and new would both write volume `{volume}`"
            )),
            Some(Conflict::Port(port)) => notes.push(format!(
                "{name}: stop-first, because old and new cannot both publish port {port}"
            )),
            None => {}
        }
        if change.is_nothing() && change.new.is_some() && !change.keep.is_empty() {
            notes.push(format!("{name}: unchanged, not touched"));
        }
        if change.keep.iter().any(|one| aim.tainted(&one.id)) {
            notes.push(format!("{name}: a tainted instance goes on serving; see `replace`"));
        }
        if change.late {
            notes.push(format!("{name}: follows after the switch"));
        }
    }
    let wanted: u64 = changes
        .iter()
        .filter_map(|change| {
            let limit = change.new?.service.resources.memory?;
            Some(limit.saturating_mul(u64::try_from(change.fresh.len()).unwrap_or(u64::MAX)))
        })
        .fold(0, u64::saturating_add);
    if let Some(available) = aim.facts.observed.memory_available.filter(|free| *free < wanted) {
        notes.push(format!(
            "new instances may use {} MiB of memory, {} MiB are free",
            wanted >> 20,
            available >> 20
        ));
    }
}

// === impl Change ===

impl<'a> Change<'a> {
    fn of(aim: &Aim<'a>, name: &'a str) -> Result<Self, PlanError> {
        let old = aim.from.and_then(|release| release.services.get(name));
        let new = aim.to.and_then(|release| release.services.get(name));
        let job = aim.to.is_some_and(|release| policy::is_job(name, release));
        let (keep, wake, go) = aim.sort_out(name, new, job);
        let wanted = new.map_or(0, |sealed| aim.wanted_copies(sealed, job));
        let missing = wanted.saturating_sub(keep.len() + wake.len());
        let fresh: Vec<Instance> = new
            .into_iter()
            .flat_map(|sealed| {
                let spec = sealed.instance_digest();
                (1..).take(missing).map(move |slot| (slot, spec.clone()))
            })
            .map(|(slot, spec)| Instance {
                id: InstanceId::new(name, aim.wanted.deployment, slot),
                service: name.to_owned(),
                release: aim.to.map_or(0, |release| release.number),
                spec,
            })
            .collect();
        let (policy, conflict) = aim.policy(name, wake.len() + fresh.len())?;
        let late = false;
        Ok(Self { name, old, new, job, keep, wake, fresh, go, policy, conflict, late })
    }

    /// Nothing starts and nothing ends.
    pub(super) fn is_nothing(&self) -> bool {
        self.starts().next().is_none() && self.go.is_empty()
    }

    /// Brought up by this deployment.
    pub(super) fn starts(&self) -> impl Iterator<Item = &Instance> {
        self.wake.iter().map(|fact| &fact.instance).chain(&self.fresh)
    }

    /// Serve afterwards.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Instance> {
        self.keep.iter().chain(self.starts())
    }

    /// Serve now and end with this deployment, alive.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Instance> {
        self.go.iter().filter(|fact| fact.state.is_up()).map(|fact| &fact.instance)
    }

    pub(super) fn is_routed(&self) -> bool {
        self.new.is_some_and(|sealed| policy::is_routed(&sealed.service))
    }

    pub(super) fn was_routed(&self) -> bool {
        self.old.is_some_and(|sealed| policy::is_routed(&sealed.service))
    }

    /// The old instances stop before the new ones start.
    pub(super) fn stops_first(&self) -> bool {
        self.policy.order == Order::StopFirst
            && self.leaving().next().is_some()
            && self.starts().next().is_some()
    }
}

// === impl Aim ===

type Sorted = (Vec<Instance>, Vec<InstanceFact>, Vec<InstanceFact>);

impl<'a> Aim<'a> {
    fn tainted(&self, id: &InstanceId) -> bool {
        self.instances().any(|fact| fact.instance.id == *id && fact.tainted)
    }

    /// Whether hooks and jobs that are done count as not done: asked for, or their data may be
    /// gone because a volume is made anew.
    pub(super) fn reruns(&self) -> bool {
        let volumes = self.to.into_iter().flat_map(|release| release.services.values());
        self.wanted.rerun_hooks
            || volumes
                .flat_map(|sealed| sealed.service.owned_volumes())
                .any(|volume| !self.facts.observed.volumes.contains(&volume.name))
    }

    fn wanted_copies(&self, sealed: &SealedService, job: bool) -> usize {
        let done = || self.facts.hooks_done.contains(&policy::job_key(sealed));
        if job && done() && !self.reruns() {
            return 0;
        }
        usize::try_from(sealed.service.deploy.replicas).unwrap_or(usize::MAX)
    }

    /// Divides the instances of a service into those that stay, wake and go.
    fn sort_out(&self, name: &str, new: Option<&SealedService>, job: bool) -> Sorted {
        let serving = self.serving(name);
        let Some(sealed) = new else {
            return (Vec::new(), Vec::new(), serving.into_iter().cloned().collect());
        };
        let spec = sealed.instance_digest();
        let named = self.wanted.services.is_empty() || self.wanted.services.contains(name);
        let anew = job || (self.wanted.kind == Kind::Replace && named);
        let fits = |fact: &&&InstanceFact| !anew && fact.instance.spec == spec;
        let wanted = self.wanted_copies(sealed, job);

        let mut keep: Vec<_> =
            serving.iter().filter(fits).filter(|fact| fact.state.is_up()).copied().collect();
        keep.sort_by_key(|fact| (fact.health != Health::Healthy, fact.tainted));
        keep.truncate(wanted);

        let waiting: Vec<_> = self.instances().filter(|fact| self.can_wait(name, fact)).collect();
        let mut wake: Vec<_> = serving
            .iter()
            .filter(|fact| !fact.state.is_up())
            .chain(&waiting)
            .filter(fits)
            .filter(|fact| fact.state.can_wake())
            .copied()
            .collect();
        wake.sort_by_key(|fact| fact.state as u8);
        wake.truncate(wanted - keep.len());

        let stays = |fact: &&&InstanceFact| !keep.contains(*fact) && !wake.contains(*fact);
        let go = serving.iter().filter(stays).map(|fact| (*fact).clone()).collect();
        let keep = keep.into_iter().map(|fact| fact.instance.clone()).collect();
        (keep, wake.into_iter().cloned().collect(), go)
    }

    /// A standby that may serve again: what was sealed, and not known to be ill.
    fn can_wait(&self, name: &str, fact: &InstanceFact) -> bool {
        fact.instance.service == name
            && self.is_waiting(fact)
            && !fact.tainted
            && fact.health != Health::Unhealthy
    }

    fn policy(&self, name: &str, total: usize) -> Result<(Policy, Option<Conflict>), PlanError> {
        let sealed = [self.to, self.from].into_iter().flatten();
        let mut sealed = sealed.filter_map(|release| release.services.get(name));
        let service = &sealed.next().expect("a change is of a service of either release").service;
        let config = policy::config(self.wanted.kind, service);
        let conflict = match (self.from, self.to) {
            (Some(from), Some(to)) => policy::conflict(name, from, to),
            _ => None,
        };
        if let Some(port) = service.fixed_ports().next().and_then(|port| port.published)
            && service.deploy.replicas > 1
        {
            let (service, replicas) = (name.to_owned(), service.deploy.replicas);
            return Err(PlanError::PortOfMany { service, port: port.to_string(), replicas });
        }
        let order = match (config.order, &conflict) {
            (Some(Order::StartFirst), Some(Conflict::Port(port))) if total > 0 => {
                let (service, port) = (name.to_owned(), port.clone());
                return Err(PlanError::PortTakenByItself { service, port });
            }
            (Some(order), _) => order,
            (None, Some(_)) => Order::StopFirst,
            (None, None) => Order::StartFirst,
        };
        let exclusive = order == Order::StopFirst && conflict.is_some();
        let all = usize::MAX;
        let parallelism = usize::try_from(config.parallelism).unwrap_or(all);
        let policy = Policy {
            order,
            exclusive,
            failure_action: config.failure_action,
            parallelism: if parallelism == 0 || exclusive { all } else { parallelism },
            delay: config.delay,
            monitor: config.monitor,
            max_failure_ratio: config.max_failure_ratio,
            drain: service.cutover.drain_timeout,
            hold: self.held_for(name),
            total,
        };
        let chosen = conflict.filter(|_| config.order.is_none() && total > 0);
        Ok((policy, chosen))
    }

    /// The routed services, alive now, that cannot answer while `name` is away.
    fn held_for(&self, name: &str) -> Vec<String> {
        let Some(from) = self.from else { return Vec::new() };
        from.services
            .iter()
            .filter(|(other, sealed)| {
                policy::is_routed(&sealed.service)
                    && (other.as_str() == name || policy::needs(other, from).contains(name))
                    && self.serving(other).iter().any(|fact| fact.state.is_up())
            })
            .map(|(other, _)| other.clone())
            .collect()
    }
}
