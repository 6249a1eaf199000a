//! The small texts of docker's command line and of compose: sizes, durations, ports, mounts,
//! env files, shell words. Each has one parser, used by both.
//!
//! Parsers refuse what they do not understand with [`ParseUnitError`], whose text names the value
//! and shows a right one; none of them panics or guesses.

mod duration;
mod env_file;
mod ports;
mod size;
mod volume;
mod words;

pub use duration::{duration_text, duration_text_opt, format_duration, parse_duration};
pub use env_file::{Dialect, EnvFileError, parse_env_file};
pub use ports::{parse_expose, parse_ports};
pub use size::{format_size, parse_cpus, parse_size};
pub use volume::{VolumeSpec, parse_volume};
pub use words::shell_words;

/// Why a text is not a value of its kind. The message is a fragment such as
/// `` `12q` is not a size: write bytes or a number with b, k, m or g, e.g. `512m` ``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {what}: {why}")]
pub struct ParseUnitError {
    pub value: String,
    pub what: &'static str,
    pub why: String,
}

impl ParseUnitError {
    fn new(value: &str, what: &'static str, why: impl Into<String>) -> Self {
        // values come from users and are shown to users; an absurd one must not fill the screen
        Self { value: value.chars().take(120).collect(), what, why: why.into() }
    }
}

#[cfg(test)]
mod tests;
