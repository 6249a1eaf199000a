//! `cutover load`.

use std::io;
use std::path::PathBuf;

use clap::Args;
use cutover_store::archive;
use fs_err as fs;

use super::Ctx;
use crate::failure::{Context, Kind, Outcome};

/// Load images from an archive written by `save` of cutover, docker, podman or skopeo
#[derive(Debug, Args)]
pub(super) struct Load {
    /// File to read instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print digests only
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let store = ctx.store()?;
        let (loaded, from) = match &self.input {
            Some(path) => {
                (archive::load(&store, fs::File::open(path)?), path.display().to_string())
            }
            None => (archive::load(&store, io::stdin()), "stdin".to_owned()),
        };
        for image in loaded.or_fail(Kind::Config, format!("load images from `{from}`"))? {
            match image.reference {
                Some(reference) if !self.quiet => {
                    ctx.ui.data(format!("Loaded image: {reference}"))?;
                }
                _ if self.quiet => ctx.ui.data(image.digest.as_str())?,
                _ => ctx.ui.data(format!("Loaded image: {}", image.digest))?,
            }
        }
        Ok(())
    }
}
