//! The Dockerfile language: text → [`Dockerfile`], pure.
//!
//! Layers, each its own module: `directive` (`# escape=`), `lines` (continuations, comments,
//! heredoc bodies), `words` (flags, quoted words, JSON), `instruction` (the types), `read` (words →
//! types), `expand` (variables, at build time). What is written is kept as written: expansion and
//! meaning belong to `stage`.

mod directive;
mod duration;
pub mod expand;
mod flags;
mod heredoc;
mod instruction;
mod lines;
mod mount;
mod read;
mod words;

pub(crate) use flags::suggest;
pub use heredoc::Heredoc;
pub use instruction::{
    Arg, CommandLine, Copy, Dockerfile, Health, Inline, Instruction, Kind, Lines, Pair, Run,
    RunNetwork, Stage, Warning,
};
pub use mount::MountFlag;

/// Why a text is not a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ParseError {
    pub lines: Lines,
    pub problem: String,
    pub hint: Option<String>,
}

impl ParseError {
    fn new(lines: Lines, problem: impl Into<String>) -> Self {
        Self { lines, problem: problem.into(), hint: None }
    }
}

/// Parses a Dockerfile. `bytes` need not be UTF-8: what is not, is replaced.
pub fn parse(bytes: &[u8]) -> Result<Dockerfile, ParseError> {
    match parse_partly(bytes)? {
        (file, None) => Ok(file),
        (_, Some(error)) => Err(error),
    }
}

/// As far as the file can be read, for the checks: what was read, and why it ends there.
pub(crate) fn parse_partly(bytes: &[u8]) -> Result<(Dockerfile, Option<ParseError>), ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let directives = directive::parse(text)?;
    let logical = lines::split(text, directives.escape, directives.lines)?;
    Ok(read::dockerfile(directives, &logical))
}

/// An instruction's keyword as written, and its words behind the flags.
pub(crate) fn words_of(code: &str, escape: char) -> (String, Vec<String>) {
    let split = words::Split::of(code, escape);
    (split.keyword, words::at_blanks(&split.rest))
}

/// Parses one ONBUILD trigger; its errors and lines are those of `place`, the FROM that pulls it.
pub fn parse_trigger(text: &str, place: Lines) -> Result<Instruction, ParseError> {
    let at_place = |error: ParseError| ParseError { lines: place, ..error };
    let directives = directive::parse(text).map_err(at_place)?;
    let logical = lines::split(text, directives.escape, 0).map_err(at_place)?;
    let [line] = logical.as_slice() else {
        return Err(ParseError::new(place, "onbuild trigger should be a single instruction"));
    };
    let mut instruction = read::trigger(line).map_err(at_place)?;
    instruction.lines = place;
    Ok(instruction)
}

/// The heredoc that a whole RUN line announces, if it is nothing but that.
pub(crate) fn announced_heredoc(line: &str) -> Option<Heredoc> {
    heredoc::parse(line).ok().flatten()
}

#[cfg(test)]
mod tests;
