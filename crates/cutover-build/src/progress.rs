//! What a build says while it runs: events, and what makes lines, documents and pictures of them.
//!
//! Nothing here knows a terminal: [`Board::frame`] says which lines it should show, the binary
//! paints them.

use std::time::Duration;

use crate::StepReport;

mod board;
mod frame;
mod plain;
mod rawjson;
mod text;

pub use board::Board;
pub use frame::{Line, Tone};
pub use plain::Plain;
pub use rawjson::RawJson;

/// Number of a step in the order of first appearance, from 1 (`#1`).
pub type StepId = usize;

/// A stage that the build needs, as it is known before anything is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageShape {
    /// Its place in the Dockerfile, from 0.
    pub index: usize,
    pub name: String,
    /// Steps that show up; triggers of a base image come on top.
    pub steps: usize,
}

/// The error of a step that was stopped because another one failed, or by the user.
pub(crate) const CANCELED: &str = "canceled";

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Something that happened. `at` is the time since the build started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Comes first, and once for each build.
    Planned {
        stages: &'a [StageShape],
    },
    Started {
        step: StepId,
        name: &'a str,
        /// [`StageShape::index`], for what belongs to a stage.
        stage: Option<usize>,
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
        stage: Option<usize>,
        at: Duration,
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
    /// Somebody else has the terminal until it is given back: nothing may be painted meanwhile.
    Terminal {
        /// What to say to who has it now; `None` gives it back.
        taken: Option<&'a str>,
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
