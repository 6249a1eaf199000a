//! `cutover attach`.

use std::io;
use std::os::fd::AsFd;

use clap::Args;
use cutover_runtime::container::{Ended, SessionIo};

use super::Ctx;
use super::run::{DETACH_KEYS, exit_code};
use crate::failure::{Context, Outcome};

/// Attach to the output, and the input, of a running container
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with the container's exit code. On a terminal, ctrl-p ctrl-q leaves it running."
)]
pub(super) struct Attach {
    /// Do not pass on stdin, even if the container was made with `-i`
    #[arg(long)]
    no_stdin: bool,
    container: String,
}

impl Attach {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome<u8> {
        let container =
            ctx.containers()?.get(&self.container).kind(crate::failure::Kind::NotFound)?;
        let config = container.config();
        let stdin = config.stdin && !self.no_stdin;
        let session = container.attach(stdin)?;
        let input = io::stdin();
        let ended = session.run(SessionIo {
            stdin: stdin.then(|| input.as_fd()),
            stdout: &mut io::stdout(),
            stderr: &mut io::stderr(),
            forward_signals: !config.terminal,
            detach_keys: if config.terminal { DETACH_KEYS.to_vec() } else { Vec::new() },
        })?;
        Ok(match ended {
            Ended::Exited(status) => exit_code(status.code),
            Ended::Detached => 0,
        })
    }
}
