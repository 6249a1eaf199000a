//! compose.yaml → a checked [`Project`].
//!
//! Texts and variables come in as arguments (files, `.env`, environment, and a function that reads
//! the further files that a project names); out comes either a project in which every default is
//! filled in and every name resolves, or *all* problems, each with file, line, column and key.
//!
//! The steps, each a module: `yaml` (text → tree with places, bounded) → `source` (variables
//! filled in by [`interpolate`], files merged by `merge`, `extends`) → `service` and `top` (tree →
//! values, keys checked against the one table in `keys`) → `check` (names that must agree).
//! Nothing here touches a file system: paths are joined by name only.

mod check;
mod context;
pub mod interpolate;
mod keys;
mod merge;
mod page;
mod problem;
mod service;
mod source;
mod top;
mod yaml;

pub use page::support_page;
pub use problem::{Problem, Problems, Severity};
pub use top::normalize_name;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;

use crate::service::{FileSource, Network, Service, Volume};
use crate::units::{Dialect, parse_env_file};
use context::{At, Context};
use source::Variables;

/// Reads a file that the project names (`env_file`, `extends`) by its resolved path: its text,
/// `None` when it does not exist, or why it cannot be read.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// A file's name as the user knows it, and its text.
#[derive(Clone, Debug)]
pub struct SourceText {
    pub name: String,
    pub text: String,
}

/// Everything that a project is made of.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// In the order of `-f`: a later one is merged over the earlier.
    pub files: &'a [SourceText],
    /// Absolute path of the project's folder: relative paths start here, and its name is the
    /// app's when nothing else names it.
    pub dir: &'a str,
    /// `-p` or `COMPOSE_PROJECT_NAME`; wins over the file's `name`.
    pub name: Option<&'a str>,
    /// The `.env` file, when there is one.
    pub dot_env: Option<&'a SourceText>,
    /// Wins over `.env`.
    pub environment: &'a BTreeMap<String, String>,
    /// Chosen profiles; `*` chooses all.
    pub profiles: &'a [String],
    pub read: ReadFile<'a>,
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.files.iter().map(|file| &file.name).collect();
        f.debug_struct("Input")
            .field("files", &names)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// A checked compose project.
#[derive(Clone, Debug, Serialize)]
pub struct Project {
    pub name: String,
    /// In the order written; every dependency is among them and there is no cycle.
    pub services: IndexMap<String, Service>,
    /// By key; `default` only when a service uses it.
    pub networks: IndexMap<String, Network>,
    pub volumes: IndexMap<String, Volume>,
    pub secrets: IndexMap<String, FileSource>,
    pub configs: IndexMap<String, FileSource>,
    /// Services left out because none of their profiles is chosen.
    pub disabled: Vec<String>,
    #[serde(skip)]
    pub warnings: Vec<Problem>,
}

/// Reads, merges and checks a project.
pub fn parse(input: &Input<'_>) -> Result<Project, Problems> {
    let mut cx = Context::default();
    let variables = Variables { environment: input.environment, dot_env: dot_env(&mut cx, input) };
    let project = build(&mut cx, input, &variables);
    // files in the order given, lines in the order written
    let order: Vec<_> = cx.files.iter().map(|file| file.name.clone()).collect();
    let position = |problem: &Problem| order.iter().position(|name| *name == problem.file);
    cx.problems.sort_by_key(|problem| (position(problem), problem.line, problem.column));
    if cx.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(Problems(cx.problems));
    }
    let mut project = project.expect("there is a project, or a problem that says why not");
    project.warnings = cx.problems;
    Ok(project)
}

/// `None` only when a problem says why.
fn build(cx: &mut Context, input: &Input<'_>, variables: &Variables<'_>) -> Option<Project> {
    let Some(mut root) = source::load_all(cx, input, variables) else {
        if cx.problems.is_empty() {
            let mark = yaml::Mark::default();
            cx.push(Severity::Error, mark, "", "there is no compose file", None);
        }
        return None;
    };
    source::resolve_extends(cx, &mut root, variables, input.read);
    let mut project = top::project(cx, &At::root(&root), input, variables);
    check::check(cx, &At::root(&root), &project);
    check::drop_missing(&mut project);
    Some(project)
}

fn dot_env(cx: &mut Context, input: &Input<'_>) -> BTreeMap<String, String> {
    let Some(file) = input.dot_env else { return BTreeMap::new() };
    match parse_env_file(&file.text, Dialect::Compose, input.environment) {
        Ok(pairs) => pairs.into_iter().collect(),
        Err(error) => {
            let index = cx.files.len();
            cx.files.push(context::File {
                name: file.name.clone(),
                text: file.text.clone(),
                dir: input.dir.to_owned(),
            });
            let mark = yaml::Mark { file: index, line: error.line, column: 1 };
            cx.push(Severity::Error, mark, "", error.message, None);
            BTreeMap::new()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
