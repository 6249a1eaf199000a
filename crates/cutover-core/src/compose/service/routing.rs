//! `x-cutover`: routes, health, verification, standby.

use std::time::Duration;

use super::Reader;
use crate::compose::context::{At, Context, shown};
use crate::compose::yaml::Value;
use crate::service::{
    CommandCheck, Exec, HttpCheck, HttpHealth, NetworkMode, Route, Service, Standby, StatusSet,
    Verify,
};

/// How long a verifying command may take unless the file says otherwise.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

impl Reader<'_, '_> {
    pub(super) fn routing(&self, cx: &mut Context, service: &mut Service) {
        let Some(at) = self.fields.get("x-cutover") else { return };
        let fields = cx.fields(&at, "services.*.x-cutover");
        let settings = &mut service.cutover;
        let routes = fields.get("routes").map(|at| cx.one_or_list(&at)).unwrap_or_default();
        settings.routes = routes.iter().filter_map(|at| route(cx, at)).collect();
        settings.port = fields.get("port").and_then(|at| port(cx, &at));
        settings.health = fields.get("health").and_then(|at| health(cx, &at));
        let checks = fields.get("verify").map(|at| cx.one_or_list(&at)).unwrap_or_default();
        settings.verify = checks.iter().filter_map(|at| verify(cx, at)).collect();
        let words = [
            ("running", Standby::Running),
            ("frozen", Standby::Frozen),
            ("stopped", Standby::Stopped),
            ("none", Standby::None),
        ];
        if let Some(at) = fields.get("standby") {
            settings.standby = cx.choice(&at, &words).unwrap_or_default();
        }
        if let Some(at) = fields.get("drain_timeout") {
            settings.drain_timeout = cx.duration(&at).unwrap_or(settings.drain_timeout);
        }
        if let Some(at) = fields.get("hold_timeout") {
            settings.hold_timeout = cx.duration(&at).unwrap_or(settings.hold_timeout);
        }
        if let Some(at) = fields.get("exec") {
            let words = [("allow", Exec::Allow), ("taint", Exec::Taint), ("deny", Exec::Deny)];
            settings.exec = cx.choice(&at, &words).unwrap_or_default();
        }
        let probed = settings.health.is_some()
            || settings.verify.iter().any(|check| matches!(check, Verify::Http(_)));
        if (probed || !settings.routes.is_empty()) && settings.port.is_none() {
            cx.error_hint(
                &at,
                "`port` is missing: the proxy must know where the container listens",
                "e.g. `port: 80`",
            );
        }
        if !settings.routes.is_empty() && service.network_mode != NetworkMode::Networks {
            cx.error(&at, "a service with routes must be on a network, not `network_mode`");
        }
    }
}

fn port(cx: &mut Context, at: &At<'_>) -> Option<u16> {
    cx.parse(at, |text| {
        let port = text.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| format!("`{}` must be a port, 1 to 65535", shown(text)))
    })
}

/// A map, or `host/path` as one text.
fn route(cx: &mut Context, at: &At<'_>) -> Option<Route> {
    if !at.is_map() {
        return cx.parse(at, |text| {
            let (host, path) = match text.find('/') {
                Some(slash) => text.split_at(slash),
                None => (text, "/"),
            };
            let host = if host.is_empty() || host == "*" { None } else { Some(host_name(host)?) };
            Ok::<_, String>(Route { host, path_prefix: path_prefix(path)?, strip_prefix: false })
        });
    }
    let fields = cx.fields(at, "services.*.x-cutover.routes");
    let host = fields.get("host").map(|at| {
        cx.parse(&at, |text| match text {
            "*" | "" => Ok(None),
            _ => host_name(text).map(Some),
        })
    });
    let path = fields.get("path").map(|at| cx.parse(&at, path_prefix));
    let strip_prefix = fields.get("strip_prefix").and_then(|at| cx.bool(&at)).unwrap_or(false);
    Some(Route {
        host: host.unwrap_or(Some(None))?,
        path_prefix: path.unwrap_or(Some("/".to_owned()))?,
        strip_prefix,
    })
}

fn host_name(text: &str) -> Result<String, String> {
    let host = text.trim_end_matches('.').to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        let why = if text.contains(':') { " (without scheme and port)" } else { "" };
        return Err(format!("`{}` is not a host name{why}", shown(text)));
    }
    Ok(host)
}

