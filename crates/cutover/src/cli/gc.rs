//! `cutover gc`.

use clap::Args;

use super::Ctx;
use crate::failure::{Failure, Kind, Outcome};
use crate::secrets::Secrets;
use crate::{agent, ui, wiring};

/// Remove what nothing needs: layers, blobs, the build cache
#[derive(Debug, Args)]
#[command(
    after_help = "What a container or a kept release needs always stays, and without `--all` also what an image\nwith a name needs."
)]
pub(super) struct Gc {
    /// Forget the build cache too
    #[arg(long)]
    build_cache: bool,
    /// Also images that have a name, but no container and no kept release uses them; with
    /// `--build-cache` also what `RUN --mount=type=cache` kept
    #[arg(short, long)]
    all: bool,
}

impl Gc {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        if self.build_cache {
            cutover_build::forget_cache(&ctx.paths.root)?;
        }
        if self.build_cache && self.all {
            cutover_build::CacheMounts::of(&ctx.paths.root).prune(&|_| true)?;
        }
        if self.all {
            untag_unused(ctx)?;
        }
        let secrets = collect_secrets(ctx)?;
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
            "removed {} snapshots, {} blobs, {} temporary files, {secrets} old secrets: {} freed",
            collected.snapshots,
            collected.blobs,
            collected.temporary,
            ui::size(collected.bytes)
        ))
    }
}

/// Takes the names away from images that nothing uses, as `docker image prune -a` does.
fn untag_unused(ctx: &Ctx) -> Outcome {
    let used = wiring::keep(&ctx.paths)?.images;
    let images = ctx.store()?.images();
    for (name, digest) in images.names()? {
        if !used.contains(&digest) && images.untag(&name)? {
            ctx.ui.data(format!("untagged {name}"))?;
        }
    }
    Ok(())
}

/// Removes versions of secrets and configs that no kept release names.
fn collect_secrets(ctx: &Ctx) -> Outcome<usize> {
    let dir = ctx.paths.secrets();
    if !dir.exists() {
        return Ok(0);
    }
    let collected = Secrets::open(&dir)?.collect(|| agent::ledger::secret_versions(&ctx.paths))?;
    if collected.is_none() {
        ctx.ui.warn("a release is being prepared: old secrets were left alone");
    }
    Ok(collected.unwrap_or(0))
}
