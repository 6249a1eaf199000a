//! `networks`, `ports`, `extra_hosts`.

use indexmap::IndexMap;

use super::Reader;
use crate::compose::context::{At, Context, shown};
use crate::compose::top::DEFAULT_NETWORK;
use crate::service::{Network, NetworkUse, Port};
use crate::suggest::nearest;
use crate::units;

pub(super) fn networks(cx: &mut Context, reader: &Reader<'_, '_>) -> IndexMap<String, NetworkUse> {
    let declared = &reader.shared.networks;
    let mut joined = IndexMap::new();
    let Some(at) = reader.fields.get("networks") else {
        let network = declared.get(DEFAULT_NETWORK).cloned().unwrap_or_default();
        joined.insert(DEFAULT_NETWORK.to_owned(), NetworkUse { network, ..NetworkUse::default() });
        return joined;
    };
    if at.is_map() {
        for (key, at) in cx.map(&at) {
            let Some(network) = find(cx, &at, key, declared) else { continue };
            let fields = cx.fields(&at, "services.*.networks.*");
            let aliases = fields.get("aliases").map(|at| cx.texts(&at)).unwrap_or_default();
            let ipv4_address =
                fields.get("ipv4_address").and_then(|at| cx.number(&at, "an IPv4 address"));
            joined.insert(key.to_owned(), NetworkUse { network, aliases, ipv4_address });
        }
        return joined;
    }
    for at in cx.list(&at) {
        let Some(key) = cx.text(&at) else { continue };
        let Some(network) = find(cx, &at, &key, declared) else { continue };
        joined.insert(key, NetworkUse { network, ..NetworkUse::default() });
    }
    joined
}

fn find(
    cx: &mut Context,
    at: &At<'_>,
    key: &str,
    declared: &IndexMap<String, Network>,
) -> Option<Network> {
    if let Some(network) = declared.get(key) {
        return Some(network.clone());
    }
    let hint = match nearest(key, declared.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add `{}:` under the top-level `networks:`", shown(key)),
    };
    cx.error_hint(at, format!("network `{}` is not declared", shown(key)), hint);
    None
}

pub(super) fn ports(cx: &mut Context, reader: &Reader<'_, '_>) -> Vec<Port> {
    let items = reader.fields.get("ports").map(|at| cx.list(&at)).unwrap_or_default();
    let mut ports: Vec<Port> = Vec::new();
    for at in items {
        let found = if at.is_map() { long(cx, &at) } else { cx.parse(&at, units::parse_ports) };
        for port in found.unwrap_or_default() {
            let same = |other: &Port| {
                other.published.is_some()
                    && other.published == port.published
                    && other.protocol == port.protocol
                    && other.host_ip == port.host_ip
                    && port.published.is_some_and(|range| range.first == range.last)
            };
            if ports.iter().any(same) {
                cx.error(&at, format!("`{port}` is published twice"));
                break;
            }
            ports.push(port);
        }
    }
    ports
}

/// The long form, read as the short text it stands for.
fn long(cx: &mut Context, at: &At<'_>) -> Option<Vec<Port>> {
    let fields = cx.fields(at, "services.*.ports");
    let part = |cx: &mut Context, key: &str| fields.get(key).and_then(|at| cx.text(&at));
    let (ip, published) = (part(cx, "host_ip"), part(cx, "published"));
    let protocol = part(cx, "protocol");
    let Some(target_at) = fields.get("target") else {
        cx.error(at, "`target` is missing");
        return None;
    };
    let target = cx.text(&target_at)?;
    let ip = match ip {
        Some(ip) if ip.contains(':') && !ip.starts_with('[') => format!("[{ip}]:"),
        Some(ip) => format!("{ip}:"),
        None => String::new(),
    };
    let published = match published {
        Some(published) => format!("{published}:"),
        None if ip.is_empty() => String::new(),
        None => ":".to_owned(),
    };
    let protocol = protocol.unwrap_or_else(|| "tcp".to_owned());
    let text = format!("{ip}{published}{target}/{protocol}");
    match units::parse_ports(&text) {
        Ok(ports) => Some(ports),
        Err(error) => {
            cx.error(at, error.to_string());
            None
        }
    }
}

/// A map or list of host names and addresses; `=` or `:` between them.
pub(super) fn hosts(cx: &mut Context, at: &At<'_>) -> Vec<(String, String)> {
    let mut hosts = Vec::new();
    for (key, value, at) in cx.pairs(at) {
        let (name, address) = match value {
            Some(address) => (key, address),
            None => match key.split_once(':') {
                Some((name, address)) => (name.to_owned(), address.to_owned()),
                None => (key, String::new()),
            },
        };
        let address = address.trim_start_matches('[').trim_end_matches(']').to_owned();
        let known = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
        if !known || name.is_empty() {
            let hint = "write `name=address`, e.g. `db.internal=10.0.0.5` or `me=host-gateway`";
            let message = format!("`{}` is not an IP address", shown(&address));
            cx.error_hint(&at, message, hint);
            continue;
        }
        hosts.push((name, address));
    }
    hosts
}
