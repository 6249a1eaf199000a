//! `cutover network`.

use clap::{Args, Subcommand};
use cutover_runtime::net::{DEFAULT_NETWORK, NetworkConfig};
use serde_json::json;

use super::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};

/// Manage networks
#[derive(Debug, Args)]
pub(super) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List networks
    #[command(visible_alias = "list")]
    Ls {
        /// Print names only
        #[arg(short, long)]
        quiet: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Create a network
    Create {
        /// Subnet, e.g. `172.28.0.0/16`; without it a free one is taken
        #[arg(long, value_name = "CIDR")]
        subnet: Option<String>,
        /// No way to the outside
        #[arg(long)]
        internal: bool,
        name: String,
    },
    /// Show what is known about networks, as JSON
    Inspect {
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Remove networks that no container uses
    Rm {
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
}

impl Network {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let networks = ctx.networks()?;
        match self.command {
            Command::Ls { json: true, .. } => ctx.ui.json(&networks.list()?),
            Command::Ls { quiet: true, .. } => {
                networks.list()?.iter().try_for_each(|network| ctx.ui.data(&network.name))
            }
            Command::Ls { .. } => {
                let rows = networks.list()?.into_iter().map(|network| {
                    let way_out = if network.internal { "internal" } else { "nat" };
                    vec![
                        network.name,
                        network.subnet.to_string(),
                        network.gateway.to_string(),
                        network.bridge,
                        way_out.to_owned(),
                    ]
                });
                let headings = ["NETWORK", "SUBNET", "GATEWAY", "BRIDGE", "OUTSIDE"];
                ctx.ui.table(&headings, rows.collect())
            }
            Command::Create { subnet, internal, name } => {
                if matches!(name.as_str(), DEFAULT_NETWORK | "host" | "none" | "default") {
                    let text =
                        format!("the name `{name}` is taken by a network that is always there");
                    return Err(Failure::msg(Kind::Usage, text));
                }
                if networks.list()?.iter().any(|network| network.name == name) {
                    return Err(Failure::msg(Kind::Usage, format!("network `{name}` exists")));
                }
                let subnet = subnet.as_deref().map(str::parse).transpose().kind(Kind::Usage)?;
                let config = NetworkConfig { subnet, internal, ..NetworkConfig::named(name) };
                ctx.ui.data(networks.ensure(&config)?.name)
            }
            Command::Inspect { names } => {
                let mut documents = Vec::new();
                for name in &names {
                    let (network, leases) = networks.inspect(name).kind(Kind::NotFound)?;
                    documents.push(json!({ "network": network, "leases": leases }));
                }
                ctx.ui.json(&documents)
            }
            Command::Rm { names } => {
                let mut failed: Option<Failure> = None;
                for name in &names {
                    match networks.remove(name) {
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
