//! The steps after the switch: what the release before leaves behind. All of it is clean-up that
//! can be done again, or by the next deployment.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::release::SealedService;
use cutover_core::service;

use super::Aim;
use super::change::Change;
use super::deck::Deck;
use crate::facts::{Instance, InstanceFact, State};
use crate::policy;
use crate::step::{Action, Standby};

/// Drain, then let wait or remove, those that depend on others first.
pub(super) fn steps(aim: &Aim<'_>, changes: &[Change<'_>], deck: &mut Deck) {
    for change in changes.iter().filter(|change| change.was_routed()) {
        let leaving: Vec<_> = change.leaving().cloned().collect();
        if !leaving.is_empty() && !change.stops_first() {
            deck.push(drain(change.name, leaving, change.old));
        }
    }
    for change in changes.iter().rev() {
        for fact in &change.go {
            let instance = fact.instance.clone();
            deck.push(match mode(aim, change, fact) {
                Some(mode) => Action::Standby { instance, mode },
                None => Action::Remove { instance },
            });
        }
    }
    let woken = |fact: &InstanceFact| changes.iter().any(|change| change.wake.contains(fact));
    let older = aim.instances().filter(|fact| aim.is_waiting(fact) && !woken(fact));
    // The same release serves: what waits for a rollback goes on waiting.
    if aim.moves() {
        deck.extend(older.map(|fact| Action::Remove { instance: fact.instance.clone() }));
    }
    deck.push(Action::Collect { releases: forgotten(aim) });
}

/// Takes the app off the machine; volumes and the ledger stay.
pub(super) fn down(aim: &Aim<'_>, deck: &mut Deck) {
    let generation = aim.facts.observed.routes.generation + 1;
    deck.push(Action::Switch { generation, release: None, targets: BTreeMap::new() });
    for (name, sealed) in aim.from.into_iter().flat_map(|release| &release.services) {
        let up = aim.serving(name).into_iter().filter(|fact| fact.state.is_up());
        let up: Vec<Instance> = up.map(|fact| fact.instance.clone()).collect();
        if policy::is_routed(&sealed.service) && !up.is_empty() {
            deck.push(drain(name, up, Some(sealed)));
        }
    }
    let order: Vec<&str> = aim
        .from
        .and_then(|release| super::waves::waves(release).ok())
        .map(|waves| waves.into_iter().flatten().collect())
        .unwrap_or_default();
    let mut all: Vec<_> = aim.instances().collect();
    let place = |fact: &&InstanceFact| order.iter().position(|it| *it == fact.instance.service);
    all.sort_by_key(|fact| std::cmp::Reverse(place(fact)));
    deck.extend(all.into_iter().map(|fact| Action::Remove { instance: fact.instance.clone() }));
    deck.push(Action::Collect { releases: Vec::new() });
}

fn drain(service: &str, instances: Vec<Instance>, old: Option<&SealedService>) -> Action {
    let timeout = old.map_or(Duration::ZERO, |old| old.service.cutover.drain_timeout);
    Action::Drain { service: service.to_owned(), instances, timeout }
}

/// How an instance that served waits for a rollback; `None`: it does not.
fn mode(aim: &Aim<'_>, change: &Change<'_>, fact: &InstanceFact) -> Option<Standby> {
    if !aim.moves() || fact.tainted || matches!(fact.state, State::Dead | State::Completed) {
        return None;
    }
    // Left by a deployment that could not be undone: no release wants it.
    change.old.filter(|old| old.instance_digest() == fact.instance.spec)?;
    let sealed = change.new.or(change.old)?;
    let in_memory = change.was_routed() && !change.stops_first() && fact.state != State::Stopped;
    match sealed.service.cutover.standby {
        service::Standby::None => None,
        service::Standby::Running if in_memory => Some(Standby::Running),
        service::Standby::Frozen if in_memory => Some(Standby::Frozen),
        service::Standby::Running | service::Standby::Frozen | service::Standby::Stopped => {
            Some(Standby::Stopped)
        }
    }
}

/// Releases that are neither in use nor among the newest that are kept.
fn forgotten(aim: &Aim<'_>) -> Vec<u64> {
    let used = |number: &u64| {
        [aim.from, aim.to].into_iter().flatten().any(|release| release.number == *number)
            || (!aim.moves() && aim.facts.standby == Some(*number))
    };
    let others = aim.facts.releases.keys().rev().copied().filter(|number| !used(number));
    others.skip(aim.wanted.keep_releases).collect()
}
