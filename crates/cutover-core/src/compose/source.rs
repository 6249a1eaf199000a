//! From texts to one tree: every file loaded, its variables filled in, and merged in order;
//! `extends` resolved.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::context::{At, Context, File, join};
use super::interpolate::{Lookup, interpolate};
use super::merge::{merge, strip_resets};
use super::problem::Severity;
use super::yaml::{self, Mark, Node, Value};
use super::{Input, ReadFile};
use crate::suggest::nearest;

/// Longest sum of all values after variables were filled in.
const MAX_INTERPOLATED: usize = 16 << 20;
/// Longest chain of `extends`.
const MAX_EXTENDS: usize = 16;
/// Most nodes that `extends` may copy: a small file must not become a huge one.
const MAX_EXTENDED: usize = 200_000;

/// Variables: those of the command, then those of `.env`.
#[derive(Clone, Debug)]
pub(crate) struct Variables<'a> {
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) dot_env: BTreeMap<String, String>,
}

impl Lookup for Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).or_else(|| self.dot_env.get(name)).cloned()
    }
}

/// Loads and merges the project's files. `None`: nothing could be read.
pub(crate) fn load_all(
    cx: &mut Context,
    input: &Input<'_>,
    variables: &Variables<'_>,
) -> Option<Node> {
    let mut merged: Option<Node> = None;
    for file in input.files {
        let dir = input.dir.trim_end_matches('/').to_owned();
        for node in load_one(cx, &file.name, &file.text, &dir, variables) {
            merged = Some(match merged {
                Some(base) => merge(base, node, &[]),
                None => node,
            });
        }
    }
    let mut merged = merged?;
    strip_resets(&mut merged);
    Some(merged)
}

fn load_one(
    cx: &mut Context,
    name: &str,
    text: &str,
    dir: &str,
    variables: &Variables<'_>,
) -> Vec<Node> {
    let index = cx.files.len();
    cx.files.push(File { name: name.to_owned(), text: text.to_owned(), dir: dir.to_owned() });
    let mut nodes = match yaml::load(text, index) {
        Ok(nodes) => nodes,
        Err(error) => {
            cx.load_error(error);
            return Vec::new();
        }
    };
    let start = Mark { file: index, line: 0, column: 0 };
    nodes.retain(|node| !matches!(node.value, Value::Null));
    if nodes.is_empty() {
        cx.push(Severity::Error, start, "", "the file is empty", None);
    }
    let mut left = MAX_INTERPOLATED;
    for node in &mut nodes {
        fill_in(cx, node, "", variables, &mut left);
    }
    nodes
}

/// Fills in the variables of every value at and below `node`. Keys are taken as they are.
fn fill_in(
    cx: &mut Context,
    node: &mut Node,
    path: &str,
    variables: &Variables<'_>,
    left: &mut usize,
) {
    match &mut node.value {
        Value::Null | Value::Wrong => {}
        Value::Text(text) if !text.contains('$') => {}
        Value::Text(text) => match interpolate(text, variables) {
            Ok(filled) => {
                for name in filled.unset {
                    let message = format!("variable `{name}` is not set and becomes nothing");
                    cx.push(Severity::Warning, node.mark, path, message, None);
                }
                match left.checked_sub(filled.text.len()) {
                    Some(rest) => *left = rest,
                    None => {
                        let message = "the project is too large with its variables filled in";
                        cx.push(Severity::Error, node.mark, path, message, None);
                        node.value = Value::Wrong;
                        return;
                    }
                }
                *text = filled.text;
            }
            Err(error) => {
                cx.push(Severity::Error, node.mark, path, error.to_string(), None);
                node.value = Value::Wrong;
            }
        },
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill_in(cx, item, &format!("{path}[{index}]"), variables, left);
            }
        }
        Value::Map(entries) => {
            for (key, entry) in entries {
                // other programs' extensions may use `$` as they like
                if !key.starts_with("x-") || key == "x-cutover" {
                    fill_in(cx, &mut entry.node, &join(path, key), variables, left);
                }
            }
        }
    }
}

// === extends ===

/// Replaces each service that `extends` another by the two merged.
pub(crate) fn resolve_extends(
    cx: &mut Context,
    root: &mut Node,
    variables: &Variables<'_>,
    read: ReadFile<'_>,
) {
    let Value::Map(top) = &root.value else { return };
    let Some(services) = top.get("services") else { return };
    let Value::Map(entries) = &services.node.value else { return };
    let extending = |name: &&String| matches!(&entries[*name].node.value, Value::Map(keys) if keys.contains_key("extends"));
    let names: Vec<String> = entries.keys().filter(extending).cloned().collect();
    let original = Rc::new(services.node.clone());
    let mut extender = Extender { cx, variables, read, files: BTreeMap::new(), left: MAX_EXTENDED };
    let resolved: Vec<_> = names
        .into_iter()
        .filter_map(|name| Some((name.clone(), extender.resolve(&original, &name, &mut vec![])?)))
        .collect();
    if let Value::Map(top) = &mut root.value
        && let Some(services) = top.get_mut("services")
        && let Value::Map(entries) = &mut services.node.value
    {
        for (name, mut node) in resolved {
            strip_resets(&mut node);
            entries[&name].node = node;
        }
    }
}

