//! The build checks: what works and should be written otherwise.
//!
//! Pure over the Dockerfile's text, the build's options, the `.dockerignore` and what is known of
//! the base images. The reference is BuildKit: its 22 rules by its names, and its lines; the
//! sentences are ours. `source` has the rules on what is written, `from` those on FROM lines,
//! `stage` those that need to know variables and the image so far.

mod config;
mod from;
mod near;
mod rule;
mod secret;
mod show;
mod source;
mod stage;

use cutover_core::oci::{ImageConfig, Platform};

use crate::BuildOptions;
use crate::dockerfile::{self, Dockerfile, Lines};
use crate::graph::{Graph, GraphError};
use crate::ignore::Ignore;
use crate::solve;
use crate::stage::Shared;

use config::Config;
pub use rule::Rule;
pub(crate) use secret::sounds_secret;
pub(crate) use show::location;

/// Where base images are looked up: only what is there, nothing is pulled for a check.
pub trait Bases {
    fn config(&self, name: &str, platform: &Platform) -> Option<ImageConfig>;
}

/// No base image is known.
impl Bases for () {
    fn config(&self, _name: &str, _platform: &Platform) -> Option<ImageConfig> {
        None
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The stages that the build needs.
    Build,
    /// All stages, unless a target is given: `--call=check`.
    Everything,
}

/// Something that a rule has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub lines: Lines,
    pub detail: String,
    /// The base image is not here: what it sets might refute this.
    pub uncertain: bool,
}

/// What the checks found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The Dockerfile as the user named it.
    pub file: String,
    pub source: String,
    /// By line.
    pub findings: Vec<Finding>,
    /// Why the Dockerfile cannot be built at all; lines are absent when no line is to blame.
    pub error: Option<(Option<Lines>, String)>,
    /// `error=true`.
    pub strict: bool,
}

/// The findings so far.
#[derive(Debug)]
struct Findings {
    config: Config,
    list: Vec<Finding>,
}

impl Findings {
    /// Adds a finding if the file's settings want it.
    fn add(&mut self, rule: Rule, lines: Lines, detail: String) {
        if self.config.wants(rule) {
            self.list.push(Finding { rule, lines, detail, uncertain: false });
        }
    }

    /// Adds a finding about an instruction with `comments` above it.
    fn add_below(&mut self, comments: &[String], rule: Rule, lines: Lines, detail: String) {
        self.add_uncertain(comments, rule, lines, detail, false);
    }

    fn add_uncertain(
        &mut self,
        comments: &[String],
        rule: Rule,
        lines: Lines,
        detail: String,
        uncertain: bool,
    ) {
        if self.config.with_comments(comments).wants(rule) {
            self.list.push(Finding { rule, lines, detail, uncertain });
        }
    }
}

/// Why checking ended early.
struct Stop(Option<Lines>, String);

impl Stop {
    fn at(lines: Lines, problem: impl std::fmt::Display) -> Self {
        Self(Some(lines), problem.to_string())
    }
}

/// Checks a Dockerfile.
pub(crate) fn check(
    name: &str,
    bytes: &[u8],
    options: &BuildOptions,
    ignore: &Ignore,
    bases: &dyn Bases,
    scope: Scope,
) -> Report {
    let mut findings = Findings { config: Config::default(), list: Vec::new() };
    let look = Look { options, ignore, bases, scope };
    let stopped = look.at_all(bytes, &mut findings).err();
    let strict = findings.config.error;
    findings.list.sort_by_key(|finding| finding.lines.start);
    Report {
        file: name.to_owned(),
        source: String::from_utf8_lossy(bytes).into_owned(),
        findings: findings.list,
        error: stopped.map(|Stop(lines, problem)| (lines, problem)),
        strict,
    }
}

/// Everything that a check goes by.
#[derive(Clone, Copy)]
struct Look<'a> {
    options: &'a BuildOptions,
    ignore: &'a Ignore,
    bases: &'a dyn Bases,
    scope: Scope,
}

impl Look<'_> {
    fn at_all(&self, bytes: &[u8], findings: &mut Findings) -> Result<(), Stop> {
        // The rules before an error are worth as much as those of a whole file.
        let (file, error) = dockerfile::parse_partly(bytes)
            .map_err(|error| Stop::at(error.lines, with_hint(error.problem, error.hint)))?;
        findings.config = self.config(&file)?;
        source::check(&file, findings);
        if let Some(error) = error {
            return Err(Stop::at(error.lines, with_hint(error.problem, error.hint)));
        }
        source::check_whole(&file, findings);
        let options = self.options;
        let target = options.platform.clone().unwrap_or_else(|| options.host_platform.clone());
        from::check_defaults(&file, options, &target, findings);
        let shared = solve::shared(options, &file, &target)
            .map_err(|(instruction, problem)| Stop::at(instruction.lines, problem))?;
        from::check(&file, &shared, findings);
        let graph = Graph::new(
            &file,
            &shared.globals,
            options.target.as_deref(),
            &target,
            &options.contexts,
        )
        .map_err(|GraphError { lines, problem, hint }| Stop(lines, with_hint(problem, hint)))?;
        self.stages(&file, &shared, &graph, &target, findings)
    }

    /// BUILDKIT_DOCKERFILE_CHECK replaces what the file says.
    fn config(&self, file: &Dockerfile) -> Result<Config, Stop> {
        let given = self.options.build_args.get("BUILDKIT_DOCKERFILE_CHECK");
        let text = given.map(String::as_str).or(file.check.as_deref().map(config::first_word));
        Config::read(text.unwrap_or_default()).map_err(|problem| Stop(None, problem))
    }

    fn stages(
        &self,
        file: &Dockerfile,
        shared: &Shared,
        graph: &Graph,
        target: &Platform,
        findings: &mut Findings,
    ) -> Result<(), Stop> {
        let everything = self.scope == Scope::Everything && self.options.target.is_none();
        let mut walk = stage::Walk::new(file, shared, graph, target, *self);
        for index in 0..file.stages.len() {
            if everything || graph.needed.contains(&index) {
                walk.stage(index, findings)?;
            }
        }
        Ok(())
    }
}

fn with_hint(problem: String, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{problem} ({hint})"),
        None => problem,
    }
}

#[cfg(test)]
mod tests;
