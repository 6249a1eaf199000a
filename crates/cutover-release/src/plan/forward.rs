//! The steps up to and including the switch, and what follows it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_core::release::SealedService;
use cutover_core::service::Verify;

use super::Aim;
use super::change::{Change, in_memory};
use super::deck::Deck;
use crate::facts::{Instance, InstanceId, Kind, State};
use crate::policy::{self, ALIVE_TIMEOUT, MAX_ERROR_INCREASE, MIN_REQUESTS};
use crate::step::{Action, Monitor};

/// Everything before anything is taken away from the release that serves now.
pub(super) fn steps(aim: &Aim<'_>, changes: &[Change<'_>], deck: &mut Deck) {
    let mut forward = Forward { aim, deck, held: BTreeSet::new() };
    let fast = changes.iter().any(|change| change.late) || is_fast(aim, changes);
    if !fast {
        forward.clear_strays();
    }
    let (late, now): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.late);
    forward.prepare(&now);
    for change in &now {
        match change.stops_first() {
            true => forward.stop_first(change),
            false => forward.start_first(change),
        }
    }
    for change in &now {
        forward.verify(change);
    }
    forward.switch(changes);
    forward.prepare(&late);
    for change in &late {
        forward.start_first(change);
        forward.announce(change, change.targets());
    }
    forward.monitor(changes);
    if fast {
        forward.clear_strays();
    }
}

/// Traffic moves to instances that all wait in memory.
fn is_fast(aim: &Aim<'_>, changes: &[Change<'_>]) -> bool {
    aim.wanted.kind == Kind::Rollback
        && changes
            .iter()
            .filter(|change| !change.late)
            .all(|change| change.fresh.is_empty() && change.wake.iter().all(in_memory))
}

struct Forward<'a, 'd> {
    aim: &'a Aim<'a>,
    deck: &'d mut Deck,
    /// Held until after the switch.
    held: BTreeSet<String>,
}

impl Forward<'_, '_> {
    /// What neither serves nor waits for a rollback is left over from a deployment that was
    /// paused or could not clean up.
    fn clear_strays(&mut self) {
        let aim = self.aim;
        let stray = aim.instances().filter(|fact| !aim.is_serving(fact) && !aim.is_waiting(fact));
        self.deck.extend(stray.map(|fact| Action::Remove { instance: fact.instance.clone() }));
    }

