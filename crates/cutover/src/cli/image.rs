//! `cutover search-tags`.

use clap::Args;
use cutover_core::Reference;

use super::Ctx;
use crate::failure::{Failure, Kind, Outcome};
use crate::transfer;

/// List the tags that a repository has in its registry
#[derive(Debug, Args)]
pub(super) struct SearchTags {
    /// Name without a tag, e.g. `ghcr.io/team/app`
    repository: Reference,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl SearchTags {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let options = transfer::options(cutover_store::host_platform())?;
        let tags = cutover_registry::tags(&self.repository, &options).map_err(|error| {
            let hint = error.hint();
            Failure { hint, ..Failure::new(Kind::Remote, error) }
        })?;
        if self.json {
            return ctx.ui.json(&tags);
        }
        tags.iter().try_for_each(|tag| ctx.ui.data(tag))
    }
}
