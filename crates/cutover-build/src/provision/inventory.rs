//! What Ansible is told of the container: one host, which is in every group that the playbook names.
//!
//! The host is called `localhost`, so that `hosts: localhost`, `delegate_to: localhost` and
//! `local_action` mean the container too and never the machine that builds. The document is JSON,
//! which is YAML, so that no path has to be quoted.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Names that no group can have.
const RESERVED: [&str; 5] = ["all", "ungrouped", "localhost", "127.0.0.1", "::1"];

/// The groups that the plays of a playbook are for. Read by lines: a playbook may have templates
/// that are no YAML yet, and a group too many does no harm.
pub(crate) fn plays_on(playbook: &str) -> BTreeSet<String> {
    let mut groups = BTreeSet::new();
    let mut in_list = false;
    for line in playbook.lines() {
        let line = line.split(" #").next().unwrap_or_default();
        let text = line.trim_start().trim_start_matches("- ").trim();
        match text.strip_prefix("hosts:") {
            Some(value) => {
                in_list = value.trim().is_empty();
                add(&mut groups, value);
            }
            None if in_list && line.trim_start().starts_with("- ") => add(&mut groups, text),
            None => in_list = false,
        }
    }
    groups
}

fn add(groups: &mut BTreeSet<String>, patterns: &str) {
    for name in patterns.split([',', ':', '[', ']', ' ']) {
        let name = name.trim_matches(['"', '\'', '&', '!']);
        let plain = name.chars().all(|ch| ch.is_alphanumeric() || matches!(ch, '_' | '-' | '.'));
        if plain && !name.is_empty() && !RESERVED.contains(&name) {
            groups.insert(name.to_owned());
        }
    }
}

/// The inventory; `vars` are the host's.
pub(crate) fn inventory(groups: &BTreeSet<String>, vars: Value) -> String {
    let children: Map<String, Value> =
        groups.iter().map(|name| (name.clone(), json!({"hosts": {"localhost": {}}}))).collect();
    let mut all = json!({"hosts": {"localhost": vars}});
    if !children.is_empty() {
        all["children"] = Value::Object(children);
    }
    json!({ "all": all }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(playbook: &str, expected: &[&str]) {
        let groups = plays_on(playbook);
        assert_eq!(groups.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn groups_of_plays() {
        check("- hosts: all\n  tasks: []", &[]);
        check("- name: x\n  hosts: web\n- hosts: \"db\" # main", &["db", "web"]);
        check("- hosts: web:&staging:!old,localhost", &["old", "staging", "web"]);
        check("- hosts: [a, 'b']\n", &["a", "b"]);
        check("- hosts:\n    - one\n    - two\n  roles:\n    - three\n", &["one", "two"]);
        check("- hosts: \"{{ target }}\"\n", &["target"]);
    }

    #[test]
    fn one_host_in_all_groups() {
        let text = inventory(&["web".to_owned()].into(), json!({"a": 1}));
        let expected = json!({"all": {"hosts": {"localhost": {"a": 1}},
            "children": {"web": {"hosts": {"localhost": {}}}}}});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
}
