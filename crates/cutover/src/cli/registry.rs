//! `cutover registry`: the embedded registry and the care of its data.

mod care;
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
    Gc(care::Gc),
    Fsck(care::Fsck),
    History(care::History),
    Rollback(care::Rollback),
    Retain(care::Retain),
    Token(token::Token),
}

impl Registry {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        match self.command {
            Command::Serve(command) => command.run(ctx),
            Command::Gc(command) => command.run(ctx),
            Command::Fsck(command) => command.run(ctx),
            Command::History(command) => command.run(ctx),
            Command::Rollback(command) => command.run(ctx),
            Command::Retain(command) => command.run(ctx),
            Command::Token(command) => command.run(ctx),
        }
    }
}

/// Where a registry's data is.
fn data(given: Option<PathBuf>, ctx: &Ctx) -> PathBuf {
    given.unwrap_or_else(|| ctx.paths.root.join("registry"))
}
