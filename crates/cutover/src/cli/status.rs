//! `cutover status`: which release serves, by what, how well.

use std::collections::BTreeMap;

use clap::Args;
use cutover_proxy::control::{Client, TargetState, TargetStats};
use cutover_runtime::container::Summary;
use serde_json::json;

use super::Ctx;
use crate::agent::instance::label;
use crate::agent::{client, ledger, routes};
use crate::clock;
use crate::drift;
use crate::failure::Outcome;

const NOTHING: &str = "nothing was deployed here yet: see `cutover deploy --help`";

/// Show which release of each app serves, and its instances
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Only this app
    app: Option<String>,
    /// Count the files that each instance changed against its image
    #[arg(long)]
    drift: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let Some(ledger) = ledger::open_existing(&ctx.paths)? else {
            return match self.json {
                true => ctx.ui.json(&json!({ "apps": [] })),
                false => {
                    ctx.ui.say(NOTHING);
                    Ok(())
                }
            };
        };
        if ledger.apps()?.is_empty() && !self.json {
            ctx.ui.say(NOTHING);
            return Ok(());
        }
        let targets = targets(ctx);
        let containers = ctx.containers()?.list()?;
        let mut documents = Vec::new();
        for app in ledger.apps()? {
            if self.app.as_ref().is_some_and(|wanted| *wanted != app.name) {
                continue;
            }
            let tainted = ledger.tainted(&app.name)?;
            let active = ledger.active(&app.name)?;
            let serving = routes::load(&ctx.paths.root, &app.name)?.targets;
            let own = containers.iter().filter(|summary| {
                summary.config.labels.get(label::APP) == Some(&app.name)
                    && summary.config.labels.get(label::KIND).is_some_and(|kind| kind == "instance")
            });
            let instances: Vec<Line> = own
                .map(|summary| {
                    let id = summary.config.labels.get(label::INSTANCE).cloned();
                    let id = id.unwrap_or_default();
                    let serves = serving.values().flatten().any(|one| one.0 == id);
                    let tainted = tainted.iter().any(|one| one.0 == id);
                    let mut line = Line::new(summary, id, serves, tainted, &targets);
                    if self.drift {
                        line.drift = Some(drift::of(&ctx.paths, &summary.config)?);
                    }
                    Ok(line)
                })
                .collect::<Outcome<_>>()?;
            let standby = ledger::standby(&ctx.paths, &ledger, &app, &containers)?;
            let deployment = active.as_ref().map(|record| record.number);
            documents.push(json!({
                "app": app.name, "serving": app.serving, "standby": standby,
                "previous": app.standby,
                "deployment": deployment,
                "instances": instances.iter().map(Line::document).collect::<Vec<_>>(),
            }));
            if self.json {
                continue;
            }
            let serving = match app.serving {
                Some(number) => ctx.ui.green(&format!("release {number} serves")),
                None => "is down".to_owned(),
            };
            let standby = match (standby, app.standby) {
                (Some(number), _) => format!(", {number} stands by"),
                (None, Some(number)) => format!(", {number} served before and nothing of it waits"),
                (None, None) => String::new(),
            };
            ctx.ui.data(format!("{}: {serving}{standby}", app.name))?;
            if let Some(record) = active {
                let to = record.to.map_or(String::new(), |to| format!(" to release {to}"));
                ctx.ui.data(format!(
                    "  deployment {}{to} is under way, asked for by {}",
                    record.number, record.who
                ))?;
            }
            let headings =
                ["  INSTANCE", "RELEASE", "TRAFFIC", "STATUS", "REQUESTS", "5XX", "NOTES"];
            ctx.ui.table(&headings, instances.iter().map(Line::row).collect())?;
        }
        if self.json {
            let agent = client::ping(&ctx.paths)
                .map(|(version, pid)| json!({ "version": version, "pid": pid }));
            return ctx.ui.json(&json!({ "apps": documents, "agent": agent }));
        }
        if client::ping(&ctx.paths).is_none() {
            ctx.ui.warn("no agent runs: traffic goes on, but nothing is deployed or set right (`cutover agent -d`)");
        }
        Ok(())
    }
}

