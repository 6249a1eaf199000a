//! `cutover ps`.

use clap::Args;
use cutover_runtime::container::{Status, Summary};
use serde_json::json;

use super::Ctx;
use crate::clock;
use crate::failure::{Failure, Kind, Outcome};

/// List containers
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Show stopped ones too
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Only those with this: `name=`, `status=`, `label=KEY[=VALUE]`, `health=`
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Ps {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let filters =
            self.filter.iter().map(|text| Filter::parse(text)).collect::<Outcome<Vec<_>>>()?;
        let all = self.all || filters.iter().any(|filter| matches!(filter, Filter::Status(_)));
        let mut list = ctx.containers()?.list()?;
        list.retain(|summary| {
            (all || summary.state.status.is_live())
                && filters.iter().all(|filter| filter.matches(summary))
        });
        if self.json {
            return ctx.ui.json(&list.iter().map(document).collect::<Vec<_>>());
        }
        let id = |summary: &Summary| match self.no_trunc {
            true => summary.config.id.as_str().to_owned(),
            false => summary.config.id.short().to_owned(),
        };
        if self.quiet {
            return list.iter().try_for_each(|summary| ctx.ui.data(id(summary)));
        }
        let now = clock::since_epoch();
        let rows = list.iter().map(|summary| {
            let config = &summary.config;
            let command = config.args().join(" ");
            let command = match self.no_trunc || command.chars().count() <= 24 {
                true => format!("\"{command}\""),
                false => format!("\"{}…\"", command.chars().take(23).collect::<String>()),
            };
            vec![
                id(summary),
                config.image.name.clone(),
                command,
                clock::ago(clock::span(config.created_at), now),
                status(summary),
                ports(summary),
                config.name.clone(),
            ]
        });
        let headings = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
        ctx.ui.table(&headings, rows.collect())
    }
}

/// What `--filter` asks.
#[derive(Debug)]
enum Filter {
    Name(String),
    Status(String),
    Label(String, Option<String>),
    Health(String),
}

impl Filter {
    fn parse(text: &str) -> Outcome<Self> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Ok(match key {
            "name" => Self::Name(value.to_owned()),
            "status" => Self::Status(value.to_owned()),
            "health" => Self::Health(value.to_owned()),
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(value.to_owned(), None),
            },
            _ => {
                return Err(Failure::msg(Kind::Usage, format!("filter `{text}` is not known"))
                    .hint("known are `name=`, `status=`, `label=` and `health=`"));
            }
        })
    }

    fn matches(&self, summary: &Summary) -> bool {
        match self {
            Self::Name(part) => summary.config.name.contains(part.as_str()),
            Self::Status(status) => summary.state.status.as_str() == status,
            Self::Label(key, value) => summary
                .config
                .labels
                .get(key)
                .is_some_and(|have| value.as_ref().is_none_or(|value| value == have)),
            Self::Health(wanted) => {
                let health = summary.state.health.as_ref();
                health.map_or("none", |health| health.status.as_str()) == wanted
            }
        }
    }
}

/// Docker's words: `Up 3 minutes (healthy)`, `Exited (1) 2 hours ago`.
pub(super) fn status(summary: &Summary) -> String {
    let now = clock::since_epoch();
    let state = &summary.state;
    let since = |then: Option<jiff::Timestamp>| {
        then.map_or(String::new(), |then| {
            clock::human(now.saturating_sub(clock::span(then)).as_secs())
        })
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => {
            let health = state.health.as_ref().map_or(String::new(), |health| {
                match health.status.as_str() {
                    "starting" => " (health: starting)".to_owned(),
                    word => format!(" ({word})"),
                }
            });
            format!("Up {}{health}", since(state.started_at))
        }
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code(), since(state.finished_at))
        }
        Status::Exited => {
            format!("Exited ({}) {} ago", state.exit_code(), since(state.finished_at))
        }
        Status::Dead => "Dead".to_owned(),
    }
}

fn ports(summary: &Summary) -> String {
    let published = summary.state.ports.iter().map(|port| {
        let host = port.host_ip.map_or("0.0.0.0".to_owned(), |ip| ip.to_string());
        let protocol = port.protocol.as_str();
        format!("{host}:{}->{}/{protocol}", port.host_port, port.container_port)
    });
    let published: Vec<String> = published.collect();
    let exposed =
        summary.config.exposed.iter().filter(|exposed| {
            !summary.config.ports.iter().any(|port| {
                **exposed == format!("{}/{}", port.container_port, port.protocol.as_str())
            })
        });
    let all: Vec<String> = published.into_iter().chain(exposed.cloned()).collect();
    match summary.state.status.is_live() {
        true => all.join(", "),
        false => String::new(),
    }
}

fn document(summary: &Summary) -> serde_json::Value {
    json!({
        "id": summary.config.id,
        "name": summary.config.name,
        "image": summary.config.image.name,
        "imageDigest": summary.config.image.digest,
        "command": summary.config.args(),
        "created": summary.config.created_at,
        "status": summary.state.status,
        "health": summary.state.health.as_ref().map(|health| health.status),
        "exitCode": summary.state.exit_code(),
        "ports": summary.state.ports,
        "addresses": summary.state.addresses,
        "labels": summary.config.labels,
    })
}
