//! The command line: one file per command, each with its flags (the only definition of them: help,
//! man pages, completions and `docs/cli.md` are made from it) and its `run`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::{Failure, Kind, Outcome};
use crate::paths::{DEFAULT_ROOT, Paths};
use crate::ui::Ui;

mod agent;
mod attach;
pub(crate) mod build;
mod cache_mounts;
mod container;
mod deploy;
mod docs;
mod exec;
mod gc;
mod groups;
mod history;
mod image;
mod images;
mod import;
mod inspect;
mod load;
mod loadgen;
mod login;
mod logout;
mod logs;
mod network;
pub(crate) mod options;
mod ps;
mod pull;
mod push;
mod receive;
mod registry;
mod releases;
mod reset;
mod rmi;
mod run;
pub(crate) mod runtime;
mod save;
mod stats;
mod status;
mod tag;
mod top;
mod volume;

/// Don't update. Version and replace. If the new version fails, go back to the old one.
#[derive(Debug, Parser)]
#[command(name = "cutover", version, max_term_width = 100, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
struct Global {
    /// Directory that holds everything: images, containers, volumes, releases
    #[arg(long, global = true, env = "CUTOVER_ROOT", default_value = DEFAULT_ROOT)]
    #[arg(value_name = "DIR", help_heading = "Global options")]
    root: PathBuf,
}

/// What a command gets: where things are and how to speak to the user.
#[derive(Debug)]
pub(crate) struct Ctx {
    pub(crate) paths: Paths,
    pub(crate) ui: Ui,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Images
    Build(Box<build::Build>),
    Images(images::Images),
    Pull(pull::Pull),
    Push(push::Push),
    Tag(tag::Tag),
    Rmi(rmi::Rmi),
    History(history::History),
    Inspect(inspect::Inspect),
    Save(save::Save),
    Load(load::Load),
    Import(import::Import),
    Image(image::Image),
    SearchTags(image::SearchTags),
    Login(login::Login),
    Logout(logout::Logout),
    CacheMounts(cache_mounts::CacheMounts),
    // Containers
    Run(Box<run::Run>),
    Ps(ps::Ps),
    Logs(logs::Logs),
    Exec(exec::Exec),
    Attach(attach::Attach),
    Top(top::Top),
    Stats(stats::Stats),
    Start(container::Start),
    Stop(container::Stop),
    Kill(container::Kill),
    Wait(container::Wait),
    Pause(container::Pause),
    Unpause(container::Unpause),
    Rm(container::Rm),
    Volume(volume::Volume),
    Network(network::Network),
    // Releases
    Deploy(deploy::Deploy),
    Rollback(deploy::Rollback),
    Replace(deploy::Replace),
    Cancel(deploy::Cancel),
    Down(deploy::Down),
    Status(status::Status),
    Releases(releases::Releases),
    Diff(releases::Diff),
    Ledger(releases::Ledger),
    // The machine
    Agent(agent::Agent),
    Registry(Box<registry::Registry>),
    Gc(gc::Gc),
    Reset(reset::Reset),
    Runtime(Box<runtime::Runtime>),
    Completion(docs::Completion),
    #[command(hide = true)]
    Receive(receive::Receive),
    #[command(hide = true)]
    Proxy(agent::Proxy),
    #[command(hide = true)]
    Docs(docs::Docs),
    #[command(hide = true)]
    Loadgen(loadgen::Loadgen),
}

/// Parses the command line, runs the command, prints what failed.
pub(crate) fn main() -> ExitCode {
    let parsed = definition().try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Kind::Usage.exit_code() } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let ui = Ui::detect();
    let ctx = match absolute_root(&cli.global.root) {
        Ok(root) => Ctx { paths: Paths::new(&root), ui },
        Err(failure) => return report(&failure),
    };
    if cli.command.makes_containers_itself()
        && let Err(error) = cutover_runtime::sys::own_exe::ensure()
    {
        return report(&Failure::new(Kind::Internal, error));
    }
    match cli.command.run(&ctx) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(&failure),
    }
}

