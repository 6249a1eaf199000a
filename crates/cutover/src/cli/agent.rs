//! `cutover agent` and the hidden `cutover proxy`: the processes of a machine.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use clap::Args;

use super::Ctx;
use crate::agent::protocol::Request;
use crate::agent::{self, client};
use crate::failure::{Context, Failure, Kind, Outcome};

/// Run the agent of this machine: it carries out deployments and keeps the proxy alive
#[derive(Debug, Args)]
#[command(
    after_help = "Commands that need an agent start one by themselves. Under systemd, run it in the foreground\nwith `Restart=always` and `KillMode=process`: containers and proxy go on without it."
)]
pub(super) struct Agent {
    /// Address that the proxy listens on; kept for the next start [default: 0.0.0.0:80]
    #[arg(short, long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// End the running agent; containers and proxy go on
    #[arg(long, conflicts_with_all = ["detach", "listen"])]
    stop: bool,
    /// With `--stop`: end the proxy too
    #[arg(long, requires = "stop")]
    all: bool,
}

impl Agent {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        if self.stop {
            return stop(ctx, self.all);
        }
        if !self.listen.is_empty() {
            agent::settings::save(&ctx.paths, &self.listen)?;
        }
        if !self.detach {
            return agent::run(&ctx.paths);
        }
        if let Some((_, pid)) = client::ping(&ctx.paths) {
            return Err(Failure::msg(Kind::Usage, format!("an agent runs already: pid {pid}"))
                .hint("end it with `cutover agent --stop`"));
        }
        client::start_and_wait(&ctx.paths)?;
        let Some((_, pid)) = client::ping(&ctx.paths) else {
            return Err(Failure::msg(Kind::Internal, "the agent does not answer")
                .hint(format!("see `{}`", ctx.paths.agent_log().display())));
        };
        let listen = agent::settings::load(&ctx.paths)?;
        let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
        ctx.ui.say(format!("the agent runs: pid {pid}, proxy on {}", listen.join(", ")));
        Ok(())
    }
}

fn stop(ctx: &Ctx, all: bool) -> Outcome {
    match client::ask(&ctx.paths, &Request::Stop { all })? {
        Some(_) => {
            client::wait_until_gone(&ctx.paths)?;
            ctx.ui.say(if all { "the agent and the proxy ended" } else { "the agent ended" });
            Ok(())
        }
        None => Err(Failure::msg(Kind::NotFound, "no agent runs here")
            .hint(format!("the root is `{}`: see `--root`", ctx.paths.root.display()))),
    }
}

/// Run the proxy; started by the agent
#[derive(Debug, Args)]
pub(super) struct Proxy {
    /// Address to listen on
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
    /// Take listening sockets from the socket that is stdin
    #[arg(long)]
    sockets_on_stdin: bool,
}

impl Proxy {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        agent::log::init(&ctx.paths.proxy_log());
        // When memory runs out, anything else goes first: all requests in flight are in here.
        if let Err(error) = fs_err::write("/proc/self/oom_score_adj", "-900") {
            tracing::debug!(%error, "cannot ask to be spared when memory runs out");
        }
        let mut options = agent::proxy_options(&ctx.paths, self.listen);
        if self.sockets_on_stdin {
            let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
            options.sockets_from = Some(stdin.into());
        }
        cutover_proxy::run(options).or_fail(Kind::Internal, "run the proxy")
    }
}
