//! `environment` over `env_file`.

use indexmap::IndexMap;

use super::Reader;
use crate::compose::context::{At, Context};
use crate::compose::interpolate::Lookup;
use crate::compose::source::resolve_path;
use crate::service::Service;
use crate::units::{Dialect, parse_env_file};

impl Reader<'_, '_> {
    pub(super) fn environment(&self, cx: &mut Context, service: &mut Service) {
        let files = self.fields.get("env_file").map(|at| cx.one_or_list(&at)).unwrap_or_default();
        for at in files {
            service.environment.extend(self.env_file(cx, &at));
        }
        if let Some(at) = self.fields.get("environment") {
            overlay(cx, &at, self.variables, &mut service.environment);
        }
    }

    fn env_file(&self, cx: &mut Context, at: &At<'_>) -> Vec<(String, String)> {
        let mut required = true;
        let mut dialect = Dialect::Compose;
        let path_at = if at.is_map() {
            let fields = cx.fields(at, "services.*.env_file");
            required = fields.get("required").and_then(|at| cx.bool(&at)).unwrap_or(true);
            if let Some(at) = fields.get("format") {
                dialect = cx.choice(&at, &[("raw", Dialect::Docker)]).unwrap_or(dialect);
            }
            fields.get("path")
        } else {
            Some(at.clone())
        };
        let Some(at) = path_at else {
            cx.error(at, "`path` is missing");
            return Vec::new();
        };
        let Some(path) = cx.text(&at) else { return Vec::new() };
        let path = resolve_path(cx.dir(&at), &path);
        let text = match (self.read)(&path) {
            Ok(Some(text)) => text,
            Ok(None) if !required => return Vec::new(),
            Ok(None) => {
                let hint = "make the file, or write `{path: …, required: false}`";
                cx.error_hint(&at, format!("`{path}` does not exist"), hint);
                return Vec::new();
            }
            Err(error) => {
                cx.error(&at, format!("`{path}` cannot be read: {error}"));
                return Vec::new();
            }
        };
        parse_env_file(&text, dialect, self.variables).unwrap_or_else(|error| {
            cx.error(&at, format!("`{path}`, {error}"));
            Vec::new()
        })
    }
}

/// The variables at `at` over `environment`. A variable without a value takes the command's own;
/// when that has none either, the variable is not set, whatever an env file said.
pub(super) fn overlay(
    cx: &mut Context,
    at: &At<'_>,
    lookup: &dyn Lookup,
    environment: &mut IndexMap<String, String>,
) {
    for (key, value, at) in cx.pairs(at) {
        if key.is_empty() || key.contains(['=', '\0']) {
            cx.error(&at, format!("`{key}` is not a variable name"));
            continue;
        }
        match value.or_else(|| lookup.get(&key)) {
            Some(value) => {
                environment.insert(key, value);
            }
            None => {
                cx.warn(&at, format!("variable `{key}` has no value here and is left out"));
                environment.shift_remove(&key);
            }
        }
    }
}
