//! Why a step was executed: its inputs beside those of the last time.
//!
//! [`changes`] compares two lists of inputs, [`files`] two lists of files, `render` says it to
//! people. Pure; what was remembered comes from `cache::records`.

mod files;
mod render;

use serde::Serialize;

use crate::inputs::{Input, Sort};

pub(crate) use files::Listing;
pub use files::{FileChange, FileChanged};

/// What became of one step and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// The Dockerfile's name and the instruction's first line.
    pub file: String,
    pub line: usize,
    /// `[build 2/5]` with the instruction.
    pub name: String,
    pub hit: bool,
    /// Why it was not found; empty for a hit.
    pub causes: Vec<Cause>,
}

/// One reason for a miss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// `--no-cache` or `--no-cache-filter`.
    Asked,
    /// No build that is remembered had this step.
    NeverBuilt,
    /// Its inputs are the same; the layer was removed (`cutover gc`).
    Removed,
    /// A linked copy that is known, but not on top of these layers.
    NewBase,
    /// The step before it came out different.
    Before {
        line: usize,
    },
    /// The base image's name leads to another image.
    BaseMoved {
        name: String,
        from: String,
        to: String,
    },
    /// Another base image.
    Base {
        from: String,
        to: String,
    },
    /// The instruction was rewritten.
    Text {
        from: String,
        to: String,
    },
    Arg {
        name: String,
        change: Change,
    },
    Env {
        name: String,
        change: Change,
    },
    /// Files that are copied or mounted; the first few, and how many more.
    Files {
        source: String,
        changed: Vec<FileChanged>,
        more: usize,
    },
    /// An option of the build, or of the instruction.
    Setting {
        name: String,
        change: Change,
    },
}

/// How a value changed. Values that may be secret are not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    New,
    Gone,
    Other,
    Values { from: String, to: String },
}

/// Compares the inputs of a step with those of the last time. `line` is that of the step before;
/// `listing` finds a list of files by its digest.
pub(crate) fn changes(
    last: &[Input],
    now: &[Input],
    line: usize,
    listing: &dyn Fn(&str) -> Option<Listing>,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    let find = |list: &'_ [Input], input: &Input| -> Option<Input> {
        list.iter().find(|other| other.name == input.name && alike(other, input)).cloned()
    };
    let text = now.iter().any(|input| {
        input.sort == Sort::Text && find(last, input).is_some_and(|old| old.value != input.value)
    });
    let of_base = |list: &[Input]| list.iter().find(|input| input.sort == Sort::Base).cloned();
    let mut add = |cause: Cause| {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    };
    for input in now {
        let old = find(last, input);
        if old.as_ref().is_some_and(|old| old.value == input.value) {
            continue;
        }
        match (input.sort, old) {
            (Sort::Base, _) => {}
            (Sort::Before, _) => match (of_base(last), of_base(now)) {
                (Some(old), Some(new)) if old.name != new.name => {
                    add(Cause::Base { from: old.name, to: new.name });
                }
                (Some(old), Some(new)) if old.value != new.value => {
                    add(Cause::BaseMoved { name: new.name, from: old.value, to: new.value });
                }
                _ => add(Cause::Before { line }),
            },
            (Sort::Text, Some(old)) => {
                add(Cause::Text { from: old.value, to: input.value.clone() });
            }
            (Sort::Files, Some(old)) => {
                let changed = match (listing(&old.value), listing(&input.value)) {
                    (Some(old), Some(new)) => old.changes(&new),
                    _ => Vec::new(),
                };
                add(files_cause(&input.name, changed));
            }
            (Sort::Arg, old) => {
                add(Cause::Arg { name: input.name.clone(), change: of(old, input) });
            }
            (Sort::Env, old) => {
                add(Cause::Env { name: input.name.clone(), change: of(old, input) });
            }
            // A new text has new words; saying so twice helps nobody.
            (Sort::Setting | Sort::Files, _) if text => {}
            (Sort::Setting | Sort::Files | Sort::Text, old) => {
                add(Cause::Setting { name: input.name.clone(), change: of(old, input) });
            }
        }
    }
    for old in last.iter().filter(|old| find(now, old).is_none()) {
        let (name, change) = (old.name.clone(), Change::Gone);
        match old.sort {
            Sort::Arg => add(Cause::Arg { name, change }),
            Sort::Env => add(Cause::Env { name, change }),
            Sort::Setting | Sort::Files if !text => add(Cause::Setting { name, change }),
            _ => {}
        }
    }
    causes
}

/// ARG and ENV of one name are the same thing to a step.
fn alike(one: &Input, other: &Input) -> bool {
    let variable = |sort| matches!(sort, Sort::Arg | Sort::Env);
    one.sort == other.sort || variable(one.sort) && variable(other.sort)
}

fn of(old: Option<Input>, new: &Input) -> Change {
    match old {
        None => Change::New,
        Some(old) if old.hidden || new.hidden => Change::Other,
        Some(old) => Change::Values { from: old.value, to: new.value.clone() },
    }
}

/// Files that are named in one cause.
const SHOWN_FILES: usize = 10;

fn files_cause(source: &str, mut changed: Vec<FileChanged>) -> Cause {
    let more = changed.len().saturating_sub(SHOWN_FILES);
    changed.truncate(SHOWN_FILES);
    Cause::Files { source: source.to_owned(), changed, more }
}

#[cfg(test)]
mod tests;