/// One instance.
struct Line {
    id: String,
    service: String,
    release: String,
    traffic: &'static str,
    status: String,
    counters: Option<(u64, u64, u64)>,
    tainted: bool,
    /// Files that it changed, if asked for.
    drift: Option<Vec<drift::Change>>,
    failure: Option<String>,
}

impl Line {
    fn new(
        summary: &Summary,
        id: String,
        serves: bool,
        tainted: bool,
        targets: &BTreeMap<String, TargetStats>,
    ) -> Self {
        let get = |key: &str| summary.config.labels.get(key).cloned().unwrap_or_default();
        let app = get(label::APP);
        let target = targets.get(&format!("{app}/{id}"));
        let busy = target.is_some_and(|target| target.in_flight > 0);
        let traffic = match (serves, target.map(|target| target.state)) {
            (true, None) => "named",
            (true, Some(TargetState::Healthy)) => "serving",
            (true, Some(TargetState::Adding)) => "adding",
            (true, Some(TargetState::Unhealthy)) => "unhealthy",
            (false, Some(TargetState::Draining)) if busy => "draining",
            (true, Some(TargetState::Draining)) => "named",
            (false, _) => "standby",
        };
        Self {
            service: get(label::SERVICE),
            release: get(label::RELEASE),
            traffic,
            status: super::ps::status(summary),
            counters: target
                .map(|target| (target.stats.requests, target.stats.errors(), target.in_flight)),
            tainted,
            drift: None,
            failure: target.and_then(|target| target.last_failure.clone()),
            id,
        }
    }

    fn row(&self) -> Vec<String> {
        let count = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let mut notes = Vec::new();
        if self.tainted {
            notes.push("tainted".to_owned());
        }
        match self.drift.as_ref().map_or(0, Vec::len) {
            0 => {}
            1 => notes.push("1 path drifted".to_owned()),
            count => notes.push(format!("{count} paths drifted")),
        }
        notes.extend(self.failure.clone());
        vec![
            format!("  {}", self.id),
            self.release.clone(),
            self.traffic.to_owned(),
            self.status.clone(),
            count(self.counters.map(|counters| counters.0)),
            count(self.counters.map(|counters| counters.1)),
            notes.join(", "),
        ]
    }

    fn document(&self) -> serde_json::Value {
        json!({
            "id": self.id, "service": self.service, "release": self.release,
            "traffic": self.traffic, "status": self.status, "tainted": self.tainted,
            "requests": self.counters.map(|counters| counters.0),
            "errors": self.counters.map(|counters| counters.1),
            "inFlight": self.counters.map(|counters| counters.2),
            "lastFailure": self.failure, "drift": self.drift,
        })
    }
}

/// Every target that the proxy knows, by `app/instance`; none when it is not there.
fn targets(ctx: &Ctx) -> BTreeMap<String, TargetStats> {
    let listing = Client::connect(&ctx.paths.proxy_socket()).and_then(|mut proxy| proxy.list());
    let Ok(listing) = listing else {
        ctx.ui.warn("the proxy does not answer: counters are missing");
        return BTreeMap::new();
    };
    let mut targets = BTreeMap::new();
    for service in listing.stats {
        let app = service.service.split('/').next().unwrap_or_default().to_owned();
        for target in service.targets {
            let key = format!("{app}/{}", target.id);
            // one instance may be known twice: as a target of now, and as one that drained before
            let known: Option<&TargetStats> = targets.get(&key);
            let is_news = target.state != TargetState::Draining;
            if known.is_none() || is_news {
                targets.insert(key, target);
            }
        }
    }
    targets
}

/// Times in listings.
pub(super) fn when(at: std::time::Duration) -> String {
    clock::ago(at, clock::since_epoch())
}
