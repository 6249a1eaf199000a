//! Pattern text → tokens, one function a dialect.

use std::iter::Peekable;
use std::str::Chars;

use super::{Glob, Token};

/// A pattern that the dialect does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPattern {
    #[error("syntax error in pattern `{0}`")]
    Syntax(String),
    #[error("invalid escape `\\{1}` in pattern `{0}`")]
    Escape(String, char),
    /// The regular expression engines of the reference have a limit too.
    #[error("pattern is longer than {MAX_PATTERN} bytes")]
    TooLong,
}

/// Longest pattern accepted: matching takes pattern × text steps.
const MAX_PATTERN: usize = 4096;

impl Glob {
    /// Go's `filepath.Match`: `*`, `?`, `[…]` and `\`; nothing matches `/`.
    pub(crate) fn path(pattern: &str) -> Result<Self, BadPattern> {
        compile(pattern, false)
    }

    /// [`Glob::path`] and `**` for any number of directories.
    pub(crate) fn ignore(pattern: &str) -> Result<Self, BadPattern> {
        compile(pattern, true)
    }

    /// `*` and `?` match everything, `/` too; only `\*`, `\?`, `\\`, `\}` and `\/` are escapes.
    pub(crate) fn shell(pattern: &str) -> Result<Self, BadPattern> {
        limit(pattern)?;
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(ch) = chars.next() {
            tokens.push(match ch {
                '*' => Token::Many { slash: true },
                '?' => Token::One { slash: true },
                // `\}` and `\/` only keep the brace or slash from ending the pattern
                '\\' => match chars.next() {
                    Some(ch @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(ch),
                    Some(ch) => return Err(BadPattern::Escape(pattern.to_owned(), ch)),
                    None => return Err(BadPattern::Syntax(pattern.to_owned())),
                },
                ch => Token::Char(ch),
            });
        }
        Ok(Self(tokens))
    }
}

fn limit(pattern: &str) -> Result<(), BadPattern> {
    if pattern.len() > MAX_PATTERN { Err(BadPattern::TooLong) } else { Ok(()) }
}

fn compile(pattern: &str, double_star: bool) -> Result<Glob, BadPattern> {
    limit(pattern)?;
    let bad = || BadPattern::Syntax(pattern.to_owned());
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            '*' if double_star && chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() {
                    tokens.push(Token::Many { slash: true });
                } else {
                    tokens.extend([Token::DirsOrNothing, Token::Dirs]);
                }
            }
            '*' => tokens.push(Token::Many { slash: false }),
            '?' => tokens.push(Token::One { slash: false }),
            '[' => tokens.push(class(&mut chars).ok_or_else(bad)?),
            '\\' => tokens.push(Token::Char(chars.next().ok_or_else(bad)?)),
            ch => tokens.push(Token::Char(ch)),
        }
    }
    Ok(Glob(tokens))
}

/// What follows a `[`: at least one range, `^` negates, `\` escapes, `]` ends.
fn class(chars: &mut Peekable<Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { low };
        ranges.push((low, high));
    }
}

/// One end of a range; a bare `-` or `]` is an error, as in Go.
fn class_char(chars: &mut Peekable<Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        ch => Some(ch),
    }
}
