//! Merging one file's tree over another's, as compose does with several `-f`.
//!
//! Maps merge key by key, lists append (items that are already there are not repeated), single
//! values are replaced. Commands are replaced whole; ports, volumes, secrets and configs are known
//! by a key of their own, whatever form they are written in; `!reset` and `!override` do what the
//! Compose Specification says.

use indexmap::IndexMap;

use super::yaml::{Entry, MergeTag, Node, Value};
use crate::units;

/// `over` on top of `base`, both at `path`.
pub(crate) fn merge(base: Node, over: Node, path: &[&str]) -> Node {
    if over.tag == Some(MergeTag::Override) || is_replaced(path) {
        return over;
    }
    let (base, over) = (unified(base, path), unified(over, path));
    let value = match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => Value::Map(merge_maps(base, over, path)),
        (Value::List(base), Value::List(over)) => Value::List(merge_lists(base, over, path)),
        // nothing written over something leaves it, as in `volumes: {data:}`
        (base, Value::Null) => base,
        (_, over) => over,
    };
    Node { mark: over.mark, value, tag: None }
}

fn merge_maps(
    mut base: IndexMap<String, Entry>,
    over: IndexMap<String, Entry>,
    path: &[&str],
) -> IndexMap<String, Entry> {
    for (key, entry) in over {
        if entry.node.tag == Some(MergeTag::Reset) {
            base.shift_remove(&key);
            continue;
        }
        let inner: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
        let merged = match base.get(&key) {
            Some(old) => merge(old.node.clone(), entry.node, &inner),
            None => entry.node,
        };
        base.insert(key, Entry { key: entry.key, node: merged });
    }
    base
}

fn merge_lists(mut base: Vec<Node>, over: Vec<Node>, path: &[&str]) -> Vec<Node> {
    for item in over {
        let key = unique_key(&item, path);
        let same = |old: &Node| match &key {
            Some(key) => unique_key(old, path).as_ref() == Some(key),
            None => matches!((&old.value, &item.value), (Value::Text(a), Value::Text(b)) if a == b),
        };
        match base.iter_mut().find(|old| same(old)) {
            Some(old) => *old = item,
            None => base.push(item),
        }
    }
    base
}

/// Removes what is tagged `!reset`, for the first file and for whatever was added whole.
pub(crate) fn strip_resets(node: &mut Node) {
    match &mut node.value {
        Value::Map(entries) => {
            entries.retain(|_, entry| entry.node.tag != Some(MergeTag::Reset));
            entries.values_mut().for_each(|entry| strip_resets(&mut entry.node));
        }
        Value::List(items) => {
            items.retain(|item| item.tag != Some(MergeTag::Reset));
            items.iter_mut().for_each(strip_resets);
        }
        Value::Null | Value::Text(_) | Value::Wrong => {}
    }
}

fn is_replaced(path: &[&str]) -> bool {
    matches!(
        path,
        ["services", _, "command" | "entrypoint"] | ["services", _, "healthcheck", "test"]
    )
}

/// The long form of what can be written short, so that both sides have the same shape.
fn unified(node: Node, path: &[&str]) -> Node {
    let Node { mark, value, tag } = node;
    let value = match (path, value) {
        (
            ["services", _, "environment" | "labels" | "sysctls" | "extra_hosts"]
            | ["services", _, "build", "args" | "labels" | "additional_contexts"]
            | ["services", _, "depends_on" | "networks"]
            | [_, _, "labels"],
            Value::List(items),
        ) => list_to_map(items),
        (["services", _, "build"], Value::Text(text)) => {
            let context = Node::new(mark, Value::Text(text));
            let entry = Entry { key: mark, node: context };
            Value::Map(IndexMap::from([("context".to_owned(), entry)]))
        }
        (["services", _, "env_file" | "dns" | "dns_search" | "tmpfs"], text @ Value::Text(_)) => {
            Value::List(vec![Node::new(mark, text)])
        }
        (_, value) => value,
    };
    Node { mark, value, tag }
}

/// `KEY=value` items, or names alone. An item of another shape keeps the list as it is: the
/// reader that follows will complain about it.
fn list_to_map(items: Vec<Node>) -> Value {
    let pair = |node: &Node| match &node.value {
        Value::Text(text) => Some(match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Value::Text(value.to_owned())),
            None => (text.clone(), Value::Null),
        }),
        _ => None,
    };
    let pairs: Option<Vec<_>> =
        items.iter().map(|node| pair(node).map(|pair| (pair, node.mark))).collect();
    match pairs {
        Some(pairs) => Value::Map(
            pairs
                .into_iter()
                .map(|((key, value), mark)| {
                    (key, Entry { key: mark, node: Node::new(mark, value) })
                })
                .collect(),
        ),
        None => Value::List(items),
    }
}

/// What makes an item of one of the unique lists the same as another.
fn unique_key(node: &Node, path: &[&str]) -> Option<String> {
    let ["services", _, list] = path else { return None };
    match *list {
        "volumes" => match &node.value {
            Value::Text(text) => Some(units::parse_volume(text).ok()?.target),
            _ => field(node, "target"),
        },
        "secrets" | "configs" => match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => field(node, "target").or_else(|| field(node, "source")),
        },
        "ports" => match &node.value {
            Value::Text(text) => {
                let ports = units::parse_ports(text).ok()?;
                Some(ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            _ => {
                let part = |key| field(node, key).unwrap_or_default();
                let (ip, published) = (part("host_ip"), part("published"));
                let colon = if ip.is_empty() { "" } else { ":" };
                let colon2 = if published.is_empty() { "" } else { ":" };
                let text = format!("{ip}{colon}{published}{colon2}{}", part("target"));
                let protocol = field(node, "protocol").unwrap_or_else(|| "tcp".to_owned());
                Some(units::parse_ports(&format!("{text}/{protocol}")).ok()?.first()?.to_string())
            }
        },
        _ => None,
    }
}

fn field(node: &Node, key: &str) -> Option<String> {
    let Value::Map(entries) = &node.value else { return None };
    match &entries.get(key)?.node.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}
