//! Resources, capabilities, devices: what the container may do and use.

use std::fmt::Display;

use indexmap::IndexMap;

use super::Reader;
use crate::compose::context::{At, Context, shown};
use crate::service::{Service, Ulimit};
use crate::units;

impl Reader<'_, '_> {
    pub(super) fn limits(&self, cx: &mut Context, service: &mut Service) {
        let resources = &mut service.resources;
        let size = |cx: &mut Context, key: &str| self.fields.get(key).and_then(|at| cx.size(&at));
        resources.memory = size(cx, "mem_limit").filter(|bytes| *bytes > 0);
        resources.memory_reservation = size(cx, "mem_reservation").filter(|bytes| *bytes > 0);
        resources.shm_size = size(cx, "shm_size").filter(|bytes| *bytes > 0);
        resources.memory_swap = self.fields.get("memswap_limit").and_then(|at| {
            cx.parse(&at, |text| match text {
                "-1" => Ok(-1),
                _ => units::parse_size(text).map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            })
        });
        resources.nano_cpus = self
            .fields
            .get("cpus")
            .and_then(|at| cx.parse(&at, units::parse_cpus))
            .filter(|cpus| *cpus > 0);
        resources.cpu_shares =
            self.fields.get("cpu_shares").and_then(|at| cx.number(&at, "a whole number"));
        resources.pids = self
            .fields
            .get("pids_limit")
            .and_then(|at| cx.number(&at, "a whole number"))
            .filter(|pids| *pids != 0);
        service.oom_score_adj = self.fields.get("oom_score_adj").and_then(|at| {
            cx.parse(&at, |text| match text.parse() {
                Ok(score @ -1000..=1000) => Ok(score),
                _ => Err(format!("`{}` must be from -1000 to 1000", shown(text))),
            })
        });
        service.cap_add = capabilities(cx, self, "cap_add");
        service.cap_drop = capabilities(cx, self, "cap_drop");
        service.security_opt = security(cx, self);
        service.group_add = self.texts(cx, "group_add");
        service.devices = devices(cx, self);
        service.sysctls = self.fields.get("sysctls").map(|at| cx.text_map(&at)).unwrap_or_default();
        service.ulimits = self.fields.get("ulimits").map(|at| ulimits(cx, &at)).unwrap_or_default();
    }

    /// `deploy.resources`, which must not contradict the older keys.
    pub(super) fn deploy_resources(&self, cx: &mut Context, at: &At<'_>, service: &mut Service) {
        let fields = cx.fields(at, "services.*.deploy.resources");
        if let Some(at) = fields.get("limits") {
            let limits = cx.fields(&at, "services.*.deploy.resources.limits");
            if let Some(at) = limits.get("cpus") {
                let value = cx.parse(&at, units::parse_cpus);
                agree(cx, &at, &mut service.resources.nano_cpus, value, "cpus");
            }
            if let Some(at) = limits.get("memory") {
                let value = cx.size(&at);
                agree(cx, &at, &mut service.resources.memory, value, "mem_limit");
            }
            if let Some(at) = limits.get("pids") {
                let value = cx.number(&at, "a whole number");
                agree(cx, &at, &mut service.resources.pids, value, "pids_limit");
            }
        }
        if let Some(at) = fields.get("reservations") {
            let reservations = cx.fields(&at, "services.*.deploy.resources.reservations");
            if let Some(at) = reservations.get("memory") {
                let value = cx.size(&at);
                let slot = &mut service.resources.memory_reservation;
                agree(cx, &at, slot, value, "mem_reservation");
            }
        }
        let (limit, reserved) = (service.resources.memory, service.resources.memory_reservation);
        if let (Some(limit), Some(reserved)) = (limit, reserved)
            && reserved > limit
        {
            cx.error(at, "more memory is reserved than the limit allows");
        }
    }
}

/// Sets `slot`, unless the older key `other` has already set it to something else.
fn agree<T: PartialEq + Display>(
    cx: &mut Context,
    at: &At<'_>,
    slot: &mut Option<T>,
    value: Option<T>,
    other: &str,
) {
    match (&slot, value) {
        (_, None) => {}
        (Some(old), Some(new)) if *old != new => {
            cx.error(at, format!("contradicts `{other}`: write only one of them"));
        }
        (_, Some(new)) => *slot = Some(new),
    }
}

