//! `cutover receive`: the other end of `cutover push --to`.

use std::io;

use clap::Args;
use cutover_registry::exchange;

use super::Ctx;
use crate::failure::{Failure, Kind, Outcome};

/// Take images from stdin, as `cutover push --to` sends them
#[derive(Debug, Args)]
pub(super) struct Receive {}

impl Receive {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let store = ctx.store()?;
        let platform = cutover_store::host_platform();
        // stdin and stdout themselves lock and buffer; the exchange has its own buffers
        let received = exchange::receive(&store, &platform, io::stdin(), io::stdout());
        match received {
            Ok(_) => Ok(()),
            // who sent it says why, where someone reads it
            Err(error) if error.told => {
                Err(Failure { kind: Kind::Remote, error: None, hint: None })
            }
            Err(error) => Err(Failure::new(Kind::Remote, error)),
        }
    }
}
