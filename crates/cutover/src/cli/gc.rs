//! `cutover gc`.

use clap::Args;

use super::Ctx;
use crate::failure::{Failure, Kind, Outcome};
use crate::{ui, wiring};

/// Remove what nothing needs: layers, blobs, the build cache
#[derive(Debug, Args)]
#[command(after_help = "What a container, a kept release or a named image needs always stays.")]
pub(super) struct Gc {
    /// Forget the build cache too
    #[arg(long)]
    build_cache: bool,
    /// With `--build-cache`: all of it
    #[arg(long, requires = "build_cache")]
    all: bool,
}

impl Gc {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        if self.build_cache {
            cutover_build::forget_cache(&ctx.paths.root)?;
        }
        let keep = || {
            wiring::keep(&ctx.paths).map_err(|failure| {
                let error = std::io::Error::other(failure.to_string());
                cutover_store::IoError::at("find what is in use in", &ctx.paths.root)(error)
            })
        };
        let collected = ctx.store()?.gc(&keep).map_err(|error| {
            Failure::new(Kind::Internal, error)
                .hint("try again when nothing is being built or pulled")
        })?;
        ctx.ui.data(format!(
            "removed {} snapshots, {} blobs, {} temporary files: {} freed",
            collected.snapshots,
            collected.blobs,
            collected.temporary,
            ui::size(collected.bytes)
        ))
    }
}
