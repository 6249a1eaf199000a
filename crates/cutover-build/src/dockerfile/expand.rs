//! Variable expansion: `$v`, `${v:-w}` and their kin, as BuildKit's shell lexer does it.
//!
//! Not a shell: quotes and escapes are processed, nothing is split but by [`Expander::words`], and
//! a variable has one value for a whole instruction. Pure; the scanner is in `scan`.

mod scan;

use std::collections::BTreeSet;

use crate::glob::BadPattern;

/// Where variables come from.
pub trait Variables {
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variable is set.
impl Variables for () {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

impl<S: std::hash::BuildHasher> Variables for std::collections::HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name).map(String::as_str)
    }
}

/// How text is to be expanded.
#[derive(Clone, Copy, Debug)]
pub struct Expander {
    /// `\`, or the one that `# escape=` names.
    pub escape: char,
    /// Keep quotes in the result.
    pub raw_quotes: bool,
    /// Keep escape characters in the result.
    pub raw_escapes: bool,
    /// Quotes are ordinary characters (the bodies of heredocs).
    pub ignore_quotes: bool,
    /// Leave references to unset variables as they are written.
    pub keep_unset: bool,
}

/// An expanded text and what it asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// Variables that were referred to and are set.
    pub used: BTreeSet<String>,
    /// Variables that were referred to and are not set.
    pub unset: BTreeSet<String>,
}

/// Why a text cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process `{text}`: {problem}")]
pub struct ExpandError {
    pub text: String,
    pub problem: Problem,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("unexpected end of statement while looking for matching {0}")]
    Unterminated(&'static str),
    #[error("syntax error: missing `{0}`")]
    Missing(char),
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${name:?message}`.
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error(transparent)]
    Pattern(#[from] BadPatternText),
    #[error("nested too deeply")]
    Depth,
    #[error("result is longer than {} bytes", scan::MAX_RESULT)]
    TooLong,
}

/// A pattern of `${v#p}`, `${v%p}` or `${v/p/r}` that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern in substitution: {0}")]
pub struct BadPatternText(String);

impl From<BadPattern> for Problem {
    fn from(error: BadPattern) -> Self {
        Self::Pattern(BadPatternText(error.to_string()))
    }
}

impl Expander {
    pub fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            ignore_quotes: false,
            keep_unset: false,
        }
    }

    /// Expands `text` as one word.
    pub fn word(&self, text: &str, variables: &dyn Variables) -> Result<Expanded, ExpandError> {
        self.run(text, variables).map(|(expanded, _)| expanded)
    }

    /// Expands `text` and then splits it at blanks that are neither quoted nor escaped.
    pub fn words(&self, text: &str, variables: &dyn Variables) -> Result<Vec<String>, ExpandError> {
        self.run(text, variables).map(|(_, words)| words)
    }

    fn run(
        &self,
        text: &str,
        variables: &dyn Variables,
    ) -> Result<(Expanded, Vec<String>), ExpandError> {
        let mut scanner = scan::Scanner::new(*self, text, variables);
        scanner.whole().map_err(|problem| ExpandError { text: text.to_owned(), problem })
    }
}

#[cfg(test)]
mod tests;
