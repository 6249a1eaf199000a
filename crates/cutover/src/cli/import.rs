//! `cutover import`.

use std::io;
use std::path::PathBuf;

use clap::Args;
use cutover_core::Reference;
use cutover_core::oci::{History, ImageConfig};
use cutover_store::archive;
use fs_err as fs;

use super::Ctx;
use crate::clock;
use crate::failure::{Context, Kind, Outcome};

/// Make an image from a tar of a root file system
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Tar file, plain or compressed; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name for the image
    name: Option<String>,
    /// Line of history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

impl Import {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let reference: Option<Reference> =
            self.name.as_deref().map(str::parse).transpose().kind(Kind::Usage)?;
        let store = ctx.store()?;
        let created = Some(clock::now().to_string());
        let platform = cutover_store::host_platform();
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            created: created.clone(),
            history: vec![History {
                created,
                comment: Some(self.message.unwrap_or_else(|| "Imported from a tar".to_owned())),
                ..History::default()
            }],
            ..ImageConfig::default()
        };
        let file: Box<dyn io::Read + Send> = match self.file.as_os_str() == "-" {
            true => Box::new(io::stdin()),
            false => Box::new(fs::File::open(&self.file)?),
        };
        let image = archive::import(&store, file, config, reference.as_ref())
            .or_fail(Kind::Config, format!("import `{}`", self.file.display()))?;
        ctx.ui.data(image.digest.as_str())
    }
}
