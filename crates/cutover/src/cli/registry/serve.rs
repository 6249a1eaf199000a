//! `cutover registry serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use cutover_core::units::parse_size;
use cutover_registry::server::{self, Ambient, Immutable, Options, Policy};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Ctx;
use crate::agent::log;
use crate::clock;
use crate::failure::{Context, Failure, Kind, Outcome};

/// Serve images over the OCI distribution API
#[derive(Debug, Args)]
#[command(
    after_help = "Without `--htpasswd` or `--tokens` anybody who reaches the address may pull and push: listen on a loopback address unless you mean it.\nEnds at SIGTERM or SIGINT when requests in flight are answered."
)]
pub(super) struct Serve {
    /// Address to listen on; can be given several times
    #[arg(short, long, value_name = "IP:PORT", default_value = "127.0.0.1:5000")]
    listen: Vec<SocketAddr>,
    /// Directory of the registry's data [default: ROOT/registry]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Tags that cannot be moved: `versions` (1.2.3, dates, commits), `all`, `none`, or a pattern
    /// with `*`; can be given several times
    #[arg(long, value_name = "WHICH", default_value = "versions")]
    immutable_tags: Vec<String>,
    /// Bytes that a repository may hold: `10G` for each, or `team/*=10G` for those that match; can be
    /// given several times
    #[arg(long, value_name = "[PATTERN=]SIZE")]
    quota: Vec<String>,
    /// Refuse everything that writes
    #[arg(long)]
    read_only: bool,
    /// Refuse a manifest that names blobs or manifests which its repository does not have
    #[arg(long)]
    complete: bool,
    /// Threads that serve [default: one for each core]
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    #[command(flatten)]
    guard: super::guard::GuardFlags,
}

impl Serve {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let data = super::data(self.data.clone(), ctx);
        match self.guard.log_json() {
            true => log::init_json(),
            false => log::init(&data.join("registry.log")),
        }
        let mut options = Options::new(data.clone(), ambient());
        options.policy = self.policy()?;
        (options.listen, options.threads) = (self.listen, self.threads);
        self.guard.apply(ctx, &mut options)?;
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])
            .or_fail(Kind::Internal, "wait for signals")?;
        let running = server::start(options).kind(Kind::Internal)?;
        let addresses: Vec<String> = running.addresses().iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        ctx.ui
            .say(format!("the registry listens on {addresses}, its data is in {}", data.display()));
        signals.forever().next();
        running.stop();
        Ok(())
    }

    fn policy(&self) -> Outcome<Policy> {
        let immutable = self.immutable_tags.iter();
        let immutable = immutable.map(|text| text.parse::<Immutable>()).collect::<Result<_, _>>();
        let quotas = self.quota.iter().map(|text| quota(text)).collect::<Outcome<_>>()?;
        Ok(Policy {
            immutable: immutable.unwrap_or_else(|never| match never {}),
            quotas,
            read_only: self.read_only,
            complete: self.complete,
        })
    }
}

fn quota(text: &str) -> Outcome<(String, u64)> {
    let (pattern, size) = text.split_once('=').unwrap_or(("*", text));
    let size = parse_size(size).map_err(|error| {
        Failure::new(Kind::Usage, error).hint("write `--quota 10G` or `--quota 'team/*=10G'`")
    })?;
    Ok((pattern.to_owned(), size))
}

pub(super) fn ambient() -> Ambient {
    Ambient { now: clock::since_epoch, random: clock::random_bytes }
}
