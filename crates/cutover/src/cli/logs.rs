//! `cutover logs`.

use std::io::{self, Write};

use clap::Args;
use cutover_runtime::logs::{Entry, LogOptions, Stream};
use jiff::Timestamp;

use super::Ctx;
use crate::clock;
use crate::failure::{Failure, Kind, Outcome};

/// Show what a container wrote
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Go on until the container stops
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all")]
    tail: String,
    /// Not older than this: a time (RFC 3339), or a duration such as `10m`
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not newer than this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    container: String,
}

impl Logs {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let tail = match self.tail.as_str() {
            "all" => None,
            text => Some(text.parse().map_err(|_not_a_number| {
                Failure::msg(Kind::Usage, format!("`--tail {text}` is not a number or `all`"))
            })?),
        };
        let options = LogOptions {
            follow: self.follow,
            tail,
            since: self.since.as_deref().map(moment).transpose()?,
            until: self.until.as_deref().map(moment).transpose()?,
        };
        let container = ctx.containers()?.get(&self.container)?;
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        let mut sink = |entry: &Entry| {
            let to: &mut dyn Write = match entry.stream {
                Stream::Stdout => &mut out,
                Stream::Stderr => &mut err,
            };
            if self.timestamps {
                write!(to, "{} ", entry.time)?;
            }
            to.write_all(entry.text.as_bytes())?;
            to.flush()
        };
        Ok(container.logs(&options, &mut sink)?)
    }
}

/// A time, or how long ago.
fn moment(text: &str) -> Outcome<Timestamp> {
    if let Ok(timestamp) = text.parse() {
        return Ok(timestamp);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Timestamp::from_second(seconds)?);
    }
    match cutover_core::units::parse_duration(text) {
        Ok(ago) => Ok(clock::now().checked_sub(ago)?),
        Err(_) => Err(Failure::msg(Kind::Usage, format!("`{text}` is not a time"))
            .hint("write RFC 3339 (`2026-01-02T15:04:05Z`), seconds since 1970, or `10m`")),
    }
}