/// The whole definition, for help, man pages, completions and the reference page.
fn definition() -> clap::Command {
    groups::grouped(Cli::command())
}

fn absolute_root(root: &std::path::Path) -> Outcome<PathBuf> {
    if root.as_os_str().is_empty() {
        return Err(Failure::msg(Kind::Usage, "the root directory is empty")
            .hint("give a directory with `--root DIR`, or unset CUTOVER_ROOT"));
    }
    Ok(std::path::absolute(root)?)
}

#[expect(clippy::print_stderr, reason = "the one place where a failure is printed")]
fn report(failure: &Failure) -> ExitCode {
    eprint!("{failure}");
    ExitCode::from(failure.kind.exit_code())
}

impl Command {
    /// Builds run their steps in this very process, whose executable must be out of their reach
    /// (CVE-2019-5736): it starts again from behind a read-only mount.
    fn makes_containers_itself(&self) -> bool {
        matches!(self, Self::Build(_) | Self::Deploy(_))
    }

    /// The exit code, or why it failed.
    fn run(self, ctx: &Ctx) -> Outcome<u8> {
        let done = |outcome: Outcome| outcome.map(|()| 0);
        match self {
            Self::Build(command) => done(command.run(ctx)),
            Self::Images(command) => done(command.run(ctx)),
            Self::Pull(command) => done(command.run(ctx)),
            Self::Push(command) => done(command.run(ctx)),
            Self::Tag(command) => done(command.run(ctx)),
            Self::Rmi(command) => done(command.run(ctx)),
            Self::History(command) => done(command.run(ctx)),
            Self::Inspect(command) => done(command.run(ctx)),
            Self::Save(command) => done(command.run(ctx)),
            Self::Load(command) => done(command.run(ctx)),
            Self::Import(command) => done(command.run(ctx)),
            Self::Image(command) => done(command.run(ctx)),
            Self::SearchTags(command) => done(command.run(ctx)),
            Self::Login(command) => done(command.run(ctx)),
            Self::Logout(command) => done(command.run(ctx)),
            Self::CacheMounts(command) => done(command.run(ctx)),
            Self::Run(command) => command.run(ctx),
            Self::Ps(command) => done(command.run(ctx)),
            Self::Logs(command) => done(command.run(ctx)),
            Self::Exec(command) => command.run(ctx),
            Self::Attach(command) => command.run(ctx),
            Self::Top(command) => done(command.run(ctx)),
            Self::Stats(command) => done(command.run(ctx)),
            Self::Start(command) => command.run(ctx),
            Self::Stop(command) => done(command.run(ctx)),
            Self::Kill(command) => done(command.run(ctx)),
            Self::Wait(command) => done(command.run(ctx)),
            Self::Pause(command) => done(command.run(ctx)),
            Self::Unpause(command) => done(command.run(ctx)),
            Self::Rm(command) => done(command.run(ctx)),
            Self::Volume(command) => done(command.run(ctx)),
            Self::Network(command) => done(command.run(ctx)),
            Self::Deploy(command) => done(command.run(ctx)),
            Self::Rollback(command) => done(command.run(ctx)),
            Self::Replace(command) => done(command.run(ctx)),
            Self::Cancel(command) => done(command.run(ctx)),
            Self::Down(command) => done(command.run(ctx)),
            Self::Status(command) => done(command.run(ctx)),
            Self::Releases(command) => done(command.run(ctx)),
            Self::Diff(command) => done(command.run(ctx)),
            Self::Ledger(command) => done(command.run(ctx)),
            Self::Agent(command) => done(command.run(ctx)),
            Self::Registry(command) => done(command.run(ctx)),
            Self::Gc(command) => done(command.run(ctx)),
            Self::Reset(command) => done(command.run(ctx)),
            Self::Runtime(command) => command.run(ctx),
            Self::Completion(command) => done(command.run(ctx)),
            Self::Receive(command) => done(command.run(ctx)),
            Self::Proxy(command) => done(command.run(ctx)),
            Self::Docs(command) => done(command.run(ctx)),
            Self::Loadgen(command) => done(command.run(ctx)),
        }
    }
}
