//! `cutover inspect`.

use clap::Args;
use cutover_runtime::container::Error;
use serde_json::{Value, json};

use super::Ctx;
use crate::failure::{Failure, Kind, Outcome};

/// Show everything about containers or images, as JSON
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Look among these only
    #[arg(long = "type", value_name = "TYPE", value_parser = ["container", "image"])]
    kind: Option<String>,
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Inspect {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for name in &self.names {
            match self.one(ctx, name)? {
                Some(document) => found.push(document),
                None => missing.push(format!("`{name}`")),
            }
        }
        ctx.ui.json(&found)?;
        match missing.is_empty() {
            true => Ok(()),
            false => {
                let what = self.kind.as_deref().unwrap_or("container or image");
                Err(Failure::msg(Kind::NotFound, format!("no such {what}: {}", missing.join(", ")))
                    .hint("see `cutover ps -a` and `cutover images`"))
            }
        }
    }

    fn one(&self, ctx: &Ctx, name: &str) -> Outcome<Option<Value>> {
        let wants = |kind: &str| self.kind.as_deref().is_none_or(|wanted| wanted == kind);
        if wants("container") {
            match ctx.containers()?.get(name) {
                Ok(container) => {
                    let state = container.state()?;
                    return Ok(Some(json!({
                        "type": "container",
                        "config": container.config(),
                        "state": state,
                        "upper": container.upper(),
                    })));
                }
                Err(Error::NotFound(_) | Error::Name(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !wants("image") {
            return Ok(None);
        }
        let store = ctx.store()?;
        let Some(image) = store.images().resolve(name)? else { return Ok(None) };
        let record = store.images().record_of(image)?;
        Ok(Some(json!({
            "type": "image",
            "digest": record.image.digest,
            "tags": record.tags,
            "digests": record.digests,
            "size": record.size,
            "chainIds": record.image.chain_ids,
            "manifest": record.image.manifest,
            "config": record.image.config,
        })))
    }
}
