//! [`Failure`]: what the user reads when a command fails, and the exit code that scripts read.

use std::fmt;

/// Why a command failed; decides the exit code. Documented in `docs/exit-codes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The machine, the store or a part of cutover itself failed.
    Internal,
    /// The command line is wrong.
    Usage,
    /// A file the user wrote is wrong: compose.yaml, Dockerfile, env file.
    Config,
    /// A registry or another remote did not do what was asked.
    Remote,
    /// A deployment failed; the release before still serves.
    Deploy,
    /// A container could not be run; docker's number.
    Run,
    /// A command inside a container ended with this code: docker's `run` and `exec`.
    Exit(u8),
    /// The build failed.
    Build,
    /// Something that was named does not exist.
    NotFound,
}

impl Kind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Internal | Self::NotFound | Self::Build => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Remote => 4,
            Self::Deploy => 5,
            Self::Run => 125,
            Self::Exit(code) => code,
        }
    }
}

/// An error with its chain, its kind and a next step.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) error: Option<anyhow::Error>,
    pub(crate) hint: Option<String>,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Self { kind, error: Some(error.into()), hint: None }
    }

    pub(crate) fn msg(kind: Kind, text: impl Into<String>) -> Self {
        Self::new(kind, anyhow::Error::msg(text.into()))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Kind::Internal, error)
    }
}

/// `error: …`, each cause on its own line, then a blank line and the hint.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = &self.error else { return Ok(()) };
        writeln!(f, "error: {error}")?;
        let mut last = error.to_string();
        for cause in error.chain().skip(1) {
            let text = cause.to_string();
            if !last.ends_with(&text) {
                writeln!(f, "  caused by: {text}")?;
            }
            last = text;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Adds what was attempted, and the kind, to an error.
pub(crate) trait Context<T> {
    fn or_fail(self, kind: Kind, doing: impl fmt::Display) -> Outcome<T>;
    fn kind(self, kind: Kind) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> Context<T> for Result<T, E> {
    fn or_fail(self, kind: Kind, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(kind, error.into().context(format!("failed to {doing}"))))
    }

    fn kind(self, kind: Kind) -> Outcome<T> {
        self.map_err(|error| Failure::new(kind, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_chain_once_and_the_hint_last() {
        let io = std::io::Error::other("disk is full");
        let failure = Failure::new(
            Kind::Internal,
            anyhow::Error::new(io).context("failed to write blob").context("failed to pull `x`"),
        )
        .hint("free some space");
        let shown = "error: failed to pull `x`\n  caused by: failed to write blob\n  caused by: disk is full\n\nhint: free some space\n";
        assert_eq!(failure.to_string(), shown);
    }
}
