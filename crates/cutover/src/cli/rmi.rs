//! `cutover rmi`.

use clap::Args;
use cutover_core::Digest;
use cutover_store::{Keep, RemoveError, RemoveOptions};

use super::Ctx;
use crate::failure::{Failure, Kind, Outcome};
use crate::wiring;

/// Remove images, or names of images
#[derive(Debug, Args)]
pub(super) struct Rmi {
    /// Remove an image with all its names, and the image of a stopped container
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Rmi {
    /// Goes on after a failure, and fails in the end: what could be removed is removed.
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let store = ctx.store()?;
        let in_use = |digest: &Digest| wiring::in_use(&ctx.paths, digest);
        let keep = || keep(ctx);
        let options = RemoveOptions { force: self.force, in_use: &in_use, keep: &keep };
        let releases = wiring::release_images(&ctx.paths)?;
        let mut failed = None;
        for name in &self.images {
            let digest = store.images().resolve_digest(name)?;
            if let Some(digest) = digest.filter(|digest| releases.contains(digest)) {
                // names may go, the image stays
                let several = store.images().references(&digest)?.len() > 1;
                if !several {
                    failed = Some(Failure::msg(
                        Kind::Usage,
                        format!("image `{name}` is part of a kept release: a rollback needs it"),
                    ));
                    continue;
                }
            }
            match store.images().remove(name, &options) {
                Ok(removal) => {
                    for reference in removal.untagged {
                        ctx.ui.data(format!("Untagged: {reference}"))?;
                    }
                    for digest in removal.deleted {
                        ctx.ui.data(format!("Deleted: {digest}"))?;
                    }
                }
                Err(error @ RemoveError::NoSuchImage(_)) if self.force => {
                    ctx.ui.warn(error.to_string());
                }
                Err(error) => {
                    let failure = Failure::new(Kind::NotFound, error);
                    if let Some(before) = failed.replace(failure) {
                        ctx.ui.say(before.to_string().trim_end());
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

fn keep(ctx: &Ctx) -> Result<Keep, cutover_store::IoError> {
    wiring::keep(&ctx.paths).map_err(|failure| {
        let text = failure.to_string();
        let error = std::io::Error::other(text.trim_end().to_owned());
        cutover_store::IoError::at("find what is in use in", &ctx.paths.root)(error)
    })
}
