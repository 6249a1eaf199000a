//! `cutover reset`: the end of a root.

use clap::Args;
use fs_err as fs;

use super::Ctx;
use crate::agent::client;
use crate::agent::protocol::Request;
use crate::failure::{Failure, Kind, Outcome};
use crate::paths::DEFAULT_ROOT;

/// Remove everything under this root: containers, networks, volumes, images, releases
#[derive(Debug, Args)]
#[command(after_help = "The agent and the proxy are ended first. There is no way back.")]
pub(super) struct Reset {
    /// Yes, all of it
    #[arg(long)]
    force: bool,
}

impl Reset {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let root = &ctx.paths.root;
        if !self.force {
            let text = format!("this removes everything under `{}`", root.display());
            return Err(Failure::msg(Kind::Usage, text).hint("say `--force` if you mean it"));
        }
        if !root.exists() {
            return Ok(());
        }
        let is_ours =
            ["store.db", "agent.json", "containers"].iter().any(|name| root.join(name).exists());
        if !is_ours {
            let text = format!("`{}` is no root of cutover: nothing was removed", root.display());
            return Err(
                Failure::msg(Kind::Usage, text).hint("name the right one with `--root DIR`")
            );
        }
        if client::ask(&ctx.paths, &Request::Stop { all: true })?.is_some() {
            client::wait_until_gone(&ctx.paths)?;
        }
        client::stop_proxy(&ctx.paths)?;
        let mut problems = Vec::new();
        let containers = ctx.containers()?;
        for summary in containers.list()? {
            let removed = containers.get(summary.config.id.as_str());
            let removed = removed.and_then(|container| container.remove(true, true));
            if let Err(error) = removed {
                problems.push(error.to_string());
            }
        }
        if let Err(error) = ctx.networks()?.remove_all() {
            problems.push(error.to_string());
        }
        if problems.is_empty() {
            for dir in [&ctx.paths.run, root] {
                match fs::remove_dir_all(dir) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        problems.push(error.to_string());
                    }
                    _ => {}
                }
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => {
                for problem in &problems {
                    ctx.ui.say(format!("  {problem}"));
                }
                let hint = match root.as_os_str() == DEFAULT_ROOT {
                    true => {
                        "see what is left with `cutover ps -a` and `cutover network ls`".to_owned()
                    }
                    false => {
                        format!("see what is left with `cutover --root {} ps -a`", root.display())
                    }
                };
                Err(Failure::msg(Kind::Internal, "not everything could be removed").hint(hint))
            }
        }
    }
}
