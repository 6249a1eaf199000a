//! Getting images from registries, with progress.

use clap::ValueEnum;
use cutover_core::Reference;
use cutover_core::oci::Platform;
use cutover_store::{Image, Store};

use crate::cli::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::transfer;

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Even when it is in the local store
    Always,
    /// When it is not in the local store
    Missing,
    /// Not at all
    Never,
}

/// The image that `name` means, pulled if `when` says so.
pub(crate) fn image(
    ctx: &Ctx,
    store: &Store,
    name: &str,
    when: When,
    quiet: bool,
) -> Outcome<Image> {
    if when != When::Always
        && let Some(image) = store.images().resolve(name)?
    {
        return Ok(image);
    }
    let reference: Reference = name.parse().kind(Kind::Usage)?;
    if when == When::Never {
        return Err(Failure::msg(Kind::NotFound, format!("no such image: `{reference}`"))
            .hint("it is not in the local store and `--pull never` was given"));
    }
    if quiet {
        let quiet = Ctx { paths: ctx.paths.clone(), ui: ctx.ui.quiet() };
        return pull(&quiet, store, &reference, None);
    }
    ctx.ui.say(format!("`{reference}` is not in the local store: pulling it"));
    pull(ctx, store, &reference, None)
}

/// Downloads `reference`, showing progress on a terminal.
pub(crate) fn pull(
    ctx: &Ctx,
    store: &Store,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Outcome<Image> {
    let platform = platform.cloned().unwrap_or_else(cutover_store::host_platform);
    let options = transfer::options(platform)?;
    let pulled = transfer::watched(ctx.ui, |progress| {
        cutover_registry::pull(store, reference, &options, progress)
    });
    pulled.map_err(|error| {
        let hint = error.hint();
        Failure { hint, ..Failure::new(Kind::Remote, error) }
    })
}