/// `/`, or a path without a slash at its end.
fn path_prefix(text: &str) -> Result<String, String> {
    let clean = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>".contains(&byte));
    if !text.starts_with('/') || !clean || text.contains("//") {
        return Err(format!("`{}` is not a path prefix such as `/api`", shown(text)));
    }
    let trimmed = text.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

/// The path of a request; may have a query.
fn request_path(text: &str) -> Result<String, String> {
    let clean = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>".contains(&byte));
    if !text.starts_with('/') || !clean {
        return Err(format!("`{}` is not a path such as `/up`", shown(text)));
    }
    Ok(text.to_owned())
}

/// A text, or a list of them.
fn status(cx: &mut Context, at: &At<'_>) -> Option<StatusSet> {
    if let Value::List(_) = at.node.value {
        let all = cx.texts(at).join(",");
        return match all.parse() {
            Ok(set) => Some(set),
            Err(error) => {
                let error: crate::service::ParseStatusError = error;
                cx.error(at, error.to_string());
                None
            }
        };
    }
    cx.parse(at, str::parse::<StatusSet>)
}

/// A map, or only the path.
fn health(cx: &mut Context, at: &At<'_>) -> Option<HttpHealth> {
    let mut health = HttpHealth::default();
    if !at.is_map() {
        health.path = cx.parse(at, request_path)?;
        return Some(health);
    }
    let fields = cx.fields(at, "services.*.x-cutover.health");
    if let Some(at) = fields.get("path") {
        health.path = cx.parse(&at, request_path).unwrap_or(health.path);
    }
    if let Some(at) = fields.get("status") {
        health.status = status(cx, &at).unwrap_or(health.status);
    }
    if let Some(at) = fields.get("interval") {
        health.interval = positive(cx, &at).unwrap_or(health.interval);
    }
    if let Some(at) = fields.get("timeout") {
        health.timeout = positive(cx, &at).unwrap_or(health.timeout);
    }
    let count = |cx: &mut Context, key: &str, default: u32| {
        let count = fields.get(key).and_then(|at| cx.number::<u32>(&at, "a whole number"));
        count.map_or(default, |count| count.max(1))
    };
    health.healthy_after = count(cx, "healthy_after", health.healthy_after);
    health.unhealthy_after = count(cx, "unhealthy_after", health.unhealthy_after);
    health.host = fields.get("host").and_then(|at| cx.parse(&at, host_name));
    health.port = fields.get("port").and_then(|at| port(cx, &at));
    Some(health)
}

fn positive(cx: &mut Context, at: &At<'_>) -> Option<Duration> {
    let duration = cx.duration(at)?;
    if duration.is_zero() {
        cx.error(at, "must be more than nothing");
        return None;
    }
    Some(duration)
}

fn verify(cx: &mut Context, at: &At<'_>) -> Option<Verify> {
    let fields = cx.fields(at, "services.*.x-cutover.verify");
    let timeout = fields.get("timeout");
    match (fields.get("http"), fields.get("command")) {
        (Some(http), None) => {
            if let Some(at) = timeout {
                cx.error_hint(&at, "belongs to `command`", "write it inside `http`");
            }
            Some(Verify::Http(http_check(cx, &http)))
        }
        (None, Some(command)) => {
            let command = cx.words(&command).filter(|words| !words.is_empty())?;
            let timeout = timeout.and_then(|at| positive(cx, &at)).unwrap_or(COMMAND_TIMEOUT);
            Some(Verify::Command(CommandCheck { command, timeout }))
        }
        _ => {
            cx.error(at, "needs exactly one of `http` and `command`");
            None
        }
    }
}

fn http_check(cx: &mut Context, at: &At<'_>) -> HttpCheck {
    let mut check = HttpCheck::default();
    if !at.is_map() {
        check.path = cx.parse(at, request_path).unwrap_or(check.path);
        return check;
    }
    let fields = cx.fields(at, "services.*.x-cutover.verify.http");
    if let Some(at) = fields.get("path") {
        check.path = cx.parse(&at, request_path).unwrap_or(check.path);
    }
    if let Some(at) = fields.get("method") {
        let method = cx.parse(&at, |text| {
            let is_token = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic());
            is_token.then(|| text.to_ascii_uppercase()).ok_or("must be a method such as `GET`")
        });
        check.method = method.unwrap_or(check.method);
    }
    if let Some(at) = fields.get("headers") {
        for (name, value, at) in cx.pairs(&at) {
            let value = value.unwrap_or_default();
            let name_ok = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            if !name_ok || value.contains(['\r', '\n', '\0']) {
                cx.error(&at, format!("`{}` is not a header", shown(&name)));
            } else {
                check.headers.insert(name, value);
            }
        }
    }
    check.host = fields.get("host").and_then(|at| cx.parse(&at, host_name));
    if let Some(at) = fields.get("status") {
        check.status = status(cx, &at).unwrap_or(check.status);
    }
    check.body_contains = fields.get("contains").and_then(|at| cx.text(&at));
    if let Some(at) = fields.get("timeout") {
        check.timeout = positive(cx, &at).unwrap_or(check.timeout);
    }
    if let Some(at) = fields.get("retries") {
        check.retries = cx.number(&at, "a whole number").unwrap_or(0);
    }
    check
}