/// Names without `CAP_`, in capitals.
fn capabilities(cx: &mut Context, reader: &Reader<'_, '_>, key: &'static str) -> Vec<String> {
    let items = reader.fields.get(key).map(|at| cx.one_or_list(&at)).unwrap_or_default();
    let name = |text: &str| {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let is_name = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if is_name {
            return Ok(name.to_owned());
        }
        Err(format!("`{}` is not a capability such as `NET_ADMIN`", shown(text)))
    };
    items.iter().filter_map(|at| cx.parse(at, name)).collect()
}

fn security(cx: &mut Context, reader: &Reader<'_, '_>) -> Vec<String> {
    let items = reader.fields.get("security_opt").map(|at| cx.one_or_list(&at)).unwrap_or_default();
    let known = |text: &str| {
        let option = text.replacen('=', ":", 1);
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" => {
                Ok("no-new-privileges:true".to_owned())
            }
            "no-new-privileges:false" | "seccomp:unconfined" => Ok(option),
            _ => Err(format!(
                "`{}` is not supported: only `no-new-privileges` and `seccomp:unconfined` are",
                shown(text)
            )),
        }
    };
    items.iter().filter_map(|at| cx.parse(at, known)).collect()
}

fn devices(cx: &mut Context, reader: &Reader<'_, '_>) -> Vec<String> {
    let items = reader.fields.get("devices").map(|at| cx.list(&at)).unwrap_or_default();
    let mut devices = Vec::new();
    for at in items {
        let text = if at.is_map() {
            let fields = cx.fields(&at, "services.*.devices");
            let part = |cx: &mut Context, key: &str| fields.get(key).and_then(|at| cx.text(&at));
            let source = part(cx, "source").unwrap_or_default();
            let target = part(cx, "target").unwrap_or_else(|| source.clone());
            let permissions = part(cx, "permissions").unwrap_or_else(|| "rwm".to_owned());
            Some(format!("{source}:{target}:{permissions}"))
        } else {
            cx.text(&at)
        };
        match text.as_deref().map(device) {
            Some(Ok(device)) => devices.push(device),
            Some(Err(message)) => cx.error(&at, message),
            None => {}
        }
    }
    devices
}

/// `source[:target][:permissions]` with every part filled in.
fn device(text: &str) -> Result<String, String> {
    let bad = || format!("`{}` is not a device: write `/dev/x[:/dev/y][:rwm]`", shown(text));
    let is_permissions =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, permissions] if is_permissions(permissions) => (*source, *source, *permissions),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] if is_permissions(permissions) => {
            (*source, *target, *permissions)
        }
        _ => return Err(bad()),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err(bad());
    }
    Ok(format!("{source}:{target}:{permissions}"))
}

pub(super) fn ulimits(cx: &mut Context, at: &At<'_>) -> IndexMap<String, Ulimit> {
    const NAMES: [&str; 15] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "sigpending",
        "stack",
    ];
    let mut limits = IndexMap::new();
    for (name, at) in cx.map(at) {
        if !NAMES.contains(&name) {
            cx.error(&at, format!("there is no limit `{}`", shown(name)));
            continue;
        }
        let limit = if at.is_map() {
            let fields = cx.fields(&at, "services.*.ulimits.*");
            let part = |cx: &mut Context, key: &str| fields.get(key).and_then(|at| limit(cx, &at));
            let (soft, hard) = (part(cx, "soft"), part(cx, "hard"));
            match soft.zip(hard) {
                Some((soft, hard)) => Some(Ulimit { soft, hard }),
                None => {
                    cx.error(&at, "needs both `soft` and `hard`");
                    None
                }
            }
        } else {
            limit(cx, &at).map(|both| Ulimit { soft: both, hard: both })
        };
        if let Some(limit) = limit {
            if limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard) {
                cx.error(&at, "`soft` is above `hard`");
            }
            limits.insert(name.to_owned(), limit);
        }
    }
    limits
}

fn limit(cx: &mut Context, at: &At<'_>) -> Option<i64> {
    cx.parse(at, |text| match text {
        "unlimited" => Ok(-1),
        _ => text
            .parse()
            .ok()
            .filter(|limit| *limit >= -1)
            .ok_or_else(|| format!("`{}` must be a number, -1 for no limit", shown(text))),
    })
}
