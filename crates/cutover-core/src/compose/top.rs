//! The top level: the app's name, its networks, volumes, secrets and configs.

use indexmap::IndexMap;

use super::context::{At, Context, Fields};
use super::source::{Variables, resolve_path};
use super::{Input, Project, service};
use crate::service::{FileSource, Network, NetworkMode, Volume};

/// The key of the network that services join unless they say otherwise.
pub(crate) const DEFAULT_NETWORK: &str = "default";

/// What services refer to by key.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) networks: IndexMap<String, Network>,
    pub(crate) volumes: IndexMap<String, Volume>,
    pub(crate) secrets: IndexMap<String, FileSource>,
    pub(crate) configs: IndexMap<String, FileSource>,
}

pub(crate) fn project(
    cx: &mut Context,
    root: &At<'_>,
    input: &Input<'_>,
    variables: &Variables<'_>,
) -> Project {
    let top = cx.fields(root, "(top level)");
    let name = app_name(cx, &top, input);
    let mut shared = Shared {
        networks: each(cx, &top, "networks", |cx, key, at| network(cx, &name, key, at)),
        volumes: each(cx, &top, "volumes", |cx, key, at| volume(cx, &name, key, at)),
        secrets: each(cx, &top, "secrets", |cx, key, at| file_source(cx, key, at, "secrets.*")),
        configs: each(cx, &top, "configs", |cx, key, at| file_source(cx, key, at, "configs.*")),
    };
    shared.networks.entry(DEFAULT_NETWORK.to_owned()).or_insert_with(|| Network {
        name: format!("{name}_{DEFAULT_NETWORK}"),
        ..Network::default()
    });
    let mut services = IndexMap::new();
    let mut disabled = Vec::new();
    match top.get("services") {
        Some(at) => {
            for (key, at) in cx.map(&at) {
                check_service_name(cx, key, &at);
                let (service, profiles) =
                    service::service(cx, key, &at, &shared, variables, input.read);
                if is_chosen(&profiles, input.profiles) {
                    services.insert(key.to_owned(), service);
                } else {
                    disabled.push(key.to_owned());
                }
            }
        }
        None => cx.error_hint(root, "there are no services", "add at least one under `services:`"),
    }
    let uses_default = services.values().any(|service| {
        service.network_mode == NetworkMode::Networks
            && service.networks.contains_key(DEFAULT_NETWORK)
    });
    if !uses_default {
        shared.networks.shift_remove(DEFAULT_NETWORK);
    }
    let Shared { networks, volumes, secrets, configs } = shared;
    Project { name, services, networks, volumes, secrets, configs, disabled, warnings: Vec::new() }
}

/// A service without profiles is always there.
fn is_chosen(profiles: &[String], chosen: &[String]) -> bool {
    profiles.is_empty()
        || chosen.iter().any(|name| name == "*" || profiles.iter().any(|own| own == name))
}

fn each<T>(
    cx: &mut Context,
    top: &Fields<'_>,
    key: &str,
    mut read: impl FnMut(&mut Context, &str, &At<'_>) -> T,
) -> IndexMap<String, T> {
    let Some(at) = top.get(key) else { return IndexMap::new() };
    let entries = cx.map(&at);
    entries.into_iter().map(|(key, at)| (key.to_owned(), read(cx, key, &at))).collect()
}

// === names ===

fn app_name(cx: &mut Context, top: &Fields<'_>, input: &Input<'_>) -> String {
    let written = top.get("name").and_then(|at| {
        let text = cx.text(&at)?;
        if normalize_name(&text) != text || text.is_empty() {
            let hint = "lowercase letters, digits, `-` and `_`, starting with a letter or digit";
            cx.error_hint(&at, format!("`{text}` is not an app name"), hint);
        }
        Some(text)
    });
    if let Some(name) = input.name {
        return normalize_name(name);
    }
    let folder = || normalize_name(input.dir.rsplit('/').next().unwrap_or_default());
    written.or_else(|| Some(folder()).filter(|name| !name.is_empty())).unwrap_or_else(|| {
        let hint = "write `name: …` at the top of the file, or give `-p`";
        cx.push(
            super::Severity::Error,
            super::yaml::Mark { file: 0, line: 0, column: 0 },
            "",
            "the app has no name, and its folder's name has no letters to make one of",
            Some(hint.to_owned()),
        );
        String::new()
    })
}

/// `text` as an app's name, as compose makes one of a folder's: lowercase, without characters
/// other than `a-z0-9_-`, not starting with `_` or `-`. May be empty.
pub fn normalize_name(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).chars().take(63).collect()
}

fn check_service_name(cx: &mut Context, name: &str, at: &At<'_>) {
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 63 || !name.chars().all(is_name_char) {
        cx.error_hint(
            at,
            "not a service name",
            "letters, digits, `-`, `_` and `.`, at most 63 of them",
        );
    }
}

