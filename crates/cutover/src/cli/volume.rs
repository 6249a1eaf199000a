//! `cutover volume`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use cutover_runtime::volume::Volume as Record;

use super::Ctx;
use crate::clock;
use crate::failure::{Context, Failure, Kind, Outcome};

/// Manage volumes: what outlives containers
#[derive(Debug, Args)]
pub(super) struct Volume {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List volumes
    #[command(visible_alias = "list")]
    Ls {
        /// Print names only
        #[arg(short, long)]
        quiet: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Create a volume
    Create {
        /// Label it
        #[arg(long, value_name = "KEY=VALUE")]
        label: Vec<String>,
        /// Name; without it one is made up
        name: Option<String>,
    },
    /// Show what is known about volumes, as JSON
    Inspect {
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
    },
    /// Remove volumes that no container uses; their data is lost
    Rm {
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
    },
}

impl Volume {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let volumes = ctx.containers()?.volumes();
        match self.command {
            Command::Ls { json: true, .. } => ctx.ui.json(&volumes.list()?),
            Command::Ls { quiet: true, .. } => {
                volumes.list()?.iter().try_for_each(|volume| ctx.ui.data(&volume.name))
            }
            Command::Ls { .. } => {
                let now = clock::since_epoch();
                let rows = volumes.list()?.into_iter().map(|volume| {
                    let age = clock::ago(clock::span(volume.created_at), now);
                    let kind = if volume.anonymous { "anonymous" } else { "named" };
                    vec![volume.name, kind.to_owned(), age]
                });
                ctx.ui.table(&["VOLUME", "KIND", "CREATED"], rows.collect())
            }
            Command::Create { label, name } => {
                let labels: BTreeMap<String, String> = label
                    .iter()
                    .map(|text| text.split_once('=').unwrap_or((text, "")))
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect();
                let name = name.unwrap_or_else(clock::random_id);
                let record = Record { labels, ..Record::named(&name, clock::now()) };
                ctx.ui.data(volumes.create(&record)?.name)
            }
            Command::Inspect { names } => {
                let mut documents = Vec::new();
                for name in &names {
                    let volume = volumes.get(name).kind(Kind::NotFound)?;
                    let mut document = serde_json::to_value(&volume)?;
                    document["mountpoint"] = volumes.data(name).display().to_string().into();
                    document["users"] = volumes.users(name)?.into();
                    documents.push(document);
                }
                ctx.ui.json(&documents)
            }
            Command::Rm { names } => {
                let mut failed: Option<Failure> = None;
                for name in &names {
                    match volumes.remove(name) {
                        Ok(()) => ctx.ui.data(name)?,
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
    }
}
