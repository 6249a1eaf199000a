//! What a build says while it runs: events, and the two renderers that need no terminal.

use std::time::Duration;

use crate::StepReport;

mod plain;

pub use plain::Plain;

/// Number of a step in the order of first appearance, from 1 (`#1`).
pub type StepId = usize;

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Something that happened. `at` is the time since the build started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Started {
        step: StepId,
        name: &'a str,
        at: Duration,
    },
    Output {
        step: StepId,
        stream: Stream,
        bytes: &'a [u8],
        at: Duration,
    },
    Cached {
        step: StepId,
        name: &'a str,
    },
    Done {
        step: StepId,
        at: Duration,
    },
    Failed {
        step: StepId,
        error: &'a str,
        at: Duration,
    },
    /// With [`crate::BuildOptions::explain`], before a step's own events.
    Explained {
        report: &'a StepReport,
    },
    /// The image is in the store; one event per tag, or one with none.
    Exported {
        image: &'a str,
        tag: Option<&'a str>,
        at: Duration,
    },
}

/// Receives events, possibly from several threads.
pub trait Progress: Sync {
    fn on(&self, event: Event<'_>);
}

/// Says nothing (`-q`, `--progress=quiet`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn on(&self, _event: Event<'_>) {}
}