// === networks and volumes ===

/// The name on the machine, and whether someone else made it.
fn outer_name(cx: &mut Context, fields: &Fields<'_>, app: &str, key: &str) -> (String, bool) {
    let external = fields.get("external").and_then(|at| cx.bool(&at)).unwrap_or(false);
    let name = fields.get("name").and_then(|at| cx.text(&at));
    let default = if external { key.to_owned() } else { format!("{app}_{key}") };
    (name.unwrap_or(default), external)
}

fn driver(cx: &mut Context, fields: &Fields<'_>, only: &str) {
    if let Some(at) = fields.get("driver")
        && let Some(driver) = cx.text(&at)
        && driver != only
        && driver != "default"
    {
        cx.error(&at, format!("there is no driver `{driver}`, only `{only}`"));
    }
}

fn network(cx: &mut Context, app: &str, key: &str, at: &At<'_>) -> Network {
    let fields = cx.fields(at, "networks.*");
    let (name, external) = outer_name(cx, &fields, app, key);
    driver(cx, &fields, "bridge");
    let internal = fields.get("internal").and_then(|at| cx.bool(&at)).unwrap_or(false);
    let labels = fields.get("labels").map(|at| cx.text_map(&at)).unwrap_or_default();
    let (mut subnet, mut gateway) = (None, None);
    if let Some(at) = fields.get("ipam") {
        let ipam = cx.fields(&at, "networks.*.ipam");
        let configs = ipam.get("config").map(|at| cx.list(&at)).unwrap_or_default();
        if let Some(second) = configs.get(1) {
            cx.error(second, "a network has one subnet");
        }
        if let Some(first) = configs.first() {
            let config = cx.fields(first, "networks.*.ipam.config");
            subnet = config.get("subnet").and_then(|at| cx.parse(&at, subnet_v4));
            gateway = config.get("gateway").and_then(|at| cx.parse(&at, address_v4));
        }
    }
    Network { name, external, internal, subnet, gateway, labels }
}

fn subnet_v4(text: &str) -> Result<String, String> {
    let bad = || format!("`{text}` is not an IPv4 subnet such as `172.28.0.0/16`");
    let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
    let prefix: u32 =
        prefix.parse().ok().filter(|prefix| (1..=30).contains(prefix)).ok_or_else(bad)?;
    let address: std::net::Ipv4Addr = address.parse().ok().ok_or_else(bad)?;
    if address.to_bits() & (u32::MAX >> prefix) != 0 {
        let base = std::net::Ipv4Addr::from_bits(address.to_bits() & !(u32::MAX >> prefix));
        return Err(format!("`{text}` names a host in the subnet: write `{base}/{prefix}`"));
    }
    Ok(text.to_owned())
}

fn address_v4(text: &str) -> Result<String, String> {
    let parsed: Result<std::net::Ipv4Addr, _> = text.parse();
    parsed.map(|ip| ip.to_string()).ok().ok_or_else(|| format!("`{text}` is not an IPv4 address"))
}

fn volume(cx: &mut Context, app: &str, key: &str, at: &At<'_>) -> Volume {
    let fields = cx.fields(at, "volumes.*");
    let (name, external) = outer_name(cx, &fields, app, key);
    driver(cx, &fields, "local");
    let driver_opts = fields.get("driver_opts").map(|at| cx.text_map(&at)).unwrap_or_default();
    let labels = fields.get("labels").map(|at| cx.text_map(&at)).unwrap_or_default();
    Volume { name, external, driver_opts, labels }
}

// === secrets and configs ===

fn file_source(cx: &mut Context, key: &str, at: &At<'_>, section: &'static str) -> FileSource {
    let fields = cx.fields(at, section);
    let text = |cx: &mut Context, key: &str| fields.get(key).and_then(|at| cx.text(&at));
    let file = fields.get("file").and_then(|at| {
        let text = cx.text(&at)?;
        Some(resolve_path(cx.dir(&at), &text))
    });
    let environment = text(cx, "environment");
    let content = if section == "configs.*" { text(cx, "content") } else { None };
    let name = text(cx, "name");
    let external = fields.get("external").and_then(|at| cx.bool(&at)).unwrap_or(false);
    let external = external.then(|| name.unwrap_or_else(|| key.to_owned()));
    let given: Vec<FileSource> = [
        file.map(FileSource::File),
        environment.map(FileSource::Environment),
        content.map(FileSource::Content),
        external.map(FileSource::External),
    ]
    .into_iter()
    .flatten()
    .collect();
    if given.len() != 1 {
        let words = if section == "configs.*" {
            "`file`, `content`, `environment` or `external`"
        } else {
            "`file`, `environment` or `external`"
        };
        cx.error(at, format!("needs exactly one of {words}"));
    }
    given.into_iter().next().unwrap_or_else(|| FileSource::External(key.to_owned()))
}
