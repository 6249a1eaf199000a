//! The order in which services start: each after those it depends on.

use std::collections::{BTreeMap, BTreeSet};

use cutover_core::release::Release;

use super::PlanError;

/// Services in waves: every service stands in a later wave than all that it depends on; within a
/// wave by name. A dependency that the release does not have is not waited for.
pub(super) fn waves(release: &Release) -> Result<Vec<Vec<&str>>, PlanError> {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, sealed) in &release.services {
        let needs = sealed.service.depends_on.keys().map(String::as_str);
        let known = needs.filter(|need| release.services.contains_key(*need));
        waiting.insert(name, known.collect());
    }
    let mut waves = Vec::new();
    while !waiting.is_empty() {
        let ready: Vec<&str> =
            waiting.iter().filter(|(_, needs)| needs.is_empty()).map(|(name, _)| *name).collect();
        if ready.is_empty() {
            return Err(PlanError::Circle { services: circle(&waiting) });
        }
        for name in &ready {
            waiting.remove(name);
        }
        for needs in waiting.values_mut() {
            needs.retain(|need| !ready.contains(need));
        }
        waves.push(ready);
    }
    Ok(waves)
}

/// One circle among services that all wait for another: follow first needs until one repeats.
fn circle(waiting: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = waiting.keys().next().copied();
    while let Some(name) = next {
        if let Some(at) = path.iter().position(|seen| *seen == name) {
            path.drain(..at);
            path.push(name);
            break;
        }
        path.push(name);
        next = waiting.get(name).and_then(|needs| needs.iter().next().copied());
    }
    path.into_iter().map(str::to_owned).collect()
}
