//! Parser directives: `# syntax=`, `# escape=` and `# check=` on the first lines.
//!
//! They end at the first line that is not one: an unknown key is a comment and ends them too.

use super::{Lines, ParseError};

/// What the directives said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) escape: char,
    /// Accepted and not acted upon: there is one frontend.
    pub(super) syntax: Option<String>,
    pub(super) check: Option<String>,
    /// How many lines they take: these are not comments of what follows.
    pub(super) lines: usize,
}

pub(super) fn parse(text: &str) -> Result<Directives, ParseError> {
    let mut found = Directives { escape: '\\', syntax: None, check: None, lines: 0 };
    let mut seen = Vec::new();
    // A `#!` line hides `escape` and not the others: so does BuildKit.
    let shebang = text.starts_with("#!");
    for (index, line) in text.lines().enumerate().skip(usize::from(shebang)) {
        let Some((key, value)) = directive(line) else { break };
        let lines = Lines::one(index + 1);
        if !["syntax", "escape", "check"].contains(&key.as_str()) {
            break;
        }
        if seen.contains(&key) && shebang {
            break;
        }
        if seen.contains(&key) {
            let problem = format!("only one `{key}` parser directive can be used");
            return Err(ParseError::new(lines, problem));
        }
        match key.as_str() {
            "syntax" => found.syntax = Some(value.to_owned()),
            // Behind blanks it is a directive without effect.
            "check" if !line.starts_with('#') => {}
            "check" => found.check = Some(value.to_owned()),
            _ if shebang => {}
            _ => found.escape = escape(value, lines)?,
        }
        seen.push(key);
        if !shebang {
            found.lines = index + 1;
        }
    }
    Ok(found)
}

fn escape(value: &str, lines: Lines) -> Result<char, ParseError> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        other => {
            let problem = format!("invalid escape token `{other}`: it must be ` or \\");
            Err(ParseError::new(lines, problem))
        }
    }
}

/// `# key = value` → the key in lower case, and the value.
fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.trim_start().split_once('=')?;
    let (key, value) = (key.trim_end(), value.trim());
    let is_key = key.starts_with(|ch: char| ch.is_ascii_alphabetic())
        && key.chars().all(|ch| ch.is_ascii_alphanumeric());
    (is_key && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}
