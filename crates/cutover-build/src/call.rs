//! What can be asked of a Dockerfile without building it: `--call=check|outline|targets`.
//!
//! Documents have the fields of docker buildx. Nothing is pulled, run or written.

mod outline;
mod targets;

use std::sync::Arc;

use cutover_core::Reference;
use cutover_core::oci::{ImageConfig, Platform};
use cutover_store::Store;

use crate::checks::{self, Bases, Report, Scope};
use crate::dockerfile::{self, Dockerfile, Lines};
use crate::{BuildError, BuildOptions, Place, context};

pub use outline::{Argument, Needed, Outline};
pub use targets::{Target, Targets};

/// The images of the store.
impl Bases for Store {
    fn config(&self, name: &str, _platform: &Platform) -> Option<ImageConfig> {
        let reference: Reference = name.parse().ok()?;
        // An unreadable store fails the build itself, and says so there.
        let image = self.images().get(&reference).ok()??;
        Some(image.config)
    }
}

/// Runs the checks.
pub fn check(
    options: &BuildOptions,
    bases: &dyn Bases,
    scope: Scope,
) -> Result<Report, BuildError> {
    let found = context::find(&options.context, &options.dockerfile)?;
    let ignore = context::read_ignore(&options.context, found.path.as_deref())?;
    Ok(checks::check(&found.name, &found.bytes, options, &ignore, bases, scope))
}

/// Lists the stages.
pub fn targets(options: &BuildOptions) -> Result<Targets, BuildError> {
    let text = Text::read(options)?;
    Ok(targets::of(&text.file, &text.source))
}

/// Lists what can be given to a build: arguments, secrets, SSH agents.
pub fn outline(options: &BuildOptions, bases: &dyn Bases) -> Result<Outline, BuildError> {
    let text = Text::read(options)?;
    outline::of(&text.file, options, bases)
        .map_err(|outline::Stop { lines, problem, hint }| match lines {
            Some(lines) => text.wrong(lines, problem, hint),
            None => BuildError::Target { problem, file: text.name.as_ref().into(), hint },
        })
        .map(|outline| Outline { source: text.source.to_string(), ..outline })
}

/// A Dockerfile that could be read.
struct Text {
    name: Arc<str>,
    source: Arc<str>,
    file: Dockerfile,
}

impl Text {
    fn read(options: &BuildOptions) -> Result<Self, BuildError> {
        let found = context::find(&options.context, &options.dockerfile)?;
        let (name, source) = (found.name.as_str(), String::from_utf8_lossy(&found.bytes));
        let empty = Dockerfile {
            escape: '\\',
            syntax: None,
            check: None,
            global_args: Vec::new(),
            stages: Vec::new(),
            warnings: Vec::new(),
        };
        let mut text = Self { name: name.into(), source: source.into(), file: empty };
        text.file = dockerfile::parse(&found.bytes)
            .map_err(|error| text.wrong(error.lines, error.problem, error.hint))?;
        Ok(text)
    }

    fn wrong(&self, lines: Lines, problem: String, hint: Option<String>) -> BuildError {
        let place = Place {
            file: Arc::clone(&self.name),
            start: lines.start,
            end: lines.end,
            source: Arc::clone(&self.source),
        };
        BuildError::Dockerfile { place, problem, hint }
    }
}

#[cfg(test)]
mod tests;
