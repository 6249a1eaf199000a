//! `cutover runtime`: runc's command line over the OCI front, so that docker, containerd and podman can use it.
//!
//! They want a program without arguments: called by a name that ends in `cutover-runtime` (a link to the binary), the
//! program is this command. It is dispatched before anything else, in one thread: the front forks.

mod exec;
mod foreground;
mod life;
mod log;
mod print;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cutover_runtime::oci::{Error, Store};
use cutover_runtime::sys::own_exe;

use super::Ctx;
use crate::failure::Outcome;

/// Run OCI bundles, with runc's command line
///
/// docker, containerd and podman use it when they are given a link named `cutover-runtime` to this program.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Runtime {
    /// Directory that holds the state of containers
    #[arg(long, value_name = "DIR", default_value = "/run/cutover-runtime")]
    root: PathBuf,
    /// Where errors are logged, besides stderr
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Form of the log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Accepted for runc's sake
    #[arg(long)]
    debug: bool,
    /// Not supported: control groups are made directly
    #[arg(long)]
    systemd_cgroup: bool,
    /// Accepted for runc's sake: `true`, `false` or `auto`
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    rootless: String,
    /// Accepted for runc's sake; nothing is checkpointed
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(life::Create),
    Start(life::Start),
    Run(life::Run),
    State(print::State),
    Kill(life::Kill),
    Delete(life::Delete),
    Exec(Box<exec::Exec>),
    Pause(life::Pause),
    Resume(life::Resume),
    Update(life::Update),
    Ps(print::Ps),
    List(print::List),
    Spec(print::Spec),
    Features(print::Features),
}

/// What each of them gets.
struct Front {
    store: Store,
    log: log::Log,
}

type Result<T> = std::result::Result<T, Error>;

/// The name by which docker and podman call it.
const NAME: &str = "cutover-runtime";

/// Whether the program was called as the runtime: by its name or by the first word.
pub(crate) fn is_called(name: &OsStr, first: &OsStr) -> bool {
    is_named(name) || first == "runtime"
}

fn is_named(name: &OsStr) -> bool {
    Path::new(name).file_name().is_some_and(|name| name.to_string_lossy().ends_with(NAME))
}

#[derive(Debug, Parser)]
#[command(name = NAME, disable_version_flag = true)]
struct Alone {
    /// Print the version
    #[arg(short, long)]
    version: bool,
    #[command(flatten)]
    runtime: Runtime,
}

/// Does what [`is_called`] found.
pub(crate) fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let skip = usize::from(!is_named(&name));
    let rest: Vec<OsString> = args.skip(skip).collect();
    // Before clap asks for a command.
    if matches!(rest.as_slice(), [only] if only == "--version" || only == "-v") {
        return print::version();
    }
    match Alone::try_parse_from([name].into_iter().chain(rest)) {
        Ok(alone) => ExitCode::from(alone.runtime.execute()),
        Err(error) => {
            let code = u8::from(error.use_stderr());
            drop(error.print());
            ExitCode::from(code)
        }
    }
}

impl Runtime {
    /// When it is reached through cutover's own command line.
    pub(super) fn run(self, _ctx: &Ctx) -> Outcome<u8> {
        Ok(self.execute())
    }

    fn execute(self) -> u8 {
        let log = log::Log::new(self.log.clone(), self.log_format == LogFormat::Json);
        let result = self.checked().and_then(|store| {
            let front = Front { store, log: log.clone() };
            self.command.run(&front)
        });
        match result {
            Ok(code) => code,
            Err(error) => {
                log.failure(&error.tell().text);
                error.exit_code()
            }
        }
    }

    fn checked(&self) -> Result<Store> {
        if self.systemd_cgroup {
            let reason =
                "control groups are made directly, not by systemd: use the driver `cgroupfs`";
            return Err(Error::unsupported("--systemd-cgroup", reason));
        }
        if !matches!(self.rootless.as_str(), "true" | "false" | "auto") {
            return Err(Error::invalid("--rootless", "it is `true`, `false` or `auto`"));
        }
        if self.command.makes_processes() {
            own_exe::ensure().map_err(Error::step("run from behind", "a read-only mount"))?;
        }
        Store::open(&self.root)
    }
}

impl Command {
    fn makes_processes(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Run(_) | Self::Exec(_))
    }

    fn run(self, front: &Front) -> Result<u8> {
        let done = |result: Result<()>| result.map(|()| 0);
        match self {
            Self::Create(command) => done(command.run(front)),
            Self::Start(command) => done(command.run(front)),
            Self::Run(command) => command.run(front),
            Self::State(command) => done(command.run(front)),
            Self::Kill(command) => done(command.run(front)),
            Self::Delete(command) => done(command.run(front)),
            Self::Exec(command) => command.run(front),
            Self::Pause(command) => done(command.run(front)),
            Self::Resume(command) => done(command.run(front)),
            Self::Update(command) => done(command.run(front)),
            Self::Ps(command) => done(command.run(front)),
            Self::List(command) => done(command.run(front)),
            Self::Spec(command) => done(command.run()),
            Self::Features(command) => done(command.run()),
        }
    }
}
