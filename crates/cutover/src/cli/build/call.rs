//! `--call`: what can be asked of a Dockerfile without building it, and the checks of a build.

use std::cell::Cell;
use std::str::FromStr;

use cutover_build::call::{self, Needed, Outline, Targets};
use cutover_build::checks::{Bases, Report, Scope};
use cutover_build::{BuildError, BuildOptions};
use cutover_core::oci::{ImageConfig, Platform};
use cutover_store::Store;

use super::super::Ctx;
use crate::failure::{Failure, Kind, Outcome};

/// What to do, and in which form to say the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) method: Method,
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

impl FromStr for Call {
    type Err = String;

    /// `METHOD[,format=text|json]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let method = match parts.next().unwrap_or_default() {
            "build" => Method::Build,
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            other => {
                return Err(format!("`{other}` is none of `build`, `check`, `outline`, `targets`"));
            }
        };
        let mut call = Self { method, json: false };
        for part in parts {
            call.json = match part {
                "format=json" => true,
                "format=text" => false,
                other => return Err(format!("`{other}` is not `format=text` or `format=json`")),
            };
        }
        Ok(call)
    }
}

impl Call {
    /// `--check`, or what `--call` says.
    pub(super) fn with_check(self, check: bool) -> Self {
        let method = if check { Method::Check } else { self.method };
        Self { method, ..self }
    }

    /// Answers; [`Method::Build`] is not a question.
    pub(super) fn answer(self, ctx: &Ctx, store: &Store, options: &BuildOptions) -> Outcome {
        let failed = |error: BuildError| super::failure(ctx, error);
        match self.method {
            Method::Build => Ok(()),
            Method::Check => {
                let report = call::check(options, store, Scope::Everything).map_err(failed)?;
                self.report(ctx, &report)
            }
            Method::Outline => {
                let outline = call::outline(options, store).map_err(failed)?;
                if self.json { ctx.ui.json(&outline.json()) } else { show_outline(ctx, &outline) }
            }
            Method::Targets => {
                let targets = call::targets(options).map_err(failed)?;
                if self.json { ctx.ui.json(&targets.json()) } else { show_targets(ctx, &targets) }
            }
        }
    }

    /// Prints what was found; anything found is exit code 1, as with docker.
    fn report(self, ctx: &Ctx, report: &Report) -> Outcome {
        match self.json {
            true => ctx.ui.json(&report.json())?,
            false => ctx.ui.data(report.text().trim_end())?,
        }
        match report.is_clean() {
            true => Ok(()),
            false => Err(Failure { kind: Kind::Exit(1), error: None, hint: None }),
        }
    }
}

fn show_targets(ctx: &Ctx, targets: &Targets) -> Outcome {
    let row = |target: &call::Target| vec![target.shown(), target.description.clone()];
    ctx.ui.table(&["TARGET", "DESCRIPTION"], targets.list.iter().map(row).collect())
}

fn show_outline(ctx: &Ctx, outline: &Outline) -> Outcome {
    if outline.name.is_some() || !outline.description.is_empty() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        ctx.ui.data(format!("TARGET:      {name}"))?;
        if !outline.description.is_empty() {
            ctx.ui.data(format!("DESCRIPTION: {}", outline.description))?;
        }
        ctx.ui.data("")?;
    }
    if !outline.arguments.is_empty() {
        let row = |argument: &call::Argument| {
            vec![argument.name.clone(), argument.value.clone(), argument.description.clone()]
        };
        let rows = outline.arguments.iter().map(row).collect();
        ctx.ui.table(&["BUILD ARG", "VALUE", "DESCRIPTION"], rows)?;
        ctx.ui.data("")?;
    }
    for (heading, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !list.is_empty() {
            let required = |needed: &Needed| if needed.required { "true" } else { "" };
            let row = |needed: &Needed| vec![needed.name.clone(), required(needed).to_owned()];
            ctx.ui.table(&[heading, "REQUIRED"], list.iter().map(row).collect())?;
            ctx.ui.data("")?;
        }
    }
    Ok(())
}

/// Base images of the store.
struct Local<'a> {
    store: &'a Store,
    /// One was asked for that is not there.
    missing: Cell<bool>,
}

impl Bases for Local<'_> {
    fn config(&self, name: &str, platform: &Platform) -> Option<ImageConfig> {
        let config = self.store.config(name, platform);
        self.missing.set(self.missing.get() || config.is_none());
        config
    }
}

/// Before a build: with `error=true`, what was found ends it here. What was found otherwise, if the
/// build will not bring anything that might change it.
pub(super) fn refuse(ctx: &Ctx, store: &Store, options: &BuildOptions) -> Outcome<Option<Report>> {
    let bases = Local { store, missing: Cell::new(options.pull) };
    // What keeps the Dockerfile from being read is the build's own error.
    let Ok(report) = call::check(options, &bases, Scope::Build) else { return Ok(None) };
    let Some(problem) = report.refusal() else {
        return Ok((!bases.missing.get()).then_some(report));
    };
    show_warnings(ctx, &report);
    Err(Failure::msg(Kind::Config, problem)
        .hint("repair what is shown above, or leave a rule out with `# check=skip=RULE`"))
}

/// At the end of a build: what was found before, or what is found now that the base images are
/// there to be looked at.
pub(super) fn checked(
    store: &Store,
    options: &BuildOptions,
    before: Option<Report>,
) -> Option<Report> {
    before.or_else(|| call::check(options, store, Scope::Build).ok())
}

pub(super) fn show_warnings(ctx: &Ctx, report: &Report) {
    match report.findings.len() {
        0 => return,
        1 => ctx.ui.say("\n1 warning found:"),
        count => ctx.ui.say(format!("\n{count} warnings found:")),
    }
    ctx.ui.say(report.warnings().trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let call = |text: &str| text.parse::<Call>().map(|call| (call.method, call.json));
        assert_eq!(call("check"), Ok((Method::Check, false)));
        assert_eq!(call("outline,format=json"), Ok((Method::Outline, true)));
        for bad in ["", "lint2", "check,format=yaml", "check,json"] {
            assert!(call(bad).is_err(), "`{bad}` must be refused");
        }
    }
}
