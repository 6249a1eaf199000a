//! `cutover image copy`, `cutover search-tags`.

use clap::{Args, Subcommand};
use cutover_core::Reference;
use cutover_registry::Place;

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

/// Images in other places than the local store
#[derive(Debug, Args)]
pub(super) struct Image {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Copy(Copy),
}

/// Copy an image between registries, layouts and archives, byte for byte
#[derive(Debug, Args)]
#[command(after_help = "\
A place is the name of an image in a registry, `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`. An index goes along \
with all that it names. Nothing goes through the local store.")]
pub(super) struct Copy {
    /// Where the image is
    #[arg(value_name = "SRC")]
    from: Place,
    /// Where it is to be
    #[arg(value_name = "DST")]
    to: Place,
    /// Of an index, only the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Print the digest only
    #[arg(short, long)]
    quiet: bool,
}

impl Image {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        match self.command {
            ImageCommand::Copy(command) => command.run(ctx),
        }
    }
}

impl Copy {
    fn run(self, ctx: &Ctx) -> Outcome {
        let platform = self.platform.as_deref().map(super::build::platform).transpose()?;
        let store = ctx.store()?;
        let options = transfer::options(cutover_store::host_platform())?;
        let ui = if self.quiet { ctx.ui.quiet() } else { ctx.ui };
        let places = (&self.from, &self.to);
        let copied = transfer::told(ui, |progress| {
            cutover_registry::copy(&store, places, platform.as_ref(), &options, progress)
        });
        let copied = copied.map_err(|error| Failure::new(Kind::Remote, error))?;
        ctx.ui.data(copied.digest.to_string())
    }
}
