//! `cutover exec`.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use clap::Args;
use cutover_runtime::container::{Ended, ExecOptions, SessionIo};

use super::Ctx;
use super::run::{DETACH_KEYS, exit_code, terminal_size};
use crate::agent::instance::label;
use crate::failure::{Failure, Kind, Outcome};

/// Run a command in a running container
#[derive(Debug, Args)]
#[command(
    after_help = "A command in an instance of a deployed app is recorded and the instance counts as tainted:\nit is no longer what its release says. `x-cutover.exec: allow|taint|deny` decides."
)]
pub(super) struct Exec {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep stdin open
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User: `name|uid[:group|gid]`
    #[arg(short, long)]
    user: Option<String>,
    /// Give the command all capabilities
    #[arg(long)]
    privileged: bool,
    container: String,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome<u8> {
        if self.tty && self.interactive && !io::stdin().is_terminal() {
            return Err(Failure::msg(Kind::Usage, "stdin is not a terminal: `-t` needs one")
                .hint("leave out `-t`"));
        }
        let container = ctx.containers()?.get(&self.container).map_err(failure)?;
        let labels = &container.config().labels;
        if labels.contains_key(label::INSTANCE) {
            crate::agent::taint::before_exec(ctx, labels, &self.command)?;
        }
        let options = ExecOptions {
            args: self.command,
            env: self.env,
            working_dir: self.workdir,
            user: self.user,
            stdin: self.interactive && !self.detach,
            terminal: self.tty,
            privileged: self.privileged,
            size: if self.tty { terminal_size() } else { None },
        };
        let session = container.exec(&options).map_err(failure)?;
        if self.detach {
            session.detach();
            return Ok(0);
        }
        let stdin = io::stdin();
        let ended = session.run(SessionIo {
            stdin: self.interactive.then(|| stdin.as_fd()),
            stdout: &mut io::stdout(),
            stderr: &mut io::stderr(),
            forward_signals: false,
            detach_keys: if self.tty { DETACH_KEYS.to_vec() } else { Vec::new() },
        });
        match ended.map_err(failure)? {
            Ended::Exited(status) => Ok(exit_code(status.code)),
            Ended::Detached => Ok(0),
        }
    }
}

fn failure(error: cutover_runtime::container::Error) -> Failure {
    let code = error.exit_code();
    // docker's exec ends with 1 when it could not even try
    let kind = if code == 125 { Kind::NotFound } else { Kind::Exit(exit_code(code)) };
    Failure::new(kind, error)
}
