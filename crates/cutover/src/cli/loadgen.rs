//! The hidden `loadgen`: the strict load generator of the tests and the demo.

use std::io::BufReader;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use cutover_proxy::loadgen::{Options, Remote, VersionFrom, run};

use super::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};

/// Send requests until stdin ends; every one is ok or a named failure
#[derive(Debug, Args)]
#[command(
    after_help = "Lines `begin NAME` and `end NAME` on stdin mark a stretch of time in the summary."
)]
pub(super) struct Loadgen {
    /// Clients that keep their connection
    #[arg(long, default_value_t = 16)]
    keep_alive: usize,
    /// Clients that open a connection for each request
    #[arg(long, default_value_t = 4)]
    per_request: usize,
    /// Seconds to go on, instead of until stdin ends
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Milliseconds that a client rests between two requests
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pause: u64,
    /// Send a request once more when its kept connection ended without an answer, as browsers do
    #[arg(long)]
    repeat: bool,
    /// Response header that tells the version
    #[arg(long, value_name = "NAME")]
    version_header: Option<String>,
    /// `http://HOST[:PORT]/PATH`
    url: String,
}

impl Loadgen {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let (addr, host, path) = parse(&self.url)?;
        let mut options = Options::new(addr, &host, &path);
        options.keep_alive = self.keep_alive;
        options.per_request = self.per_request;
        options.duration = self.duration.map(Duration::from_secs_f64);
        options.repeat = self.repeat;
        options.pause = Duration::from_millis(self.pause);
        options.version = self.version_header.map(VersionFrom::Header);
        let remote = Remote::new();
        if options.duration.is_none() {
            let handle = remote.clone();
            std::thread::spawn(move || handle.follow(BufReader::new(std::io::stdin())));
        }
        ctx.ui.json(&run(&options, &remote))
    }
}

fn parse(url: &str) -> Outcome<(SocketAddr, String, String)> {
    let bad = || Failure::msg(Kind::Usage, format!("`{url}` is not `http://HOST[:PORT]/PATH`"));
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let addr =
        with_port.to_socket_addrs().or_fail(Kind::Usage, format!("look up `{host}`"))?.next();
    Ok((addr.ok_or_else(bad)?, host.to_owned(), format!("/{path}")))
}