    /// Everything that can fail for want of something, before anything is touched.
    fn prepare(&mut self, changes: &[&Change<'_>]) {
        let starting = || changes.iter().filter(|change| !change.fresh.is_empty());
        for change in starting() {
            for image in images(change) {
                let service = change.name.to_owned();
                self.deck.push(Action::PrepareImage { service, image });
            }
        }
        let services = || starting().filter_map(|change| change.new);
        let networks: BTreeSet<_> = services()
            .flat_map(|sealed| sealed.service.networks.values())
            .map(|usage| usage.network.name.clone())
            .collect();
        let volumes: BTreeSet<_> = services()
            .flat_map(|sealed| sealed.service.volumes.iter())
            .filter_map(|mount| match &mount.kind {
                cutover_core::service::MountKind::Volume { volume, .. } => volume.as_ref(),
                _ => None,
            })
            .map(|volume| volume.name.clone())
            .collect();
        self.deck.extend(networks.into_iter().map(|name| Action::EnsureNetwork { name }));
        self.deck.extend(volumes.into_iter().map(|name| Action::EnsureVolume { name }));
    }

    /// New instances beside the old ones, in groups.
    fn start_first(&mut self, change: &Change<'_>) {
        let starts: Vec<&Instance> = change.starts().collect();
        for (index, group) in starts.chunks(change.policy.parallelism).enumerate() {
            if index > 0 {
                self.pause(change.policy.delay);
            } else {
                self.hooks_once(change);
            }
            self.bring_up(change, group);
        }
        let is_new_name = change.keep.is_empty() && change.go.is_empty() && !change.late;
        if is_new_name && !change.job && !starts.is_empty() {
            self.announce(change, change.starts());
        }
    }

    /// Old instances make room for new ones, group by group. Nobody is turned away: as long as
    /// others are left, a routed group is drained first; when the last ones go, requests are held.
    fn stop_first(&mut self, change: &Change<'_>) {
        let policy = &change.policy;
        let leaving: Vec<&Instance> = change.leaving().collect();
        let starts: Vec<&Instance> = change.starts().collect();
        let size = policy.parallelism;
        let groups = leaving.len().max(starts.len()).div_ceil(size);
        if !policy.exclusive {
            self.hooks_once(change);
        }
        let mut up: Vec<&Instance> = change.keep.iter().collect();
        for index in 0..groups {
            if index > 0 {
                self.pause(policy.delay);
            }
            let gone = leaving.chunks(size).nth(index).unwrap_or_default();
            let rest: Vec<_> = leaving.iter().skip((index + 1).saturating_mul(size)).collect();
            let left = || up.iter().chain(rest.iter().copied()).copied();
            let emptied = !gone.is_empty()
                && if change.was_routed() {
                    rest.is_empty() && change.keep.is_empty()
                } else {
                    left().next().is_none()
                };
            if emptied {
                self.hold(change);
            } else if change.was_routed() {
                self.drain(change, gone);
            }
            if !emptied && !gone.is_empty() {
                self.announce(change, left());
            }
            self.deck.extend(gone.iter().map(|one| Action::Stop { instance: (*one).clone() }));
            if policy.exclusive && index == 0 {
                self.hooks_once(change);
            }
            let group = starts.chunks(size).nth(index).unwrap_or_default();
            self.bring_up(change, group);
            up.extend(group);
            let left = up.iter().chain(rest.iter().copied()).copied();
            self.announce(change, left);
            if emptied {
                self.unhold_after(change);
            }
        }
    }

    /// Starts a group of instances together and waits until each is well.
    fn bring_up(&mut self, change: &Change<'_>, group: &[&Instance]) {
        let Some(sealed) = change.new else { return };
        for instance in group {
            if change.fresh.contains(instance) {
                self.hooks_of(change, instance);
            }
            let runs = |fact: &&crate::facts::InstanceFact| fact.state == State::Running;
            let found = change.wake.iter().filter(runs);
            if !found.map(|fact| &fact.instance).any(|one| one == *instance) {
                self.deck.push(Action::Start { instance: (*instance).clone() });
            }
        }
        for instance in group {
            let instance = (*instance).clone();
            self.deck.push(if change.job {
                Action::AwaitCompleted { instance, key: policy::job_key(sealed) }
            } else {
                let timeout = if self.is_proven(change, &instance) {
                    ALIVE_TIMEOUT
                } else {
                    policy::health_timeout(&sealed.service)
                };
                Action::AwaitHealthy { instance, timeout }
            });
        }
    }

    /// It served before, and waited in memory since: being alive is all it has to prove.
    fn is_proven(&self, change: &Change<'_>, instance: &Instance) -> bool {
        let found = change.wake.iter().find(|fact| fact.instance == *instance);
        self.aim.wanted.kind == Kind::Rollback && found.is_some_and(in_memory)
    }

    /// `pre_start` with `per_replica: false`, unless already done.
    fn hooks_once(&mut self, change: &Change<'_>) {
        let (Some(sealed), Some(_)) = (change.new, change.fresh.first()) else { return };
        let aim = self.aim;
        let hooks = sealed.service.pre_start.iter().enumerate();
        for (index, _) in hooks.filter(|(_, hook)| !hook.per_replica) {
            let key = policy::hook_key(sealed, index);
            if aim.facts.hooks_done.contains(&key) && !aim.reruns() {
                continue;
            }
            let name = format!("{}-pre{}", change.name, index + 1);
            self.deck.push(Action::RunHook {
                id: InstanceId(format!("{name}-{}", aim.wanted.deployment)),
                service: change.name.to_owned(),
                index,
                replica: None,
                key: Some(key),
            });
        }
    }

    /// `pre_start` of one new instance.
    fn hooks_of(&mut self, change: &Change<'_>, instance: &Instance) {
        let hooks = change.new.into_iter().flat_map(|sealed| &sealed.service.pre_start);
        for (index, _) in hooks.enumerate().filter(|(_, hook)| hook.per_replica) {
            self.deck.push(Action::RunHook {
                id: InstanceId(format!("{}-pre{}", instance.id, index + 1)),
                service: change.name.to_owned(),
                index,
                replica: Some(instance.id.clone()),
                key: None,
            });
        }
    }

    /// Proofs: every new instance, and also old ones when what is to be proved has changed.
    fn verify(&mut self, change: &Change<'_>) {
        let Some(sealed) = change.new else { return };
        let differs = change.old.is_none_or(|old| old.spec_digest() != sealed.spec_digest());
        let kept = change.keep.iter().filter(|_| differs);
        let started = change.starts().filter(|one| !self.is_proven(change, one));
        let proved: Vec<_> = started.chain(kept).collect();
        if proved.is_empty() || change.job {
            return;
        }
        let checks = &sealed.service.cutover.verify;
        if checks.iter().any(|check| matches!(check, Verify::Http(_))) {
            let instances = proved.into_iter().cloned();
            self.deck.extend(instances.map(|instance| Action::Verify { instance }));
        }
        let commands = checks.iter().enumerate();
        for (index, _) in commands.filter(|(_, check)| matches!(check, Verify::Command(_))) {
            let name = format!("{}-verify{}", change.name, index + 1);
            self.deck.push(Action::VerifyCommand {
                id: InstanceId(format!("{name}-{}", self.aim.wanted.deployment)),
                service: change.name.to_owned(),
                index,
            });
        }
    }

    fn switch(&mut self, changes: &[Change<'_>]) {
        let mut targets: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        for change in changes.iter().filter(|change| change.new.is_some() && !change.job) {
            let serving: Vec<Instance> = if change.late {
                change.keep.iter().chain(change.leaving()).cloned().collect()
            } else {
                change.targets().cloned().collect()
            };
            if !serving.is_empty() {
                targets.insert(change.name.to_owned(), serving);
            }
        }
        self.deck.push(Action::Switch {
            generation: self.aim.facts.observed.routes.generation + 1,
            release: self.aim.to.map(|release| release.number),
            targets,
        });
        let services: Vec<_> = std::mem::take(&mut self.held).into_iter().collect();
        if !services.is_empty() {
            self.deck.push(Action::Unhold { services });
        }
    }

    fn monitor(&mut self, changes: &[Change<'_>]) {
        let starting =
            || changes.iter().filter(|change| !change.job && change.starts().next().is_some());
        let window = starting().map(|change| change.policy.monitor).max().unwrap_or_default();
        if window.is_zero() {
            return;
        }
        let by_service = |of: &dyn Fn(&Change<'_>) -> Vec<Instance>| {
            let all = starting().map(|change| (change.name.to_owned(), of(change)));
            all.filter(|(_, instances)| !instances.is_empty()).collect()
        };
        self.deck.push(Action::Monitor(Monitor {
            window,
            new: by_service(&|change| change.starts().cloned().collect()),
            old: by_service(&|change| change.leaving().cloned().collect()),
            min_requests: MIN_REQUESTS,
            max_error_increase: MAX_ERROR_INCREASE,
        }));
    }

    fn announce<'i>(&mut self, change: &Change<'_>, to: impl Iterator<Item = &'i Instance>) {
        let instances = to.cloned().collect();
        self.deck.push(Action::Announce { service: change.name.to_owned(), instances });
    }

    fn pause(&mut self, duration: Duration) {
        if !duration.is_zero() {
            self.deck.push(Action::Pause { duration });
        }
    }

    fn drain(&mut self, change: &Change<'_>, instances: &[&Instance]) {
        if instances.is_empty() {
            return;
        }
        self.deck.push(Action::Drain {
            service: change.name.to_owned(),
            instances: instances.iter().map(|one| (*one).clone()).collect(),
            timeout: change.old.map_or(Duration::ZERO, |old| old.service.cutover.drain_timeout),
        });
    }

    fn hold(&mut self, change: &Change<'_>) {
        let services = change.policy.hold.clone();
        if services.is_empty() {
            return;
        }
        let held = |name: &String| &self.aim.from.expect("only what serves is held").services[name];
        let configs = || services.iter().map(|name| &held(name).service.cutover);
        let limit = configs().map(|config| config.hold_timeout).max().unwrap_or_default();
        // Requests that wait are not to pay for slow ones in flight: those get a third at most.
        let drain = configs().map(|config| config.drain_timeout).max().unwrap_or_default();
        let drain = drain.min(limit / 3);
        self.deck.push(Action::Hold { services, limit, drain });
    }

    /// A service that is not routed is back as soon as it is well; a routed one with the switch.
    fn unhold_after(&mut self, change: &Change<'_>) {
        let services = change.policy.hold.iter().cloned();
        if change.was_routed() {
            self.held.extend(services);
            return;
        }
        let services: Vec<_> = services.filter(|name| !self.held.contains(name)).collect();
        if !services.is_empty() {
            self.deck.push(Action::Unhold { services });
        }
    }
}

/// The service's image and those of its hooks, each once.
fn images(change: &Change<'_>) -> BTreeSet<cutover_core::Digest> {
    let of = |sealed: &SealedService| {
        let hooks = sealed.service.pre_start.iter().filter_map(|hook| hook.image.as_ref());
        let hooks = hooks.filter_map(|image| image.digest().cloned());
        hooks.chain([sealed.image.clone()]).collect::<Vec<_>>()
    };
    change.new.into_iter().flat_map(of).collect()
}
