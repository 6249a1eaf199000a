//! `cutover gc`.

use clap::Args;
use cutover_build::CacheLimits;
use cutover_core::units::{parse_duration, parse_size};

use super::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::secrets::Secrets;
use crate::{agent, clock, ui, wiring};

/// Remove what nothing needs: layers, blobs, the build cache
#[derive(Debug, Args)]
#[command(
    after_help = "What a container or a kept release needs always stays, and without `--all` also what an image\nwith a name needs."
)]
pub(super) struct Gc {
    /// Forget the build cache too, and images without a name that nothing uses
    #[arg(long)]
    build_cache: bool,
    /// Also images that have a name, but no container and no kept release uses them; with
    /// `--build-cache`, instead of these, also what `RUN --mount=type=cache` kept
    #[arg(short, long)]
    all: bool,
    /// With `--build-cache`: forget only what was used longest ago, until the rest has this size
    #[arg(long, visible_alias = "max-used-space", value_name = "SIZE", requires = "build_cache")]
    keep_storage: Option<String>,
    /// With `--build-cache`: forget only what was not used for this long: `until=72h`
    #[arg(long, value_name = "until=AGE", requires = "build_cache")]
    filter: Option<String>,
}

impl Gc {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        match (self.build_cache, self.all) {
            (true, true) => {
                if self.keep_storage.is_some() || self.filter.is_some() {
                    let text = "`--all` forgets all of the build cache: it takes no limits";
                    return Err(Failure::msg(Kind::Usage, text));
                }
                cutover_build::forget_cache(&ctx.paths.root)?;
                cutover_build::CacheMounts::of(&ctx.paths.root).prune(&|_| true)?;
            }
            (true, false) => drop(cutover_build::prune_cache(&ctx.paths.root, self.limits()?)?),
            (false, true) => untag_unused(ctx)?,
            (false, false) => {}
        }
        if self.all || self.build_cache {
            let used = wiring::keep(&ctx.paths)?.images;
            for digest in ctx.store()?.images().forget_dangling(&used)? {
                ctx.ui.data(format!("removed image {}, which had no name", digest.short()))?;
            }
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

impl Gc {
    fn limits(&self) -> Outcome<CacheLimits> {
        let size = self.keep_storage.as_deref().map(parse_size).transpose().kind(Kind::Usage)?;
        let until = self.filter.as_deref().map(|filter| {
            let age = filter.strip_prefix("until=").ok_or_else(|| {
                Failure::msg(Kind::Usage, format!("`--filter {filter}` is not known"))
                    .hint("write `--filter until=72h`")
            })?;
            let age = parse_duration(age).kind(Kind::Usage)?;
            let then = clock::since_epoch().saturating_sub(age).as_secs();
            Ok::<_, Failure>(i64::try_from(then).unwrap_or(0))
        });
        Ok(CacheLimits { max_bytes: size, until: until.transpose()? })
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
