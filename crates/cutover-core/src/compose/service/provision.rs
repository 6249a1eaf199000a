//! `build.x-cutover`: an image without a Dockerfile.

use crate::compose::context::{At, Context, Fields};
use crate::service::Provisioning;

/// What reads a step's file.
const TOOLS: [&str; 3] = ["shell", "ansible", "puppet"];

pub(super) fn provisioning(cx: &mut Context, build: &Fields<'_>) -> Option<Provisioning> {
    let at = build.get("x-cutover")?;
    let fields = cx.fields(&at, "services.*.build.x-cutover");
    for other in ["dockerfile", "dockerfile_inline", "target"] {
        if let Some(at) = build.get(other) {
            cx.error(&at, format!("`{other}` and `x-cutover` exclude each other"));
        }
    }
    let from = fields.get("from").and_then(|at| cx.text(&at)).unwrap_or_default();
    if from.is_empty() {
        cx.error_hint(
            &at,
            "`from` is missing",
            "name the base image: `from: debian:bookworm-slim`",
        );
    }
    let steps = match fields.get("provision") {
        Some(at) => {
            let steps = cx.one_or_list(&at);
            steps.iter().flat_map(|at| step(cx, at)).collect()
        }
        None => Vec::new(),
    };
    let changes = match fields.get("change") {
        Some(at) => {
            let changes = cx.one_or_list(&at);
            changes.iter().filter_map(|at| cx.text(at)).collect()
        }
        None => Vec::new(),
    };
    Some(Provisioning { from, steps, changes })
}

/// `shell=setup.sh`, or a map with one key.
fn step(cx: &mut Context, at: &At<'_>) -> Vec<String> {
    if !at.is_map() {
        return cx.parse(at, text).into_iter().collect();
    }
    let fields = cx.fields(at, "services.*.build.x-cutover.provision");
    let mut steps = Vec::new();
    for tool in TOOLS {
        if let Some(at) = fields.get(tool)
            && let Some(file) = cx.text(&at)
        {
            steps.push(format!("{tool}={file}"));
        }
    }
    if steps.len() != 1 {
        cx.error(at, "a step has one of `shell`, `ansible`, `puppet`");
    }
    steps
}

fn text(text: &str) -> Result<String, String> {
    let known = |(tool, file): &(&str, &str)| TOOLS.contains(tool) && !file.is_empty();
    match text.split_once('=').filter(known) {
        Some(_) => Ok(text.to_owned()),
        None => {
            Err(format!("`{text}` is not `shell=FILE`, `ansible=PLAYBOOK` or `puppet=MANIFEST`"))
        }
    }
}
