//! `build`, short and long form.

use crate::compose::context::{At, Context};
use crate::compose::interpolate::Lookup as _;
use crate::compose::source::{Variables, resolve_path};
use crate::service::Build;

use super::networks::hosts;

pub(super) fn build(cx: &mut Context, at: &At<'_>, variables: &Variables<'_>) -> Build {
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
        network: network.map(str::to_owned),
        extra_hosts: fields.get("extra_hosts").map(|at| hosts(cx, &at)).unwrap_or_default(),
        additional_contexts,
    }
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
