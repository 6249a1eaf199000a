//! Physical lines → logical lines: comments dropped, continuations joined, heredoc bodies taken.

use super::heredoc::{self, Heredoc};
use super::words::Split;
use super::{Lines, ParseError};

/// Longest physical line, in bytes: BuildKit's scanner ends there.
const MAX_LINE: usize = 65_535;

/// One instruction as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogicalLine {
    pub(super) split: Split,
    /// The joined line, as written.
    pub(super) text: String,
    pub(super) lines: Lines,
    pub(super) heredocs: Vec<Heredoc>,
    /// The comment lines right above.
    pub(super) comments: Vec<String>,
    /// Last line of the continuation when it had an empty line in it.
    pub(super) empty_continuation: Option<usize>,
    /// The escape character that is in force.
    pub(super) escape: char,
}

/// Physical lines with their ends, numbered from 1.
struct Physical<'a> {
    lines: std::iter::Enumerate<std::str::SplitInclusive<'a, char>>,
    /// Number of the line read last.
    number: usize,
}

impl<'a> Iterator for Physical<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (index, line) = self.lines.next()?;
        self.number = index + 1;
        Some(line)
    }
}

/// Comments on the first `directives` lines describe nothing.
pub(super) fn split(
    text: &str,
    escape: char,
    directives: usize,
) -> Result<Vec<LogicalLine>, ParseError> {
    let mut physical = Physical { lines: text.split_inclusive('\n').enumerate(), number: 0 };
    if let Some(index) = text.split('\n').position(|line| line.len() > MAX_LINE) {
        let problem = format!("line is longer than {MAX_LINE} bytes");
        return Err(ParseError::new(Lines::one(index + 1), problem));
    }
    let mut logical = Vec::new();
    let mut comments = Vec::new();
    while let Some(line) = physical.next() {
        let line = line.trim_end_matches(['\n', '\r']).trim_start();
        if let Some(comment) = line.strip_prefix('#') {
            if physical.number > directives {
                remember(comment, &mut comments);
            }
            continue;
        }
        let (piece, goes_on) = continuation(line, escape);
        if piece.is_empty() && !goes_on {
            continue;
        }
        let start = physical.number;
        let (text, has_empty) = joined(piece, goes_on, &mut physical, escape);
        let mut lines = Lines { start, end: physical.number };
        let empty_continuation = has_empty.then_some(physical.number);
        let split = Split::of(&text, escape);
        let heredocs = bodies(&split, &text, &mut physical, &mut lines)?;
        let comments = std::mem::take(&mut comments);
        logical.push(LogicalLine {
            split,
            text,
            lines,
            heredocs,
            comments,
            empty_continuation,
            escape,
        });
    }
    if logical.is_empty() {
        let last = Lines::one(physical.number.max(1));
        return Err(ParseError::new(last, "file with no instructions"));
    }
    Ok(logical)
}

/// A blank comment line separates what was said before from the instruction below.
fn remember(comment: &str, comments: &mut Vec<String>) {
    match comment.trim() {
        "" => comments.clear(),
        text => comments.push(text.to_owned()),
    }
}

/// Appends continuation lines to `first`; comment lines and empty lines between them are dropped.
fn joined(
    first: &str,
    mut goes_on: bool,
    physical: &mut Physical<'_>,
    escape: char,
) -> (String, bool) {
    let mut text = first.to_owned();
    let mut empty = false;
    while goes_on {
        let Some(line) = physical.next() else { break };
        let line = line.trim_end_matches(['\n', '\r']);
        if line.trim_start().starts_with('#') {
            continue;
        }
        if line.trim_start().is_empty() {
            empty = true;
            continue;
        }
        let (piece, more) = continuation(line, escape);
        text.push_str(piece);
        goes_on = more;
    }
    (text, empty)
}

/// Strips a trailing escape character with the blanks after it; an escaped escape is not one.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(piece) if !piece.ends_with(escape) => (piece, true),
        _ => (line, false),
    }
}

/// Reads the bodies of the heredocs that `line` announces.
fn bodies(
    split: &Split,
    line: &str,
    physical: &mut Physical<'_>,
    lines: &mut Lines,
) -> Result<Vec<Heredoc>, ParseError> {
    if !split.may_have_heredocs() || !line.contains("<<") {
        return Ok(Vec::new());
    }
    let first = *lines;
    let mut heredocs = heredoc::in_line(line).map_err(|problem| ParseError::new(first, problem))?;
    for heredoc in &mut heredocs {
        loop {
            let Some(body) = physical.next() else {
                let name = &heredoc.name;
                let problem = format!("unterminated heredoc: no line is `{name}`");
                return Err(ParseError::new(Lines { end: physical.number, ..first }, problem));
            };
            if heredoc.ends_at(body) {
                break;
            }
            heredoc.content.push_str(body);
        }
    }
    lines.end = physical.number;
    Ok(heredocs)
}
