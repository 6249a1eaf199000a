//! `deploy`, `rollback`, `down`: what changes which release serves. The work is the agent's; these
//! commands prepare it (compose file, images, secrets), hand it over and show what happens.

use clap::Args;

use super::Ctx;
use crate::agent::client;
use crate::agent::protocol::Request;
use crate::failure::Outcome;
use crate::project::{self, ProjectArgs};

/// Build, seal and put a new release into service; go back by itself if it fails
#[derive(Debug, Args)]
#[command(
    after_help = "The deployment runs in the agent: ending this command does not stop it, and a second `deploy`\nof an app that is being deployed waits for the first one."
)]
pub(super) struct Deploy {
    #[command(flatten)]
    project: ProjectArgs,
    /// Print the plan and change nothing
    #[arg(long)]
    plan: bool,
    /// Do not build; use the images that are there
    #[arg(long)]
    no_build: bool,
    /// Build without the cache
    #[arg(long)]
    no_cache: bool,
    /// Refuse instead of waiting when a deployment of this app is under way
    #[arg(long)]
    no_wait: bool,
    /// Hand the deployment to the agent and return at once
    #[arg(short, long)]
    detach: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Deploy {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let project = project::load(ctx, &self.project)?;
        let choice = project::BuildChoice { build: !self.no_build, no_cache: self.no_cache };
        // From the build until the ledger names them the images are nobody's but this command's.
        let lease = ctx.store()?.lease()?;
        let (sealed, pin) = project::seal(ctx, &project, choice)?;
        let request = match self.plan {
            true => Request::Plan { app: project.name.clone(), services: sealed },
            false => Request::Deploy {
                app: project.name.clone(),
                services: sealed,
                who: crate::who(),
                wait: !self.no_wait,
            },
        };
        client::follow_with(ctx, &request, self.show(self.detach), Some((pin, lease)))
    }

    fn show(&self, detach: bool) -> client::Show {
        client::Show { json: self.json, detach, undo: false }
    }
}

/// Put an earlier release back into service
#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    project: ProjectArgs,
    /// Number of the release; without it the last one that served well
    #[arg(value_name = "RELEASE")]
    release: Option<u64>,
    /// App, instead of the one in compose.yaml
    #[arg(long)]
    app: Option<String>,
    /// Print the plan and change nothing
    #[arg(long)]
    plan: bool,
    /// Hand the rollback to the agent and return at once
    #[arg(short, long, conflicts_with = "plan")]
    detach: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Rollback {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let app = project::app_name(ctx, self.app.as_deref(), &self.project)?;
        let request =
            Request::Rollback { app, to: self.release, who: crate::who(), plan_only: self.plan };
        let show = client::Show { json: self.json, detach: self.detach, undo: false };
        client::follow(ctx, &request, show)
    }
}

/// Stop an app and remove its containers and network; volumes and releases stay
#[derive(Debug, Args)]
pub(super) struct Down {
    #[command(flatten)]
    project: ProjectArgs,
    /// App, instead of the one in compose.yaml
    #[arg(long)]
    app: Option<String>,
    /// Remove the app's volumes too: their data is lost
    #[arg(short, long)]
    volumes: bool,
}

impl Down {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let app = project::app_name(ctx, self.app.as_deref(), &self.project)?;
        let request = Request::Down { app, volumes: self.volumes, who: crate::who() };
        client::follow(ctx, &request, client::Show { json: false, detach: false, undo: false })
    }
}

/// Throw away instances of the serving release and start fresh ones beside them first
#[derive(Debug, Args)]
pub(super) struct Replace {
    #[command(flatten)]
    project: ProjectArgs,
    /// App, instead of the one in compose.yaml
    #[arg(long)]
    app: Option<String>,
    /// Services; without one, all
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

impl Replace {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let app = project::app_name(ctx, self.app.as_deref(), &self.project)?;
        let request = Request::Replace { app, services: self.services, who: crate::who() };
        client::follow(ctx, &request, client::Show { json: false, detach: false, undo: false })
    }
}

/// Undo the deployment that is under way
#[derive(Debug, Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    project: ProjectArgs,
    /// App, instead of the one in compose.yaml
    #[arg(long)]
    app: Option<String>,
}

impl Cancel {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let app = project::app_name(ctx, self.app.as_deref(), &self.project)?;
        let request = Request::Cancel { app };
        client::follow(ctx, &request, client::Show { json: false, detach: false, undo: true })
    }
}
