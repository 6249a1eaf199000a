//! `cutover registry`: the embedded registry and the care of its data.

mod guard;
mod serve;
mod token;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Ctx;
use crate::failure::Outcome;

/// Run a registry of images, and look after it
#[derive(Debug, Args)]
pub(super) struct Registry {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Token(token::Token),
}

impl Registry {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        match self.command {
            Command::Serve(command) => command.run(ctx),
            Command::Token(command) => command.run(ctx),
        }
    }
}

/// Where a registry's data is.
fn data(given: Option<PathBuf>, ctx: &Ctx) -> PathBuf {
    given.unwrap_or_else(|| ctx.paths.root.join("registry"))
}
