//! The short verbs on containers: `start stop kill wait pause unpause rm`.

use std::time::Duration;

use clap::Args;
use cutover_runtime::container::{Container, parse_signal};

use super::{Ctx, run};
use crate::failure::{Context, Failure, Kind, Outcome};

/// Does `act` to each named container; goes on after a failure, and fails in the end.
fn each(ctx: &Ctx, names: &[String], mut act: impl FnMut(&Container) -> Outcome) -> Outcome {
    let containers = ctx.containers()?;
    let mut failed: Option<Failure> = None;
    for name in names {
        let done = containers
            .get(name)
            .kind(Kind::NotFound)
            .and_then(|container| act(&container))
            .and_then(|()| ctx.ui.data(name));
        if let Err(failure) = done
            && let Some(before) = failed.replace(failure)
        {
            ctx.ui.say(before.to_string().trim_end());
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Start stopped containers
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Attach to its output and end with its exit code
    #[arg(short, long)]
    attach: bool,
    /// Keep stdin open
    #[arg(short, long, requires = "attach")]
    interactive: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome<u8> {
        if self.attach {
            let [name] = self.containers.as_slice() else {
                return Err(Failure::msg(Kind::Usage, "`--attach` takes one container"));
            };
            let container = ctx.containers()?.get(name).kind(Kind::NotFound)?;
            return run::attach(&container, self.interactive, container.config().terminal);
        }
        each(ctx, &self.containers, |container| {
            container.start().map_err(|error| run::not_started(container, error))
        })?;
        Ok(0)
    }
}

/// Stop containers: their stop signal, then SIGKILL
#[derive(Debug, Args)]
pub(super) struct Stop {
    /// Seconds to wait before SIGKILL, instead of the container's own
    #[arg(short = 't', long, value_name = "SECONDS", visible_alias = "timeout")]
    time: Option<u64>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let timeout = self.time.map(Duration::from_secs);
        each(ctx, &self.containers, |container| Ok(container.stop(timeout)?))
    }
}

/// Send a signal to containers
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Kill {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let signal = parse_signal(&self.signal).kind(Kind::Usage)?;
        each(ctx, &self.containers, |container| Ok(container.kill(signal)?))
    }
}

/// Wait until containers stop, and print their exit codes
#[derive(Debug, Args)]
pub(super) struct Wait {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let containers = ctx.containers()?;
        for name in &self.containers {
            let status = containers.get(name).kind(Kind::NotFound)?.wait()?;
            ctx.ui.data(status.code.to_string())?;
        }
        Ok(())
    }
}

/// Stop all processes of containers where they are
#[derive(Debug, Args)]
pub(super) struct Pause {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Pause {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        each(ctx, &self.containers, |container| Ok(container.pause()?))
    }
}

/// Let the processes of paused containers go on
#[derive(Debug, Args)]
pub(super) struct Unpause {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Unpause {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        each(ctx, &self.containers, |container| Ok(container.unpause()?))
    }
}

/// Remove containers
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Kill running ones first
    #[arg(short, long)]
    force: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Rm {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        each(ctx, &self.containers, |container| Ok(container.remove(self.force, self.volumes)?))
    }
}
