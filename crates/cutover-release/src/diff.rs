//! [`diff`]: what differs between two releases, without ever showing a secret.
//!
//! Compares the sealed services as JSON, key by key, so that a field added to a service later is
//! compared without a change here. Contents of secrets and configs are only known by digest and
//! shown as `changed`. Values of variables and labels whose name suggests a secret are hidden.

use std::collections::BTreeSet;
use std::fmt;

use cutover_core::release::{Release, SealedService};
use serde::Serialize;
use serde_json::Value;

/// One difference. `from` or `to` is absent when the thing is new or gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub service: String,
    /// Dotted, as in the compose file where it has a name there: `environment.LOG_LEVEL`.
    pub field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What is shown instead of a value that may be secret.
const HIDDEN: &str = "***";

/// Words that make a variable's name suspicious.
const SECRETIVE: &[&str] =
    &["pass", "secret", "token", "key", "credential", "auth", "private", "dsn", "url", "uri"];

/// Everything that differs, by service and field.
pub fn diff(from: &Release, to: &Release) -> Vec<Difference> {
    let names: BTreeSet<&String> = from.services.keys().chain(to.services.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let service = Service { name, found: &mut found };
        match (from.services.get(name), to.services.get(name)) {
            (Some(old), Some(new)) => service.compare(old, new),
            (Some(old), None) => service.all(Some(old), None),
            (None, new) => service.all(None, new),
        }
    }
    found
}

struct Service<'a> {
    name: &'a str,
    found: &'a mut Vec<Difference>,
}

impl Service<'_> {
    /// The whole service is new or gone.
    fn all(mut self, old: Option<&SealedService>, new: Option<&SealedService>) {
        let image = |sealed: &SealedService| sealed.image_name.to_string();
        self.push("service", old.map(image), new.map(image));
    }

    fn compare(mut self, old: &SealedService, new: &SealedService) {
        if old.image != new.image {
            let image = |sealed: &SealedService| {
                format!("{} ({})", sealed.image_name, sealed.image.short())
            };
            self.push("image", Some(image(old)), Some(image(new)));
        }
        self.versions("secrets", &old.secret_versions, &new.secret_versions);
        self.versions("configs", &old.config_versions, &new.config_versions);
        let told = |field: &str| match field {
            "secrets" => old.secret_versions != new.secret_versions,
            "configs" => old.config_versions != new.config_versions,
            _ => false,
        };
        // One that is new or gone is told by its name, above; not again with where it is mounted.
        let value = |sealed: &SealedService| {
            let mut value = serde_json::to_value(&sealed.service).unwrap_or(Value::Null);
            if let Value::Object(fields) = &mut value {
                fields.retain(|field, _| !told(field));
            }
            value
        };
        self.values("", &value(old), &value(new));
    }

    fn versions<V: PartialEq>(
        &mut self,
        kind: &str,
        old: &std::collections::BTreeMap<String, V>,
        new: &std::collections::BTreeMap<String, V>,
    ) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names.into_iter().filter(|name| old.get(*name) != new.get(*name)) {
            let shown = |version: Option<&V>| version.map(|_| HIDDEN.to_owned());
            self.push(&format!("{kind}.{name}"), shown(old.get(name)), shown(new.get(name)));
        }
    }

    fn values(&mut self, path: &str, old: &Value, new: &Value) {
        if old == new || path == "image" {
            return;
        }
        let (Value::Object(before), Value::Object(after)) = (old, new) else {
            let shown = |value: &Value| (*value != Value::Null).then(|| shown(path, value));
            return self.push(path, shown(old), shown(new));
        };
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let of =
                |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
            // A group that is new or gone is told field by field, like one that changed.
            let whole = |value: Value, other: &Value| match (value, other) {
                (Value::Null, Value::Object(_)) => Value::Object(serde_json::Map::new()),
                (value, _) => value,
            };
            let (old, new) = (of(before), of(after));
            let (old, new) = (whole(old.clone(), &new), whole(new, &old));
            self.values(&path, &old, &new);
        }
    }

    fn push(&mut self, field: &str, from: Option<String>, to: Option<String>) {
        let (service, field) = (self.name.to_owned(), field.to_owned());
        self.found.push(Difference { service, field, from, to });
    }
}

/// A value in one line; hidden where it may be a secret.
fn shown(path: &str, value: &Value) -> String {
    if is_secretive(path) {
        return HIDDEN.to_owned();
    }
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Variables by their name; whatever may carry a config's text.
fn is_secretive(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or_default().to_lowercase();
    let is_variable = path.starts_with("environment.") || path.starts_with("labels.");
    let is_text = path.starts_with("configs") || path.starts_with("secrets");
    let holds_variables = ["pre_start", "post_start", "pre_stop"].contains(&path);
    is_text || holds_variables || (is_variable && SECRETIVE.iter().any(|it| name.contains(it)))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, field, from, to } = self;
        match (from, to) {
            (Some(from), Some(to)) if from == to => write!(f, "~ {service}: {field} changed"),
            (Some(from), Some(to)) => write!(f, "~ {service}: {field} {from} → {to}"),
            (None, Some(to)) => write!(f, "+ {service}: {field} {to}"),
            (Some(from), None) => write!(f, "- {service}: {field} {from}"),
            (None, None) => write!(f, "~ {service}: {field}"),
        }
    }
}
