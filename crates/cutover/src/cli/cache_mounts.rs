//! `cutover cache-mounts`: the directories of `RUN --mount=type=cache`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cutover_build::CacheMount;
use fs_err::File;
use serde_json::json;

use super::Ctx;
use crate::failure::{Context, Kind, Outcome};
use crate::{clock, ui};

/// Manage what `RUN --mount=type=cache` keeps between builds
#[derive(Debug, Args)]
pub(super) struct CacheMounts {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List cache mounts
    #[command(visible_alias = "list")]
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a cache mount's files as a tar
    Export {
        /// Its name, or its id if only one has that
        #[arg(value_name = "NAME|ID")]
        name: String,
        /// The tar; `-` is stdout
        #[arg(short, long, value_name = "FILE", default_value = "-")]
        output: PathBuf,
    },
    /// Make the files of a tar, compressed or not, the content of a cache mount
    Import {
        /// Id as in the Dockerfile: the mount's `id=`, or else its `target=`
        #[arg(value_name = "ID")]
        id: String,
        /// The tar; `-` is stdin
        #[arg(short, long, value_name = "FILE", default_value = "-")]
        input: PathBuf,
        /// What it began with, as `cache-mounts ls` shows it: `UID:GID MODE`
        #[arg(long, value_name = "BASE", default_value = "")]
        base: String,
    },
    /// Remove cache mounts
    Rm {
        #[arg(required = true, value_name = "NAME|ID")]
        names: Vec<String>,
    },
    /// Remove all cache mounts that no build uses
    Prune {
        /// Only those that were not used for so long, e.g. `7d`
        #[arg(long, value_name = "DURATION")]
        older_than: Option<String>,
    },
}

impl CacheMounts {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let caches = cutover_build::CacheMounts::of(&ctx.paths.root);
        let now = i64::try_from(clock::since_epoch().as_secs()).unwrap_or(i64::MAX);
        match self.command {
            Command::Ls { json: true } => {
                let list: Vec<_> = caches.list()?.iter().map(document).collect();
                ctx.ui.json(&list)
            }
            Command::Ls { json: false } => {
                let rows = caches.list()?.into_iter().map(|cache| {
                    let used = std::time::Duration::from_secs(cache.last_used.unsigned_abs());
                    let used = clock::ago(used, clock::since_epoch());
                    let state = if cache.in_use { "in use" } else { "" };
                    let size = ui::size(cache.size);
                    vec![cache.name, cache.id, cache.base, size, used, state.to_owned()]
                });
                ctx.ui.table(&["NAME", "ID", "BASE", "SIZE", "USED", "STATE"], rows.collect())
            }
            Command::Export { name, output } if output.as_os_str() == "-" => {
                Ok(caches.export(&name, std::io::stdout().lock())?)
            }
            Command::Export { name, output } => {
                Ok(caches.export(&name, std::io::BufWriter::new(File::create(output)?))?)
            }
            Command::Import { id, input, base } if input.as_os_str() == "-" => {
                Ok(caches.import(&id, &base, std::io::stdin().lock(), now)?)
            }
            Command::Import { id, input, base } => {
                let file = File::open(input).kind(Kind::Usage)?;
                Ok(caches.import(&id, &base, file, now)?)
            }
            Command::Rm { names } => {
                names.iter().try_for_each(|name| ctx.ui.data(caches.remove(name)?.name))
            }
            Command::Prune { older_than } => {
                let age = older_than.as_deref().map(cutover_core::units::parse_duration);
                let age = age.transpose().kind(Kind::Usage)?.unwrap_or_default().as_secs();
                let limit = now.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
                let removed = caches.prune(&|cache| cache.last_used <= limit)?;
                let bytes = removed.iter().map(|cache| cache.size).sum();
                ctx.ui.data(format!(
                    "removed {} cache mounts: {} freed",
                    removed.len(),
                    ui::size(bytes)
                ))
            }
        }
    }
}

fn document(cache: &CacheMount) -> serde_json::Value {
    let CacheMount { name, id, base, size, last_used, in_use, path } = cache;
    json!({
        "name": name, "id": id, "base": base, "size": size, "last_used": last_used, "in_use": in_use,
        "path": path,
    })
}