struct Extender<'c, 'a> {
    cx: &'c mut Context,
    variables: &'c Variables<'a>,
    read: ReadFile<'a>,
    /// The services of other files, by path.
    files: BTreeMap<String, Option<Rc<Node>>>,
    /// What is left of [`MAX_EXTENDED`].
    left: usize,
}

impl Extender<'_, '_> {
    /// The service `name` of `services` with what it extends merged under it. `seen` holds the
    /// places already on the way, which must not come again.
    fn resolve(&mut self, services: &Rc<Node>, name: &str, seen: &mut Vec<Mark>) -> Option<Node> {
        if self.left == 0 {
            return None;
        }
        let Value::Map(entries) = &services.value else { return None };
        let service = entries.get(name)?.node.clone();
        let Value::Map(keys) = &service.value else { return Some(service) };
        let Some(extends) = keys.get("extends").map(|entry| entry.node.clone()) else {
            return Some(service);
        };
        let at = At { node: &extends, path: format!("services.{name}.extends") };
        if seen.contains(&extends.mark) || seen.len() >= MAX_EXTENDS {
            self.cx.error(&at, "the service extends itself");
            return None;
        }
        seen.push(extends.mark);
        let (base_name, file) = self.target(&at)?;
        let (base_services, own) = match file {
            Some((path, at_file)) => {
                if !self.files.contains_key(&path) {
                    let services = self.other_file(&path, &at_file).map(Rc::new);
                    self.files.insert(path.clone(), services);
                }
                (self.files.get(&path).cloned().flatten()?, false)
            }
            None => (Rc::clone(services), true),
        };
        let base = self.resolve(&base_services, &base_name, seen);
        let Some(mut base) = base else {
            if !matches!(&base_services.value, Value::Map(map) if map.contains_key(&base_name)) {
                self.unknown(&at, &base_services, &base_name, own);
            }
            return None;
        };
        let Some(left) = self.left.checked_sub(base.count()) else {
            self.left = 0;
            self.cx.error(&at, "the project is too large with its `extends` filled in");
            return None;
        };
        self.left = left;
        let mut service = service;
        for node in [&mut base, &mut service] {
            if let Value::Map(keys) = &mut node.value {
                keys.shift_remove("extends");
            }
        }
        Some(merge(base, service, &["services", name]))
    }

    fn unknown(&mut self, at: &At<'_>, services: &Node, name: &str, own: bool) {
        let Value::Map(entries) = &services.value else { return };
        let place = if own { "here" } else { "in that file" };
        let message = format!("there is no service `{name}` {place}");
        match nearest(name, entries.keys().map(String::as_str)) {
            Some(near) => self.cx.error_hint(at, message, format!("did you mean `{near}`?")),
            None => self.cx.error(at, message),
        }
    }

    /// The service's name, and the file's resolved path with the place that named it.
    fn target<'n>(&mut self, at: &At<'n>) -> Option<(String, Option<(String, At<'n>)>)> {
        if !at.is_map() {
            return Some((self.cx.text(at)?, None));
        }
        let fields = self.cx.fields(at, "services.*.extends");
        let file = fields.get("file").and_then(|at| {
            let text = self.cx.text(&at)?;
            Some((resolve_path(self.cx.dir(&at), &text), at))
        });
        let Some(service) = fields.get("service") else {
            self.cx.error(at, "`service` is missing");
            return None;
        };
        Some((self.cx.text(&service)?, file))
    }

    /// The `services` of another file.
    fn other_file(&mut self, path: &str, at: &At<'_>) -> Option<Node> {
        let text = match (self.read)(path) {
            Ok(Some(text)) => text,
            Ok(None) => {
                self.cx.error(at, format!("`{path}` does not exist"));
                return None;
            }
            Err(error) => {
                self.cx.error(at, format!("`{path}` cannot be read: {error}"));
                return None;
            }
        };
        let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir).to_owned();
        let nodes = load_one(self.cx, path, &text, &dir, self.variables);
        let merged = nodes.into_iter().reduce(|base, over| merge(base, over, &[]))?;
        let Value::Map(mut top) = merged.value else { return None };
        match top.shift_remove("services") {
            Some(services) => Some(services.node),
            None => {
                self.cx.error(at, format!("`{path}` has no services"));
                None
            }
        }
    }
}

/// `path` from `dir`, with `.` and `..` resolved by name; `~` is left to the caller.
pub(crate) fn resolve_path(dir: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{dir}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
