//! [`Problem`]: something wrong in a file, with its place and what to do about it.

use std::fmt;

/// One finding. `Display` shows place, message, the line itself and the hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// The file's name as it was given.
    pub file: String,
    /// Counted from 1; 0: the problem is not at one place of the file.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Where in the document, e.g. `services.web.ports[0]`; empty for the whole of it.
    pub key: String,
    /// A lowercase fragment without a final dot.
    pub message: String,
    pub hint: Option<String>,
    /// The line as it was written, before variables were filled in.
    pub excerpt: Option<String>,
}

/// Whether a [`Problem`] keeps the project from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// Everything that is wrong with a project, in the order of the files and their lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.file.is_empty() {
            f.write_str(": ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(excerpt) = &self.excerpt {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            let pointer = " ".repeat(self.column.saturating_sub(1));
            write!(f, "\n {number} | {excerpt}\n {margin} | {pointer}^")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
