//! Env files: `KEY=value` lines, in docker's dialect (`run --env-file`) and in compose's (`.env`,
//! `env_file`).

use crate::compose::interpolate::{Lookup, interpolate};

/// Who wrote the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Everything after `=` is the value: no quotes, no comments behind it, no variables. `KEY`
    /// alone takes the environment's value, or nothing.
    Docker,
    /// Quotes, comments behind ` #`, `export`, escapes and variables, as compose's dotenv.
    Compose,
}

/// A line of an env file that is not right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct EnvFileError {
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

/// Parses an env file into pairs in the order written; a later one wins. `lookup` answers for
/// variables in values (compose) and keys without a value; pairs defined above a line come first.
pub fn parse_env_file(
    text: &str,
    dialect: Dialect,
    lookup: &dyn Lookup,
) -> Result<Vec<(String, String)>, EnvFileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match dialect {
        Dialect::Docker => docker(text, lookup),
        Dialect::Compose => Dotenv { rest: text, line: 1, pairs: Vec::new(), lookup }.parse(),
    }
}

fn docker(text: &str, lookup: &dyn Lookup) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |message: String| EnvFileError { line: index + 1, message };
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (line.trim_end(), lookup.get(line.trim_end())),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(fail(format!("`{key}` is not a variable name")));
        }
        pairs.extend(value.map(|value| (key.to_owned(), value)));
    }
    Ok(pairs)
}

/// The state of one reading of a compose env file.
struct Dotenv<'a> {
    rest: &'a str,
    line: usize,
    pairs: Vec<(String, String)>,
    lookup: &'a dyn Lookup,
}

/// Variables already defined in the file, then the environment. compose gives the environment
/// precedence.
struct Layered<'a>(&'a [(String, String)], &'a dyn Lookup);

impl Lookup for Layered<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.1.get(name).or_else(|| {
            self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        })
    }
}

impl Dotenv<'_> {
    fn parse(mut self) -> Result<Vec<(String, String)>, EnvFileError> {
        while !self.rest.is_empty() {
            let line = self.rest.split('\n').next().unwrap_or_default();
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                self.advance(line.len() + 1);
                continue;
            }
            self.assignment(line)?;
        }
        Ok(self.pairs)
    }

    fn fail(&self, message: impl Into<String>) -> EnvFileError {
        EnvFileError { line: self.line, message: message.into() }
    }

    /// Consumes `len` bytes (or all that is left) and counts their lines.
    fn advance(&mut self, len: usize) {
        let (gone, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.line += gone.matches('\n').count();
        self.rest = rest;
    }

    fn assignment(&mut self, line: &str) -> Result<(), EnvFileError> {
        let Some((left, _)) = line.split_once('=').or_else(|| line.split_once(": ")) else {
            return self.bare_key(line);
        };
        let key = left.trim();
        let key = key.strip_prefix("export ").unwrap_or(key).trim();
        let name_char = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        if key.is_empty() || !key.chars().all(name_char) {
            return Err(self.fail(format!(
                "`{}` is not a variable name",
                key.chars().take(60).collect::<String>()
            )));
        }
        let key = key.to_owned();
        self.advance(left.len() + 1);
        let blank = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        self.advance(blank);
        let value = match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote)?,
            _ => self.unquoted()?,
        };
        self.pairs.push((key, value));
        Ok(())
    }

    /// `KEY` alone: the environment's value, when there is one.
    fn bare_key(&mut self, line: &str) -> Result<(), EnvFileError> {
        let key = line.trim();
        let key = key.strip_prefix("export ").unwrap_or(key).trim();
        if key.contains(char::is_whitespace) {
            return Err(self.fail("not a `KEY=value` line"));
        }
        if let Some(value) = self.lookup.get(key) {
            self.pairs.push((key.to_owned(), value));
        }
        self.advance(line.len() + 1);
        Ok(())
    }

    fn unquoted(&mut self) -> Result<String, EnvFileError> {
        let line = self.rest.split('\n').next().unwrap_or_default();
        let comment = if line.starts_with('#') { Some(0) } else { find_comment(line) };
        let value = line[..comment.unwrap_or(line.len())].trim_end();
        let value = self.expand(value)?;
        self.advance(line.len() + 1);
        Ok(value)
    }

    /// A quoted value, which may span lines; after it only a comment may follow.
    fn quoted(&mut self, quote: char) -> Result<String, EnvFileError> {
        let body = &self.rest[1..];
        let mut escaped = false;
        let end = body.char_indices().find(|&(_, c)| {
            let is_end = c == quote && !escaped;
            escaped = c == '\\' && !escaped && quote == '"';
            is_end
        });
        let Some((end, _)) = end else {
            return Err(self.fail(format!("a `{quote}` is not closed")));
        };
        let value = &body[..end];
        let value = if quote == '"' { self.expand(&unescape(value))? } else { value.to_owned() };
        let tail = body[end + 1..].split('\n').next().unwrap_or_default();
        if !tail.trim().is_empty() && !tail.trim_start().starts_with('#') {
            return Err(self.fail(format!("unexpected text after the closing `{quote}`")));
        }
        let consumed = 1 + end + 1 + tail.len() + 1;
        self.advance(consumed);
        Ok(value)
    }

    fn expand(&self, value: &str) -> Result<String, EnvFileError> {
        let expanded = interpolate(value, &Layered(&self.pairs, self.lookup));
        expanded.map(|it| it.text).map_err(|error| self.fail(error.to_string()))
    }
}

/// Where ` #` starts a comment.
fn find_comment(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    (1..bytes.len()).find(|&i| bytes[i] == b'#' && matches!(bytes[i - 1], b' ' | b'\t'))
}

/// The escapes of a double-quoted value. `\$` becomes `$$`, which interpolation turns into `$`.
fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(next @ ('"' | '\\' | '\'')) => out.push(next),
            Some(next) => {
                out.push('\\');
                out.push(next);
            }
            None => out.push('\\'),
        }
    }
    out
}
