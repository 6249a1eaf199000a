//! `cutover save`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cutover_core::Reference;
use cutover_store::archive;
use fs_err as fs;

use super::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};

/// Write images to a tar archive
#[derive(Debug, Args)]
pub(super) struct Save {
    /// File to write instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Form of the archive
    #[arg(long, value_name = "FORMAT", default_value = "both")]
    format: Format,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// OCI layout with docker's manifest beside it: every tool of any age reads it
    Both,
    /// OCI image layout
    OciArchive,
    /// What docker before 25 wrote
    DockerArchive,
}

impl Save {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let store = ctx.store()?;
        let mut images = Vec::new();
        for name in &self.images {
            let image = ctx.image(&store, name)?;
            let named = name.parse::<Reference>().ok().filter(|reference| {
                store.images().get(reference).is_ok_and(|found| found.is_some())
            });
            let references = named.filter(|name| name.tag().is_some()).into_iter().collect();
            images.push((image, references));
        }
        let format = match self.format {
            Format::Both => archive::Format::Both,
            Format::OciArchive => archive::Format::OciArchive,
            Format::DockerArchive => archive::Format::DockerArchive,
        };
        match self.output {
            None if io::stdout().is_terminal() => {
                Err(Failure::msg(Kind::Usage, "an archive is not for a terminal")
                    .hint("redirect stdout, or name a file with `-o FILE`"))
            }
            None => {
                let mut out = BufWriter::new(io::stdout().lock());
                archive::save_images(&store, &images, format, &mut out)
                    .or_fail(Kind::Internal, "write the archive")?;
                Ok(out.flush()?)
            }
            Some(path) => {
                // A half-written archive must not be taken for a whole one.
                let temp = path.with_extension("partial");
                let mut out = BufWriter::new(fs::File::create(&temp)?);
                let saved = archive::save_images(&store, &images, format, &mut out)
                    .or_fail(Kind::Internal, format!("write `{}`", path.display()))
                    .and_then(|()| Ok(out.flush()?));
                match saved {
                    Ok(()) => Ok(fs::rename(&temp, &path)?),
                    Err(failure) => {
                        drop(fs::remove_file(&temp));
                        Err(failure)
                    }
                }
            }
        }
    }
}
