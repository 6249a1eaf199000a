//! `cutover run`: docker's flags, one container, no daemon.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use cutover_runtime::container::{Container, Ended, Error, SessionIo};
use cutover_runtime::merge::{ImageSource, RunOptions, merge};
use fs_err as fs;

use super::Ctx;
use super::options::{ContainerOptions, Surroundings};
use crate::failure::{Failure, Kind, Outcome};
use crate::{clock, pull};

/// Docker's default detach keys: ctrl-p ctrl-q.
pub(super) const DETACH_KEYS: &[u8] = &[0x10, 0x11];

/// Create and run a new container from an image
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes are docker's: the container's own, 125 when cutover failed, 126 when the\ncommand cannot be executed, 127 when it was not found, 128+N when it was ended by signal N."
)]
pub(super) struct Run {
    #[command(flatten)]
    options: ContainerOptions,
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Remove the container when it exits
    #[arg(long)]
    rm: bool,
    /// Keep stdin open
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// When to pull the image: `always`, `missing` or `never`
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pull: pull::When,
    /// Do not print the progress of a pull
    #[arg(short, long)]
    quiet: bool,
    /// Image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Command and its arguments, instead of the image's
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Run {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome<u8> {
        let (detach, interactive, tty) = (self.detach, self.interactive, self.tty);
        if tty && !detach && interactive && !io::stdin().is_terminal() {
            return Err(Failure::msg(Kind::Usage, "stdin is not a terminal: `-t` needs one")
                .hint("leave out `-t`"));
        }
        let container = self.create(ctx)?;
        if detach {
            container.start().map_err(|error| not_started(&container, error))?;
            ctx.ui.data(container.id().as_str())?;
            return Ok(0);
        }
        attach(&container, interactive, tty)
    }

    fn create(self, ctx: &Ctx) -> Outcome<Container> {
        let cwd = std::env::current_dir()?;
        #[expect(clippy::disallowed_methods, reason = "`-e KEY` takes the caller's value")]
        let env = |key: &str| std::env::var(key).ok();
        let id = clock::random_id().parse()?;
        let mut options = RunOptions::new(id, clock::now());
        self.options.apply(&mut options, Surroundings { env: &env, cwd: &cwd })?;
        options.cmd = self.command;
        options.terminal = self.tty;
        options.stdin = self.interactive;
        options.auto_remove = self.rm;
        let store = ctx.store()?;
        // the garbage collector must not take the layers before the container names them
        let lease = store.lease()?;
        let image =
            pull::image(ctx, &store, &self.image, self.pull, self.quiet).map_err(run_failure)?;
        let lowers = store.snapshots().ensure(&image, &mut |_| {}).map_err(internal)?;
        let source = ImageSource {
            name: self.image,
            digest: image.digest.clone(),
            config: &image.config.config,
            lowers,
        };
        let config = merge(&source, options).map_err(internal)?;
        if let Some(path) = &self.cidfile {
            let created = fs::OpenOptions::new().write(true).create_new(true).open(path);
            let mut file = created.map_err(internal)?;
            io::Write::write_all(&mut file, config.id.as_str().as_bytes())?;
        }
        let container = ctx.containers()?.create(config).map_err(internal)?;
        drop(lease);
        Ok(container)
    }
}

/// Starts the container with the caller's streams and returns its exit code.
pub(super) fn attach(container: &Container, interactive: bool, tty: bool) -> Outcome<u8> {
    let size = tty.then(terminal_size).flatten();
    let session = container
        .start_attached(interactive, size)
        .map_err(|error| not_started(container, error))?;
    let stdin = io::stdin();
    let ended = session.run(SessionIo {
        stdin: interactive.then(|| stdin.as_fd()),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
        forward_signals: !tty,
        detach_keys: if tty { DETACH_KEYS.to_vec() } else { Vec::new() },
    });
    match ended.map_err(internal)? {
        Ended::Exited(status) => Ok(exit_code(status.code)),
        Ended::Detached => Ok(0),
    }
}

/// Rows and columns of the caller's terminal.
pub(super) fn terminal_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some((size.ws_row, size.ws_col))
}

pub(super) fn exit_code(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}

/// 126 and 127 as docker's; a container that never ran is not left behind by `--rm`.
pub(super) fn not_started(container: &Container, error: Error) -> Failure {
    if container.config().auto_remove {
        // it may be gone already
        drop(container.remove(true, true));
    }
    let code = error.exit_code();
    Failure::new(Kind::Exit(exit_code(code)), error)
}

fn internal(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Kind::Run, error)
}

fn run_failure(failure: Failure) -> Failure {
    Failure { kind: Kind::Run, ..failure }
}
