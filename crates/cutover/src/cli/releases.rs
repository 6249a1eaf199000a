//! `releases`, `diff`, `ledger`: reading the record of what was deployed.

use clap::Args;
use cutover_release::Outcome as Ending;
use cutover_release::diff::diff;
use cutover_release::ledger::Ledger as Record;
use serde_json::json;

use super::Ctx;
use super::status::when;
use crate::agent::instance::label;
use crate::agent::ledger;
use crate::drift;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::project::{self, ProjectArgs};

fn open(ctx: &Ctx) -> Outcome<Record> {
    ledger::open_existing(&ctx.paths)?.ok_or_else(|| {
        Failure::msg(Kind::NotFound, "nothing was deployed here yet")
            .hint("see `cutover deploy --help`")
    })
}

/// The named app, or the only one there is, or the compose file's.
fn choose(ctx: &Ctx, ledger: &Record, given: Option<&str>) -> Outcome<String> {
    let apps = ledger.apps()?;
    match (given, apps.as_slice()) {
        (Some(name), _) => match apps.iter().any(|app| app.name == name) {
            true => Ok(name.to_owned()),
            false => {
                let known = apps.iter().map(|app| app.name.as_str());
                let near = cutover_core::suggest::nearest(name, known);
                let failure =
                    Failure::msg(Kind::NotFound, format!("app `{name}` was never deployed here"));
                Err(match near {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure,
                })
            }
        },
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            let args = ProjectArgs::default();
            project::app_name(ctx, None, &args).map_err(|failure| {
                failure.hint("several apps are deployed here: name one with `--app`")
            })
        }
    }
}

/// List an app's releases, newest first
#[derive(Debug, Args)]
pub(super) struct Releases {
    /// App; not needed when there is only one
    #[arg(long)]
    app: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Releases {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let ledger = open(ctx)?;
        let name = choose(ctx, &ledger, self.app.as_deref())?;
        let app = ledger.app(&name)?;
        let standby = match &app {
            Some(app) => ledger::standby(&ctx.paths, &ledger, app, &ctx.containers()?.list()?)?,
            None => None,
        };
        let state = |number: u64| match &app {
            Some(app) if app.serving == Some(number) => "serving",
            _ if standby == Some(number) => "standby",
            Some(app) if app.standby == Some(number) => "previous",
            _ => "",
        };
        let records = ledger.release_records(&name)?;
        if self.json {
            let documents: Vec<_> = records
                .iter()
                .map(|record| {
                    json!({
                        "app": name, "release": record.number, "digest": record.digest,
                        "sealedAt": record.sealed_at.as_millis(), "who": record.who,
                        "state": state(record.number),
                    })
                })
                .collect();
            return ctx.ui.json(&documents);
        }
        let releases = ledger.releases(&name)?;
        let rows = records.iter().map(|record| {
            let images = releases.get(&record.number).map_or(String::new(), |release| {
                let images = release.services.iter();
                let images =
                    images.map(|(service, sealed)| format!("{service}={}", sealed.image_name));
                images.collect::<Vec<_>>().join(" ")
            });
            vec![
                record.number.to_string(),
                state(record.number).to_owned(),
                record.digest.short().to_owned(),
                when(record.sealed_at),
                record.who.clone(),
                images,
            ]
        });
        ctx.ui.table(&["RELEASE", "STATE", "DIGEST", "SEALED", "BY", "IMAGES"], rows.collect())
    }
}

/// Show what differs between two releases, or which files a container changed against its image
#[derive(Debug, Args)]
#[command(
    after_help = "With one name, as docker: a line for each path that the container added (A), changed (C) or deleted (D).\nWith two numbers: what differs between these releases of an app."
)]
pub(super) struct Diff {
    /// App; not needed when there is only one
    #[arg(long, requires = "to")]
    app: Option<String>,
    /// Container; or release, by number
    #[arg(value_name = "CONTAINER|RELEASE")]
    from: String,
    /// Release, by number
    #[arg(value_name = "RELEASE")]
    to: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let Some(to) = self.to else { return container(ctx, &self.from, self.json) };
        let from: u64 = self.from.parse().map_err(|_not_a_number| {
            let text = format!("`{}` is not the number of a release", self.from);
            Failure::msg(Kind::Usage, text).hint("see `cutover releases`")
        })?;
        let ledger = open(ctx)?;
        let name = choose(ctx, &ledger, self.app.as_deref())?;
        let release = |number: u64| {
            ledger
                .release(&name, number)
                .kind(Kind::NotFound)
                .map_err(|failure| failure.hint(format!("see `cutover releases --app {name}`")))
        };
        let changes = diff(&release(from)?, &release(to)?);
        if self.json {
            return ctx.ui.json(&changes);
        }
        if changes.is_empty() {
            ctx.ui.say(format!("releases {from} and {to} are the same"));
        }
        changes.iter().try_for_each(|change| ctx.ui.data(change.to_string()))
    }
}

