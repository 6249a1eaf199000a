//! `--call=targets`: the stages, the last one being what is built by default.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::outline::description;
use crate::checks::location;
use crate::dockerfile::{Dockerfile, Lines};

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: Option<String>,
    /// What is built when no target is given.
    pub default: bool,
    /// From the comment above its FROM.
    pub description: String,
    /// As written.
    pub base: String,
    pub platform: Option<String>,
    pub lines: Lines,
}

/// All stages, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    pub list: Vec<Target>,
    source: String,
}

pub(super) fn of(file: &Dockerfile, source: &str) -> Targets {
    let last = file.stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, &crate::dockerfile::Stage)| Target {
        name: stage.name.clone(),
        default: index == last,
        description: description(&stage.comments, stage.name.as_deref().unwrap_or_default()),
        base: stage.base.clone(),
        platform: stage.platform.clone(),
        lines: stage.lines,
    };
    let list = file.stages.iter().enumerate().map(target).collect();
    Targets { list, source: source.to_owned() }
}

impl Target {
    /// As the list shows it.
    pub fn shown(&self) -> String {
        match (&self.name, self.default) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({});
        if let Some(name) = &self.name {
            value["name"] = name.as_str().into();
        }
        if self.default {
            value["default"] = true.into();
        }
        if !self.description.is_empty() {
            value["description"] = self.description.as_str().into();
        }
        value["base"] = self.base.as_str().into();
        if let Some(platform) = &self.platform {
            value["platform"] = platform.as_str().into();
        }
        value["location"] = location(Some(self.lines));
        value
    }
}

impl Targets {
    /// The document of `--call=targets,format=json`.
    pub fn json(&self) -> Value {
        json!({
            "targets": self.list.iter().map(Target::json).collect::<Vec<_>>(),
            "sources": [BASE64.encode(self.source.as_bytes())],
        })
    }
}
