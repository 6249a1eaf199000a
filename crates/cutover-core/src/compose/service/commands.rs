//! `healthcheck`, the hooks, `depends_on`.

use indexmap::IndexMap;

use super::{Reader, environment};
use crate::compose::context::{At, Context};
use crate::compose::yaml::Value;
use crate::reference::Reference;
use crate::service::{Condition, Healthcheck, HealthcheckTest, Hook, Service};

impl Reader<'_, '_> {
    pub(super) fn commands(&self, cx: &mut Context, service: &mut Service) {
        service.healthcheck = self.fields.get("healthcheck").map(|at| healthcheck(cx, &at));
        service.pre_start = self.hooks(cx, "pre_start", "services.*.pre_start");
        service.post_start = self.hooks(cx, "post_start", "services.*.post_start");
        service.pre_stop = self.hooks(cx, "pre_stop", "services.*.post_start");
        service.depends_on =
            self.fields.get("depends_on").map(|at| depends_on(cx, &at)).unwrap_or_default();
    }

    fn hooks(&self, cx: &mut Context, key: &'static str, section: &'static str) -> Vec<Hook> {
        let items = self.fields.get(key).map(|at| cx.list(&at)).unwrap_or_default();
        items.iter().map(|at| self.hook(cx, at, section)).collect()
    }

    fn hook(&self, cx: &mut Context, at: &At<'_>, section: &'static str) -> Hook {
        let fields = cx.fields(at, section);
        let mut hook = Hook {
            command: fields.get("command").and_then(|at| cx.words(&at)).unwrap_or_default(),
            user: fields.get("user").and_then(|at| cx.text(&at)),
            working_dir: fields.get("working_dir").and_then(|at| cx.text(&at)),
            privileged: fields.get("privileged").and_then(|at| cx.bool(&at)).unwrap_or(false),
            ..Hook::default()
        };
        if let Some(at) = fields.get("environment") {
            environment::overlay(cx, &at, self.variables, &mut hook.environment);
        }
        if section == "services.*.pre_start" {
            hook.image = fields.get("image").and_then(|at| cx.parse(&at, str::parse::<Reference>));
            hook.per_replica =
                fields.get("per_replica").and_then(|at| cx.bool(&at)).unwrap_or(false);
        }
        if hook.command.is_empty() && hook.image.is_none() {
            cx.error(at, "`command` is missing");
        }
        hook
    }
}

fn healthcheck(cx: &mut Context, at: &At<'_>) -> Healthcheck {
    let fields = cx.fields(at, "services.*.healthcheck");
    let test = fields.get("test").and_then(|at| test(cx, &at));
    let disable = fields.get("disable").and_then(|at| cx.bool(&at)).unwrap_or(false);
    let duration = |cx: &mut Context, key: &str| fields.get(key).and_then(|at| cx.duration(&at));
    Healthcheck {
        test: if disable { Some(HealthcheckTest::None) } else { test },
        interval: duration(cx, "interval"),
        timeout: duration(cx, "timeout"),
        start_period: duration(cx, "start_period"),
        start_interval: duration(cx, "start_interval"),
        retries: fields.get("retries").and_then(|at| cx.number(&at, "a whole number")),
    }
}

fn test(cx: &mut Context, at: &At<'_>) -> Option<HealthcheckTest> {
    if matches!(at.node.value, Value::Text(_)) {
        return cx.text(at).map(HealthcheckTest::Shell);
    }
    let words = cx.texts(at);
    let hint = "e.g. `[CMD, curl, -f, http://localhost/]` or `[CMD-SHELL, \"… || exit 1\"]`";
    match words.split_first() {
        Some((first, [])) if first == "NONE" => Some(HealthcheckTest::None),
        Some((first, rest)) if first == "CMD" && !rest.is_empty() => {
            Some(HealthcheckTest::Cmd(rest.to_vec()))
        }
        Some((first, [command])) if first == "CMD-SHELL" => {
            Some(HealthcheckTest::Shell(command.clone()))
        }
        Some((first, _)) if matches!(first.as_str(), "NONE" | "CMD" | "CMD-SHELL") => {
            cx.error_hint(at, format!("`{first}` has the wrong number of words after it"), hint);
            None
        }
        _ => {
            cx.error_hint(at, "a list must start with `CMD`, `CMD-SHELL` or `NONE`", hint);
            None
        }
    }
}

/// Whether a dependency may be missing is settled in `check`, which sees all services.
fn depends_on(cx: &mut Context, at: &At<'_>) -> IndexMap<String, Condition> {
    if !at.is_map() {
        return cx.texts(at).into_iter().map(|name| (name, Condition::default())).collect();
    }
    let conditions = [
        ("service_started", Condition::ServiceStarted),
        ("service_healthy", Condition::ServiceHealthy),
        ("service_completed_successfully", Condition::ServiceCompletedSuccessfully),
    ];
    let mut found = IndexMap::new();
    for (name, at) in cx.map(at) {
        let fields = cx.fields(&at, "services.*.depends_on.*");
        let condition = fields.get("condition").and_then(|at| cx.choice(&at, &conditions));
        let _read_by_check = fields.get("required").and_then(|at| cx.bool(&at));
        found.insert(name.to_owned(), condition.unwrap_or_default());
    }
    found
}
