//! `cutover logs`.

use std::io::{self, Write};
use std::sync::mpsc;

use clap::Args;
use cutover_runtime::container::{Container, Containers, Error};
use cutover_runtime::logs::{Entry, LogOptions, Stream};
use jiff::Timestamp;

use super::Ctx;
use crate::agent::instance::label;
use crate::clock;
use crate::failure::{Failure, Kind, Outcome};

/// Show what a container, or every instance of a service, wrote
#[derive(Debug, Args)]
#[command(
    after_help = "Each line of a service begins with the name of the instance that wrote it. `--tail` counts for each\ninstance; `--follow` follows those that are there now."
)]
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
    /// Container, or service of an app that is deployed here
    #[arg(value_name = "CONTAINER|[APP/]SERVICE")]
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
        let containers = ctx.containers()?;
        let instances = match containers.get(&self.container) {
            Ok(container) => return self.one(&container, &options),
            Err(error @ Error::NotFound(_)) => match instances(&containers, &self.container)? {
                none if none.is_empty() => return Err(error.into()),
                instances => instances,
            },
            Err(error) => return Err(error.into()),
        };
        match self.follow {
            true => self.as_they_come(instances, &options),
            false => self.in_order(&instances, &options),
        }
    }

    fn one(&self, container: &Container, options: &LogOptions) -> Outcome {
        let mut out = Out::new("", self.timestamps);
        Ok(container.logs(options, &mut |entry| out.write(entry))?)
    }

    /// What is there, by time.
    fn in_order(&self, instances: &[(String, Container)], options: &LogOptions) -> Outcome {
        let mut all: Vec<(usize, Entry)> = Vec::new();
        for (index, (_, container)) in instances.iter().enumerate() {
            container.logs(options, &mut |entry| {
                all.push((index, entry.clone()));
                Ok(())
            })?;
        }
        // each instance's own lines are in order already and stay so
        all.sort_by_key(|(_, entry)| entry.time);
        let prefixes = prefixes(instances);
        for (index, entry) in all {
            Out::new(&prefixes[index], self.timestamps).write(&entry)?;
        }
        Ok(())
    }

    /// A thread for each instance reads, this one writes; until the last one has stopped.
    fn as_they_come(&self, instances: Vec<(String, Container)>, options: &LogOptions) -> Outcome {
        let prefixes = prefixes(&instances);
        let (send, entries) = mpsc::sync_channel::<(usize, Entry)>(256);
        for (index, (_, container)) in instances.into_iter().enumerate() {
            let (send, options) = (send.clone(), options.clone());
            std::thread::spawn(move || {
                let mut sink = |entry: &Entry| {
                    let gone = |_closed| io::Error::from(io::ErrorKind::BrokenPipe);
                    send.send((index, entry.clone())).map_err(gone)
                };
                // an instance that was removed has nothing more to say
                drop(container.logs(&options, &mut sink));
            });
        }
        drop(send);
        for (index, entry) in entries {
            Out::new(&prefixes[index], self.timestamps).write(&entry)?;
        }
        Ok(())
    }
}

/// Where lines go: the container's stdout to ours, its stderr to ours.
struct Out<'a> {
    prefix: &'a str,
    timestamps: bool,
}

impl<'a> Out<'a> {
    fn new(prefix: &'a str, timestamps: bool) -> Self {
        Self { prefix, timestamps }
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        let to: &mut dyn Write = match entry.stream {
            Stream::Stdout => &mut out,
            Stream::Stderr => &mut err,
        };
        to.write_all(self.prefix.as_bytes())?;
        if self.timestamps {
            write!(to, "{} ", entry.time)?;
        }
        to.write_all(entry.text.as_bytes())?;
        // a long line comes in pieces, which others' lines must not run into
        if !self.prefix.is_empty() && !entry.text.ends_with('\n') {
            to.write_all(b"\n")?;
        }
        to.flush()
    }
}

/// `web-4-1  | ` for each, of one width.
fn prefixes(instances: &[(String, Container)]) -> Vec<String> {
    let width = instances.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
    instances.iter().map(|(id, _)| format!("{id:<width$} | ")).collect()
}

/// The instances of a service, `SERVICE` or `APP/SERVICE`, oldest first.
fn instances(containers: &Containers, text: &str) -> Outcome<Vec<(String, Container)>> {
    let (app, service) = match text.split_once('/') {
        Some((app, service)) => (Some(app), service),
        None => (None, text),
    };
    let mut found = Vec::new();
    let mut apps = std::collections::BTreeSet::new();
    for summary in containers.list()?.into_iter().rev() {
        let labels = &summary.config.labels;
        let get = |key: &str| labels.get(key).map_or("", String::as_str);
        let is_instance = get(label::KIND) == "instance" && get(label::SERVICE) == service;
        if !is_instance || app.is_some_and(|app| app != get(label::APP)) {
            continue;
        }
        apps.insert(get(label::APP).to_owned());
        found.push((get(label::INSTANCE).to_owned(), containers.get(summary.config.id.as_str())?));
    }
    if apps.len() > 1 {
        let list: Vec<String> = apps.iter().map(|app| format!("`{app}/{service}`")).collect();
        let text = format!("{} apps have a service `{service}`", apps.len());
        return Err(Failure::msg(Kind::Usage, text).hint(format!("write {}", list.join(" or "))));
    }
    Ok(found)
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