/// What a container changed, and who was in it.
fn container(ctx: &Ctx, name: &str, as_json: bool) -> Outcome {
    let container = ctx.containers()?.get(name)?;
    let changes = drift::of(&ctx.paths, container.config())?;
    if as_json {
        return ctx.ui.json(&changes);
    }
    for change in changes {
        ctx.ui.data(format!("{} {}", change.kind.letter(), change.path))?;
    }
    let labels = &container.config().labels;
    let (Some(app), Some(instance)) = (labels.get(label::APP), labels.get(label::INSTANCE)) else {
        return Ok(());
    };
    let Some(ledger) = ledger::open_existing(&ctx.paths)? else { return Ok(()) };
    for taint in ledger.taints(app)?.into_iter().filter(|taint| taint.instance.0 == *instance) {
        ctx.ui.say(format!("tainted {} by {}: {}", when(taint.at), taint.who, taint.command));
    }
    Ok(())
}

/// Show an app's deployments, newest first, or the steps of one
#[derive(Debug, Args)]
pub(super) struct Ledger {
    /// App; not needed when there is only one
    #[arg(long)]
    app: Option<String>,
    /// Deployment whose steps to show
    deployment: Option<u64>,
    /// How many deployments
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Ledger {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let ledger = open(ctx)?;
        let name = choose(ctx, &ledger, self.app.as_deref())?;
        match self.deployment {
            Some(number) => steps(ctx, &ledger, &name, number, self.json),
            None => deployments(ctx, &ledger, &name, self.limit, self.json),
        }
    }
}

fn deployments(ctx: &Ctx, ledger: &Record, app: &str, limit: usize, as_json: bool) -> Outcome {
    let records = ledger.deployments(app, limit)?;
    if as_json {
        let documents: Vec<_> = records
            .iter()
            .map(|record| {
                json!({
                    "app": app, "deployment": record.number, "kind": record.kind.word(),
                    "from": record.from, "to": record.to, "who": record.who,
                    "started": record.started.as_millis(),
                    "ended": record.ended.map(|ended| ended.as_millis()),
                    "outcome": record.outcome,
                })
            })
            .collect();
        return ctx.ui.json(&documents);
    }
    let rows = records.iter().map(|record| {
        let number = |release: Option<u64>| release.map_or("-".to_owned(), |n| n.to_string());
        let took = record.ended.map_or("-".to_owned(), |ended| {
            format!("{:.1}s", ended.saturating_sub(record.started).as_secs_f64())
        });
        vec![
            record.number.to_string(),
            record.kind.word().to_owned(),
            format!("{} -> {}", number(record.from), number(record.to)),
            record.outcome.as_ref().map_or("under way", |outcome| outcome.word()).to_owned(),
            took,
            when(record.started),
            record.who.clone(),
            record.outcome.as_ref().and_then(reason).unwrap_or_default(),
        ]
    });
    let headings = ["DEPLOYMENT", "KIND", "RELEASES", "OUTCOME", "TOOK", "STARTED", "BY", "REASON"];
    ctx.ui.table(&headings, rows.collect())
}

/// Why it did not succeed.
fn reason(outcome: &Ending) -> Option<String> {
    match outcome {
        Ending::Succeeded { .. } => None,
        Ending::Reverted { failure, .. }
        | Ending::Paused { failure, .. }
        | Ending::Stuck { failure, .. } => Some(failure.reason.clone()),
    }
}

fn steps(ctx: &Ctx, ledger: &Record, app: &str, number: u64, as_json: bool) -> Outcome {
    ledger.deployment(app, number).kind(Kind::NotFound)?;
    let rows = ledger.steps(app, number)?;
    if as_json {
        let documents: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "step": row.id, "action": row.action, "state": row.record.state,
                    "started": row.record.started.as_millis(),
                    "ended": row.record.ended.map(|ended| ended.as_millis()),
                    "note": row.record.note, "error": row.record.error,
                })
            })
            .collect();
        return ctx.ui.json(&documents);
    }
    let start = rows.first().map_or(std::time::Duration::ZERO, |row| row.record.started);
    let table = rows.iter().map(|row| {
        let at = row.record.started.saturating_sub(start).as_secs_f64();
        let took = row.record.ended.map_or("-".to_owned(), |ended| {
            format!("{} ms", ended.saturating_sub(row.record.started).as_millis())
        });
        let error = row.record.error.as_ref().map(|error| error.reason.clone());
        vec![
            format!("+{at:.3}s"),
            row.id.to_string(),
            format!("{:?}", row.record.state).to_lowercase(),
            took,
            error.or_else(|| row.record.note.clone()).unwrap_or_default(),
        ]
    });
    ctx.ui.table(&["AT", "STEP", "STATE", "TOOK", "NOTE"], table.collect())
}
