//! `build`, short and long form.

use indexmap::IndexMap;

use crate::compose::context::{At, Context};
use crate::compose::interpolate::Lookup as _;
use crate::compose::source::{Variables, resolve_path};
use crate::service::{Build, Entitlement, FileSource};

use super::limits::ulimits;
use super::networks::hosts;
use super::provision;

pub(super) fn build(
    cx: &mut Context,
    at: &At<'_>,
    variables: &Variables<'_>,
    secrets: &IndexMap<String, FileSource>,
) -> Build {
    if !at.is_map() {
        let context = cx.text(at).unwrap_or_default();
        let context = folder(cx, at, &context);
        return Build {
            dockerfile: Some(format!("{context}/Dockerfile")),
            context,
            ..Build::default()
        };
    }
    let fields = cx.fields(at, "services.*.build");
    let context = match fields.get("context") {
        Some(at) => cx.text(&at).map(|text| folder(cx, &at, &text)).unwrap_or_default(),
        None => folder(cx, at, "."),
    };
    let inline = fields.get("dockerfile_inline").and_then(|at| cx.text(&at));
    let written = fields.get("dockerfile");
    if let (Some(at), Some(_)) = (&written, &inline) {
        cx.error(at, "`dockerfile` and `dockerfile_inline` exclude each other");
    }
    let dockerfile = written.and_then(|at| cx.text(&at)).unwrap_or_else(|| "Dockerfile".to_owned());
    let dockerfile = match inline {
        Some(_) => None,
        None if is_remote(&context) => Some(dockerfile),
        None => Some(resolve_path(&context, &dockerfile)),
    };
    let text = |cx: &mut Context, key: &str| fields.get(key).and_then(|at| cx.text(&at));
    let texts =
        |cx: &mut Context, key: &str| fields.get(key).map(|at| cx.texts(&at)).unwrap_or_default();
    let map = |cx: &mut Context, key: &str| {
        fields.get(key).map(|at| cx.text_map(&at)).unwrap_or_default()
    };
    let bool = |cx: &mut Context, key: &str| {
        fields.get(key).and_then(|at| cx.bool(&at)).unwrap_or_default()
    };
    let args = fields.get("args").map(|at| cx.pairs(&at)).unwrap_or_default();
    // an argument without a value takes the environment's, or stays with the Dockerfile's default
    let args = args
        .into_iter()
        .filter_map(|(key, value, _)| Some((key.clone(), value.or_else(|| variables.get(&key))?)))
        .collect();
    let tags = fields.get("tags").map(|at| cx.one_or_list(&at)).unwrap_or_default();
    let tags = tags
        .iter()
        .filter_map(|at| cx.parse(at, str::parse::<crate::Reference>))
        .map(|reference| reference.to_string())
        .collect();
    let contexts = fields.get("additional_contexts").map(|at| cx.pairs(&at)).unwrap_or_default();
    let additional_contexts = contexts
        .into_iter()
        .map(|(name, value, at)| (name, folder(cx, &at, &value.unwrap_or_default())))
        .collect();
    let network = fields
        .get("network")
        .and_then(|at| cx.choice(&at, &[("none", "none"), ("host", "host"), ("default", "")]))
        .filter(|network| !network.is_empty());
    Build {
        context,
        dockerfile,
        inline,
        target: text(cx, "target"),
        args,
        labels: map(cx, "labels"),
        tags,
        platforms: texts(cx, "platforms"),
        no_cache: bool(cx, "no_cache"),
        pull: bool(cx, "pull"),
        cache_from: texts(cx, "cache_from"),
        cache_to: texts(cx, "cache_to"),
        network: network.map(str::to_owned),
        extra_hosts: fields.get("extra_hosts").map(|at| hosts(cx, &at)).unwrap_or_default(),
        additional_contexts,
        secrets: fields.get("secrets").map(|at| of_secrets(cx, &at, secrets)).unwrap_or_default(),
        ssh: fields.get("ssh").map(|at| ssh(cx, &at)).unwrap_or_default(),
        ulimits: fields.get("ulimits").map(|at| ulimits(cx, &at)).unwrap_or_default(),
        shm_size: fields.get("shm_size").and_then(|at| cx.size(&at)).filter(|bytes| *bytes > 0),
        entitlements: fields.get("entitlements").map(|at| rights(cx, &at)).unwrap_or_default(),
        provision: provision::provisioning(cx, &fields),
    }
}

/// Keys of the top-level secrets, by the id that the Dockerfile uses.
fn of_secrets(
    cx: &mut Context,
    at: &At<'_>,
    known: &IndexMap<String, FileSource>,
) -> IndexMap<String, FileSource> {
    let mut secrets = IndexMap::new();
    for at in cx.list(at) {
        let (key, id) = if at.is_map() {
            let fields = cx.fields(&at, "services.*.build.secrets");
            let text = |cx: &mut Context, key| fields.get(key).and_then(|at| cx.text(&at));
            let Some(source) = text(cx, "source") else {
                cx.error(&at, "`source` is missing");
                continue;
            };
            (source, text(cx, "target"))
        } else {
            let Some(key) = cx.text(&at) else { continue };
            (key, None)
        };
        match known.get(&key) {
            Some(source) => {
                // Docker compose takes a path, too: its last part is the id.
                let id = id.unwrap_or(key);
                let id = id.rsplit('/').next().unwrap_or_default().to_owned();
                secrets.insert(id, source.clone());
            }
            None => {
                let hint = "define it under the top-level `secrets`";
                cx.error_hint(&at, format!("there is no secret `{key}`"), hint);
            }
        }
    }
    secrets
}

/// `default`, `NAME=SOCKET`, or a map of these.
fn ssh(cx: &mut Context, at: &At<'_>) -> IndexMap<String, Option<String>> {
    let mut agents = IndexMap::new();
    for (name, socket, at) in cx.pairs(at) {
        let socket = socket.filter(|socket| !socket.is_empty());
        if socket.is_none() && name != "default" {
            let hint = "write `default` for the agent of SSH_AUTH_SOCK";
            cx.error_hint(&at, format!("agent `{name}` has no socket"), hint);
        }
        let socket = socket.map(|socket| resolve_path(cx.dir(&at), &socket));
        agents.insert(name, socket);
    }
    agents
}

fn rights(cx: &mut Context, at: &At<'_>) -> Vec<Entitlement> {
    let words = [
        ("network.host", Entitlement::NetworkHost),
        ("security.insecure", Entitlement::SecurityInsecure),
    ];
    cx.list(at).iter().filter_map(|at| cx.choice(at, &words)).collect()
}

/// A context that is not a folder: a Git or HTTP address, an image, a service's image.
fn is_remote(context: &str) -> bool {
    context.contains("://") || context.starts_with("git@") || context.starts_with("service:")
}

fn folder(cx: &mut Context, at: &At<'_>, text: &str) -> String {
    if is_remote(text) {
        return text.to_owned();
    }
    resolve_path(cx.dir(at), text)
}
