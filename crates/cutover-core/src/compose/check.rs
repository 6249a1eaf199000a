//! What only the whole project shows: dependencies that exist and have no cycle, routes that do
//! not collide.

use std::collections::{BTreeMap, BTreeSet};

use super::Project;
use super::context::{At, Context, join};
use super::yaml::{Node, Value};
use crate::service::{Route, Service};
use crate::suggest::nearest;

/// Records the problems of `project`, which was read from `root`.
pub(crate) fn check(cx: &mut Context, root: &At<'_>, project: &Project) {
    for (name, service) in &project.services {
        dependencies(cx, root, project, name, service);
    }
    if let Some(cycle) = find_cycle(project) {
        let at = place(root, &["services", &cycle[0], "depends_on"]);
        let mut path = cycle.clone();
        path.push(cycle[0].clone());
        cx.error(&at, format!("services depend on each other in a circle: {}", path.join(" → ")));
    }
    routes(cx, root, project);
}

/// Every dependency must be a service that is there, unless it is not required.
fn dependencies(cx: &mut Context, root: &At<'_>, project: &Project, name: &str, service: &Service) {
    for target in service.depends_on.keys() {
        if project.services.contains_key(target) {
            continue;
        }
        let at = place(root, &["services", name, "depends_on", target]);
        if is_optional(&at) {
            continue;
        }
        if project.disabled.contains(target) {
            let hint = "choose one of its profiles, or write `required: false`";
            cx.error_hint(&at, format!("service `{target}` is not in the chosen profiles"), hint);
            continue;
        }
        let message = format!("there is no service `{target}`");
        match nearest(target, project.services.keys().map(String::as_str)) {
            Some(near) => cx.error_hint(&at, message, format!("did you mean `{near}`?")),
            None => cx.error(&at, message),
        }
    }
}

/// Takes out the dependencies that may be missing and are: every name that is left is a service.
pub(crate) fn drop_missing(project: &mut Project) {
    let names: BTreeSet<String> = project.services.keys().cloned().collect();
    for service in project.services.values_mut() {
        service.depends_on.retain(|name, _| names.contains(name));
    }
}

fn is_optional(at: &At<'_>) -> bool {
    let Value::Map(entries) = &at.node.value else { return false };
    entries
        .get("required")
        .is_some_and(|entry| matches!(&entry.node.value, Value::Text(text) if text == "false"))
}

/// The services of one circle of dependencies, if there is one.
fn find_cycle(project: &Project) -> Option<Vec<String>> {
    // services on which nothing unfinished depends are taken away until none is left
    let mut left: BTreeSet<&str> = project.services.keys().map(String::as_str).collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .copied()
            .filter(|name| {
                !project.services[*name].depends_on.keys().any(|on| left.contains(on.as_str()))
            })
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            left.remove(name);
        }
    }
    // everyone left depends on someone left: walking on must come round
    let mut walk = vec![*left.iter().next()?];
    loop {
        let last = walk.last()?;
        let next =
            project.services[*last].depends_on.keys().find(|on| left.contains(on.as_str()))?;
        if let Some(start) = walk.iter().position(|seen| *seen == next.as_str()) {
            return Some(walk[start..].iter().map(|&name| name.to_owned()).collect());
        }
        walk.push(next);
    }
}

/// One request must have one service.
fn routes(cx: &mut Context, root: &At<'_>, project: &Project) {
    let mut owners: BTreeMap<(Option<&str>, &str), &str> = BTreeMap::new();
    for (name, service) in &project.services {
        for Route { host, path_prefix, .. } in &service.cutover.routes {
            let key = (host.as_deref(), path_prefix.as_str());
            if let Some(owner) = owners.insert(key, name) {
                let at = place(root, &["services", name, "x-cutover", "routes"]);
                let route = format!("{}{path_prefix}", host.as_deref().unwrap_or("*"));
                let whose = if owner == name {
                    "twice".to_owned()
                } else {
                    format!("by service `{owner}` too")
                };
                cx.error(&at, format!("route `{route}` is claimed {whose}"));
            }
        }
    }
}

/// The node at a path of keys, or the deepest that is there (a name in a list is found as well).
fn place<'n>(root: &At<'n>, path: &[&str]) -> At<'n> {
    let mut at = root.clone();
    for key in path {
        let next: Option<(&'n Node, String)> = match &at.node.value {
            Value::Map(entries) => {
                entries.get(*key).map(|entry| (&entry.node, join(&at.path, key)))
            }
            Value::List(items) => items
                .iter()
                .enumerate()
                .find(|(_, item)| matches!(&item.value, Value::Text(text) if text == key))
                .map(|(index, item)| (item, format!("{}[{index}]", at.path))),
            _ => None,
        };
        let Some((node, path)) = next else { break };
        at = At { node, path };
    }
    at
}
