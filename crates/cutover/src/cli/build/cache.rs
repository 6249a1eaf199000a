//! Flags about what is done again, and why; and what is in the context.

use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueEnum};
use cutover_build::{BuildOptions, ContextFile, Event, Progress, StepReport, context_files};

use crate::cli::Ctx;
use crate::failure::{Failure, Kind, Outcome};
use crate::ui;

#[derive(Debug, Args)]
pub(super) struct Cache {
    /// Do not use the cache for these stages
    #[arg(long, value_name = "STAGE,...", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Ask the registry for base images, even for those that are here
    #[arg(long)]
    pull: bool,
    /// Say at the end, for each step, whether it was cached and if not which input changed
    #[arg(long)]
    explain: bool,
    /// List what goes into the context, and which ignore rule decided; build nothing
    #[arg(long, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "included")]
    context_files: Option<Which>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// What the build sees
    Included,
    /// Also what it does not see
    All,
    /// Only what it does not see
    Excluded,
    /// Everything, as a document
    Json,
}

impl Cache {
    pub(super) fn apply(&self, options: &mut BuildOptions) {
        options.no_cache_filter.clone_from(&self.no_cache_filter);
        options.pull = self.pull;
        options.explain = self.explain;
    }

    /// Answers `--context-files`; false without it.
    pub(super) fn list_context(&self, ctx: &Ctx, options: &BuildOptions) -> Outcome<bool> {
        let Some(which) = self.context_files else { return Ok(false) };
        let found = context_files(options).map_err(|error| Failure::new(Kind::Config, error))?;
        if which == Which::Json {
            ctx.ui.data(serde_json::to_string_pretty(&found)?)?;
            return Ok(true);
        }
        let wanted = |file: &&ContextFile| match which {
            Which::Included => file.included,
            Which::Excluded => !file.included,
            _ => true,
        };
        for file in found.files.iter().filter(wanted) {
            let mark = if file.included { '+' } else { '-' };
            let decider = file.decider.as_ref().map_or_else(String::new, |decider| {
                let name = decider.file.file_name().unwrap_or(decider.file.as_os_str());
                format!("   {}:{} {}", name.to_string_lossy(), decider.line, decider.rule)
            });
            ctx.ui.data(format!("{mark} {:>8} {}{decider}", ui::size(file.size), file.path))?;
        }
        let [(files, bytes), (hidden, hidden_bytes)] = found.totals();
        ctx.ui.say(format!(
            "{files} files, {} in the context; {hidden} files, {} excluded",
            ui::size(bytes),
            ui::size(hidden_bytes)
        ));
        Ok(true)
    }
}

/// Hands events on and keeps the reports for the end.
pub(super) struct Explainer<'a> {
    below: &'a dyn Progress,
    reports: Mutex<Vec<StepReport>>,
}

impl<'a> Explainer<'a> {
    pub(super) fn new(below: &'a dyn Progress) -> Self {
        Self { below, reports: Mutex::default() }
    }

    /// By file and line; steps that were not reached are not there.
    pub(super) fn reports(self) -> Vec<StepReport> {
        let mut reports = self.reports.into_inner().unwrap_or_else(PoisonError::into_inner);
        reports.sort_by(|a, b| (&a.file, a.line, &a.name).cmp(&(&b.file, b.line, &b.name)));
        reports
    }
}

pub(super) fn say(ctx: &Ctx, reports: Vec<StepReport>) {
    reports.iter().for_each(|report| ctx.ui.say(report.to_string()));
}

impl Progress for Explainer<'_> {
    fn on(&self, event: Event<'_>) {
        if let Event::Explained { report } = &event {
            let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
            // a build that began anew says it again
            reports.retain(|old| {
                (&old.file, old.line, &old.name) != (&report.file, report.line, &report.name)
            });
            reports.push((*report).clone());
        }
        self.below.on(event);
    }
}
