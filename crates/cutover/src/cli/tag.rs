//! `cutover tag`.

use clap::Args;
use cutover_core::Reference;

use super::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};

/// Give an image one more name
#[derive(Debug, Args)]
pub(super) struct Tag {
    /// Image
    source: String,
    /// New name
    target: String,
}

impl Tag {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let target: Reference = self.target.parse().kind(Kind::Usage)?;
        if target.digest().is_some() {
            return Err(Failure::msg(
                Kind::Usage,
                format!("`{target}` has a digest: a name that is given must not"),
            ));
        }
        let store = ctx.store()?;
        let image = ctx.image(&store, &self.source)?;
        store.images().tag(&target, &image.digest).or_fail(Kind::Internal, "tag the image")
    }
}
