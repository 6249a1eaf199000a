//! `deploy`, `scale`, `restart`.

use super::Reader;
use crate::compose::context::{At, Context, shown};
use crate::service::{FailureAction, Order, Restart, Service, UpdateConfig};

impl Reader<'_, '_> {
    pub(super) fn deploy(&self, cx: &mut Context, service: &mut Service) {
        service.restart = self.fields.get("restart").and_then(|at| cx.parse(&at, restart));
        let scale = self.fields.get("scale").and_then(|at| replicas(cx, &at));
        if let Some(count) = scale {
            service.deploy.replicas = count;
        }
        let Some(at) = self.fields.get("deploy") else { return };
        let fields = cx.fields(&at, "services.*.deploy");
        if let Some(at) = fields.get("mode") {
            let text = cx.text(&at).unwrap_or_default();
            if text != "replicated" {
                let message = format!("`{}` is not supported: only `replicated` is", shown(&text));
                cx.error(&at, message);
            }
        }
        if let Some(at) = fields.get("replicas")
            && let Some(count) = replicas(cx, &at)
        {
            if scale.is_some_and(|scale| scale != count) {
                cx.error(&at, "contradicts `scale`: write only one of them");
            }
            service.deploy.replicas = count;
        }
        if let Some(at) = fields.get("update_config") {
            service.deploy.update = update_config(cx, &at, UpdateConfig::update(), true);
        }
        if let Some(at) = fields.get("rollback_config") {
            service.deploy.rollback = update_config(cx, &at, UpdateConfig::rollback(), false);
        }
        if let Some(at) = fields.get("resources") {
            self.deploy_resources(cx, &at, service);
        }
        if let Some(at) = fields.get("restart_policy") {
            service.restart = Some(restart_policy(cx, &at));
        }
    }
}

fn replicas(cx: &mut Context, at: &At<'_>) -> Option<u32> {
    cx.parse(at, |text| {
        let count = text.parse().ok().filter(|count| *count <= 1000);
        count.ok_or_else(|| format!("`{}` must be a number of instances, 0 to 1000", shown(text)))
    })
}

fn update_config(
    cx: &mut Context,
    at: &At<'_>,
    defaults: UpdateConfig,
    update: bool,
) -> UpdateConfig {
    let fields = cx.fields(at, "services.*.deploy.update_config");
    let mut config = defaults;
    let orders = [("start-first", Order::StartFirst), ("stop-first", Order::StopFirst)];
    config.order = fields.get("order").and_then(|at| cx.choice(&at, &orders));
    let actions = [
        ("rollback", FailureAction::Rollback),
        ("pause", FailureAction::Pause),
        ("continue", FailureAction::Continue),
    ];
    // a rollback that fails is not rolled back again
    let actions = if update { &actions[..] } else { &actions[1..] };
    if let Some(at) = fields.get("failure_action") {
        config.failure_action = cx.choice(&at, actions).unwrap_or(config.failure_action);
    }
    if let Some(at) = fields.get("parallelism") {
        config.parallelism = cx.number(&at, "a whole number").unwrap_or(config.parallelism);
    }
    if let Some(at) = fields.get("delay") {
        config.delay = cx.duration(&at).unwrap_or(config.delay);
    }
    if let Some(at) = fields.get("monitor") {
        config.monitor = cx.duration(&at).unwrap_or(config.monitor);
    }
    if let Some(at) = fields.get("max_failure_ratio") {
        let ratio = cx.parse(&at, |text| {
            let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            ratio.ok_or_else(|| format!("`{}` must be from 0 to 1", shown(text)))
        });
        config.max_failure_ratio = ratio.unwrap_or(config.max_failure_ratio);
    }
    config
}

/// `no`, `always`, `unless-stopped`, `on-failure[:n]`
fn restart(text: &str) -> Result<Restart, String> {
    let bad = || {
        format!(
            "`{}` must be one of `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:5`",
            shown(text)
        )
    };
    match text.split_once(':') {
        Some(("on-failure", times)) => {
            let times = times.parse().ok().ok_or_else(bad)?;
            Ok(Restart::OnFailure { max_retries: Some(times) })
        }
        None => match text {
            // `restart: no` is a boolean for YAML 1.1 readers, and is often written as one
            "no" | "false" => Ok(Restart::No),
            "always" => Ok(Restart::Always),
            "unless-stopped" => Ok(Restart::UnlessStopped),
            "on-failure" => Ok(Restart::OnFailure { max_retries: None }),
            _ => Err(bad()),
        },
        Some(_) => Err(bad()),
    }
}

fn restart_policy(cx: &mut Context, at: &At<'_>) -> Restart {
    let fields = cx.fields(at, "services.*.deploy.restart_policy");
    let max_retries = fields
        .get("max_attempts")
        .and_then(|at| cx.number::<u32>(&at, "a whole number"))
        .filter(|attempts| *attempts > 0);
    let conditions = [("none", 'n'), ("on-failure", 'f'), ("any", 'a')];
    let condition = fields.get("condition").and_then(|at| cx.choice(&at, &conditions));
    match condition {
        Some('n') => Restart::No,
        Some('f') => Restart::OnFailure { max_retries },
        _ => Restart::Always,
    }
}
