//! Why a build failed: always with the file, the line and the instruction.

mod caret;

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Lines of a Dockerfile.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// First line, from 1.
    pub start: usize,
    /// Last line, inclusive.
    pub end: usize,
    /// The whole text, for the excerpt.
    pub source: Arc<str>,
}

/// A failed build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile says something that is not the language.
    #[error("{place}: {problem}")]
    Dockerfile { place: Place, problem: String, hint: Option<String> },
    /// An instruction that is right as written cannot be carried out.
    #[error("{place}: `{instruction}` failed")]
    Step {
        place: Place,
        instruction: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A RUN step's process ended with a code other than 0.
    #[error("{place}: `{command}` exited with code {code}")]
    Exit { place: Place, command: String, code: i32, output: Vec<String> },
    #[error("failed to read the Dockerfile `{}`", path.display())]
    ReadDockerfile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no `Dockerfile` in `{}`", context.display())]
    NoDockerfile { context: PathBuf },
    #[error("build context `{}` is not a directory", path.display())]
    NoContext { path: PathBuf },
    #[error("`{}` is not valid: {problem}", path.display())]
    Ignore { path: PathBuf, problem: String },
    #[error("{file}: {problem}")]
    Target { problem: String, file: Arc<str>, hint: Option<String> },
    /// BuildKit also takes a named context or a stage here.
    #[error(
        "SOURCE_DATE_EPOCH `{text}` is not a number of seconds, and nothing else is supported yet"
    )]
    Epoch { text: String },
    #[error("the build was interrupted")]
    Interrupted,
    #[error("failed to {operation}")]
    Io {
        operation: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// For `map_err`: names the operation that failed.
pub(crate) fn boxed<E: Error + Send + Sync + 'static>(
    operation: &'static str,
) -> impl FnOnce(E) -> BuildError {
    move |source| BuildError::Io { operation, source: Box::new(source) }
}

impl BuildError {
    /// The Dockerfile around the failing lines, marked `>>>`, as BuildKit prints it.
    pub fn excerpt(&self) -> Option<String> {
        match self {
            Self::Dockerfile { place, problem, .. } => Some(place.excerpt_of(problem, 2)),
            _ => self.place().map(Place::excerpt),
        }
    }

    /// The last lines that a failed RUN step wrote.
    pub fn output(&self) -> &[String] {
        match self {
            Self::Exit { output, .. } => output,
            _ => &[],
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Dockerfile { hint, .. } | Self::Target { hint, .. } => hint.as_deref(),
            Self::NoDockerfile { .. } => Some("name it with `-f FILE`"),
            _ => None,
        }
    }

    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Dockerfile { place, .. }
            | Self::Step { place, .. }
            | Self::Exit { place, .. } => Some(place),
            _ => None,
        }
    }
}

impl Place {
    /// Two lines before, the lines themselves, two lines after.
    fn excerpt(&self) -> String {
        self.excerpt_of("", 2)
    }

    /// The lines with `around` more on each side, and carets below what `problem` names if it is
    /// there.
    pub(crate) fn excerpt_of(&self, problem: &str, around: usize) -> String {
        let mut marked = false;
        let rule = "--------------------\n";
        let first = self.start.saturating_sub(around).max(1);
        let mut out = format!("{self}\n{rule}");
        let lines = self.source.lines().enumerate().skip(first - 1);
        for (index, line) in lines.take(self.end + around - (first - 1)) {
            let number = index + 1;
            let own = (self.start..=self.end).contains(&number);
            let mark = if own { ">>>" } else { "   " };
            let _infallible = writeln!(out, "{number:4} | {mark} {line}");
            if own
                && !marked
                && let Some(carets) = caret::under(line, problem)
            {
                marked = true;
                let _infallible = writeln!(out, "     |     {carets}");
            }
        }
        out + rule
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.start)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}-{}", self.file, self.start, self.end)
    }
}
