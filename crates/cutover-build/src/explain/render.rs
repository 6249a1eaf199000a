//! Reports as lines for people.

use std::fmt::{self, Display, Formatter};

use super::{Cause, Change, FileChange, FileChanged, StepReport};

impl Display for StepReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { file, line, name, hit, causes } = self;
        let word = if *hit { "hit " } else { "miss" };
        write!(f, "{word}  {file}:{line}  {name}")?;
        causes.iter().try_for_each(|cause| write!(f, "\n      {cause}"))
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the cache was not to be used"),
            Self::NeverBuilt => f.write_str("never built before"),
            Self::Removed => f.write_str("nothing changed, but its layer was removed"),
            Self::NewBase => f.write_str("nothing changed, but it is on top of other layers now"),
            Self::Before { line } => {
                write!(f, "the step before it, line {line}, came out different")
            }
            Self::BaseMoved { name, from, to } => {
                write!(f, "the base image `{name}` moved from {from} to {to}")
            }
            Self::Base { from, to } => write!(f, "the base image is `{to}`, it was `{from}`"),
            Self::Text { from, to } => {
                write!(
                    f,
                    "the instruction was rewritten: `{}`, it was `{}`",
                    short(to),
                    short(from)
                )
            }
            Self::Arg { name, change } => variable(f, "ARG", name, change),
            Self::Env { name, change } => variable(f, "ENV", name, change),
            Self::Setting { name, change } => match change {
                Change::New => write!(f, "`{name}` is new"),
                Change::Gone => write!(f, "`{name}` is gone"),
                Change::Other => write!(f, "`{name}` changed"),
                Change::Values { from, to } => {
                    write!(f, "`{name}` changed from `{from}` to `{to}`")
                }
            },
            Self::Files { source, changed, .. } if changed.is_empty() => {
                write!(f, "files of {source} changed")
            }
            Self::Files { source, changed, more } => {
                let mut first = true;
                for one in changed {
                    f.write_str(if first { "" } else { "\n      " })?;
                    first = false;
                    file(f, source, one)?;
                }
                if *more > 0 { write!(f, "\n      and {more} more files") } else { Ok(()) }
            }
        }
    }
}

fn variable(f: &mut Formatter<'_>, keyword: &str, name: &str, change: &Change) -> fmt::Result {
    match change {
        Change::New => write!(f, "{keyword} {name} is new"),
        Change::Gone => write!(f, "{keyword} {name} is gone"),
        _ => write!(f, "{keyword} {name} changed"),
    }
}

fn file(f: &mut Formatter<'_>, source: &str, changed: &FileChanged) -> fmt::Result {
    let path = &changed.path;
    match &changed.change {
        FileChange::Added => write!(f, "file `{path}` of {source} is new"),
        FileChange::Removed => write!(f, "file `{path}` of {source} is gone"),
        FileChange::Content => write!(f, "file `{path}` of {source} changed"),
        FileChange::About { from, to } => {
            write!(f, "file `{path}` of {source} changed from {from} to {to}")
        }
        FileChange::Below => write!(f, "something in `{path}` of {source} changed"),
    }
}

/// The first line, not too long.
fn short(text: &str) -> String {
    const MAX: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    let cut = line.char_indices().nth(MAX).map_or(line.len(), |(at, _)| at);
    let whole = cut == text.len();
    format!("{}{}", &line[..cut], if whole { "" } else { "…" })
}
