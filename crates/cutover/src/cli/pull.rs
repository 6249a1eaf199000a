//! `cutover pull`.

use clap::Args;
use cutover_core::Reference;

use super::Ctx;
use crate::failure::{Context, Kind, Outcome};
use crate::pull;

/// Download an image from a registry
#[derive(Debug, Args)]
pub(super) struct Pull {
    /// Name, with a tag or a digest
    image: Reference,
    /// Platform, e.g. `linux/arm64`
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Print the digest only
    #[arg(short, long)]
    quiet: bool,
}

impl Pull {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let platform = self.platform.as_deref().map(super::build::platform).transpose()?;
        let store = ctx.store()?;
        let ui = ctx.ui;
        let ctx = &Ctx { paths: ctx.paths.clone(), ui: if self.quiet { ui.quiet() } else { ui } };
        let image = pull::pull(ctx, &store, &self.image, platform.as_ref())?;
        store
            .snapshots()
            .ensure(&image, &mut |_| {})
            .or_fail(Kind::Internal, format!("unpack `{}`", self.image))?;
        ctx.ui.data(format!("{}@{}", self.image.familiar_name(), image.digest))
    }
}
