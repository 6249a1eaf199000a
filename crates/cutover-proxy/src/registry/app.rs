//! All services of an app in one change.
//!
//! **Invariant.** An app goes from one set of services to the next with nothing in between: one
//! decision about all of them ([`decide`]), one write of the file, one swap of the table. The whole
//! app is fenced by the newest generation that any of its services has or had, and what is told
//! twice at one generation must be the same. (An app that never had a service has no fence.)

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::{Registry, distinct_targets};
use crate::control::{Reply, ServiceSpec};
use crate::persist::{Kept, State};

impl Registry {
    /// The switch of a whole app.
    pub(crate) async fn set_app(
        &self,
        app: &str,
        generation: u64,
        services: Vec<ServiceSpec>,
    ) -> Reply {
        let mut state = self.writer.lock().await;
        let next = match decide(&state, app, generation, &services) {
            Ok(Some(next)) => next,
            Ok(None) => return Reply::Switched { generation, previous: Vec::new() },
            Err(reply) => return reply,
        };
        let before = self.shared.services();
        let stays = |key: &&String| next.services.contains_key(*key);
        let gone: Vec<_> = state.services.keys().filter(|key| !stays(key)).cloned().collect();
        let gates: Vec<_> = gone.iter().filter_map(|key| before.get(key)?.gate.clone()).collect();
        let set = services.into_iter().map(|spec| (spec.service.clone(), Some(self.service(spec))));
        let changes: Vec<_> = gone.into_iter().map(|key| (key, None)).chain(set).collect();
        match self.commit(&mut state, next, changes).await {
            Ok(previous) => {
                // Those who wait for what is gone learn that there is nothing to wait for.
                gates.iter().for_each(|gate| gate.open());
                Reply::Switched { generation, previous }
            }
            Err(reply) => reply,
        }
    }
}

/// The state with exactly these services for the app; `None`: it is that already.
fn decide(
    state: &State,
    app: &str,
    generation: u64,
    services: &[ServiceSpec],
) -> Result<Option<State>, Reply> {
    sensible(app, generation, services).map_err(|message| Reply::Error { message })?;
    services.iter().try_for_each(distinct_targets)?;
    let wanted: BTreeMap<_, _> = services.iter().map(|spec| (&spec.service, spec)).collect();
    let current: BTreeMap<_, _> =
        owned(&state.services, app).map(|(key, kept)| (key, &kept.spec)).collect();
    match newest(state, app) {
        Some((_, newest)) if newest == generation && wanted == current => return Ok(None),
        Some((service, current)) if current >= generation => {
            return Err(Reply::Stale { service: service.to_owned(), current });
        }
        _ => {}
    }
    let mut next = state.clone();
    for (&key, _) in current.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        next.services.remove(key);
        next.removed.insert(key.clone(), generation);
    }
    for (&key, &spec) in &wanted {
        let hold = state.services.get(key).and_then(|kept| kept.hold);
        next.removed.remove(key);
        next.services.insert(key.clone(), Kept { spec: spec.clone(), hold });
    }
    Ok((next != *state).then_some(next))
}

/// Refuses what contradicts itself, whatever the state is.
fn sensible(app: &str, generation: u64, services: &[ServiceSpec]) -> Result<(), String> {
    if app.is_empty() || app.contains('/') {
        return Err(format!("`{app}` is not the name of an app"));
    }
    let mut keys = BTreeSet::new();
    for spec in services {
        let key = &spec.service;
        let name = key.strip_prefix(app).and_then(|rest| rest.strip_prefix('/'));
        if name.is_none_or(str::is_empty) {
            return Err(format!("`{key}` is not a service of app `{app}`"));
        }
        if spec.generation != generation {
            let own = spec.generation;
            return Err(format!("`{key}` has generation {own}, its app `{app}` {generation}"));
        }
        if !keys.insert(key) {
            return Err(format!("service `{key}` is there twice"));
        }
    }
    Ok(())
}

/// The newest generation any of the app's services has or had, and which one that is.
fn newest<'a>(state: &'a State, app: &str) -> Option<(&'a str, u64)> {
    let kept = owned(&state.services, app).map(|(key, kept)| (key, kept.spec.generation));
    let removed = owned(&state.removed, app).map(|(key, generation)| (key, *generation));
    let newest = kept.chain(removed).max_by_key(|(_, generation)| *generation);
    newest.map(|(key, generation)| (key.as_str(), generation))
}

/// The entries whose key is `app/…`.
fn owned<'a, T>(
    map: &'a BTreeMap<String, T>,
    app: &str,
) -> impl Iterator<Item = (&'a String, &'a T)> {
    map.iter()
        .filter(move |(key, _)| key.strip_prefix(app).is_some_and(|rest| rest.starts_with('/')))
}
