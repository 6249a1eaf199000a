//! [`Board`]: what is known of a build at one moment.

use std::collections::VecDeque;
use std::time::Duration;

use super::{CANCELED, Event, StageShape, StepId, text};

/// Lines of output that are kept of each step.
const MAX_LINES: usize = 6;
/// Bytes of a line that matter.
const MAX_LINE: usize = 4096;

/// All stages and steps of a build so far. Events change it, [`Board::frame`] shows it.
#[derive(Debug, Default)]
pub struct Board {
    pub(super) stages: Vec<StageShape>,
    /// In the order in which they appeared.
    pub(super) steps: Vec<Step>,
    /// The image and its names.
    pub(super) exported: Vec<String>,
    taken: bool,
}

#[derive(Debug)]
pub(super) struct Step {
    id: StepId,
    pub(super) name: String,
    pub(super) stage: Option<usize>,
    pub(super) started: Duration,
    pub(super) state: State,
    /// The last lines of output, made fit to be shown.
    pub(super) lines: VecDeque<String>,
    /// Output after the last line end.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Cached,
    Done(Duration),
    Failed(Duration),
    /// Stopped because of something else.
    Canceled(Duration),
}

impl Step {
    /// How long it has taken, by `now`.
    pub(super) fn elapsed(&self, now: Duration) -> Duration {
        self.end(now).saturating_sub(self.started)
    }

    pub(super) fn end(&self, now: Duration) -> Duration {
        match self.state {
            State::Running => now,
            State::Cached => self.started,
            State::Done(at) | State::Failed(at) | State::Canceled(at) => at,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state != State::Running
    }

    fn output(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE.saturating_sub(self.partial.len());
            self.partial.extend(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        // A line that is written over again and again: what was is of no interest.
        if self.partial.len() >= MAX_LINE
            && let Some(at) = self.partial.iter().rposition(|byte| *byte == b'\r')
        {
            self.partial.drain(..at);
        }
    }

    fn end_line(&mut self) {
        let line = text::visible(&std::mem::take(&mut self.partial));
        if !line.trim().is_empty() {
            self.lines.push_back(line);
            if self.lines.len() > MAX_LINES {
                self.lines.pop_front();
            }
        }
    }

    /// The last `most` lines, one without an end included.
    pub(super) fn tail(&self, most: usize) -> Vec<String> {
        let partial = text::visible(&self.partial);
        let all = self.lines.iter().cloned().chain((!partial.trim().is_empty()).then_some(partial));
        let all: Vec<_> = all.collect();
        all[all.len().saturating_sub(most)..].to_vec()
    }
}

impl Board {
    pub fn on(&mut self, event: &Event<'_>) {
        match *event {
            Event::Planned { stages } => self.stages = stages.to_vec(),
            Event::Started { step, name, stage, at } => {
                self.add(step, name, (stage, at), State::Running);
            }
            Event::Cached { step, name, stage, at } => {
                self.add(step, name, (stage, at), State::Cached);
            }
            Event::Output { step, bytes, .. } => {
                if let Some(step) = self.step(step) {
                    step.output(bytes);
                }
            }
            Event::Done { step, at } => self.end(step, State::Done(at)),
            Event::Failed { step, error: CANCELED, at } => self.end(step, State::Canceled(at)),
            Event::Failed { step, at, .. } => self.end(step, State::Failed(at)),
            Event::Terminal { taken } => self.taken = taken.is_some(),
            Event::Exported { image, tag, .. } => self.exported.push(match tag {
                Some(tag) => format!("image {image} tagged `{tag}`"),
                None => format!("image {image}"),
            }),
            Event::Explained { .. } => {}
        }
    }

    /// Whether somebody else has the terminal.
    pub fn is_taken(&self) -> bool {
        self.taken
    }

    fn step(&mut self, id: StepId) -> Option<&mut Step> {
        // The ones under way are near the end.
        self.steps.iter_mut().rfind(|step| step.id == id)
    }

    fn add(&mut self, id: StepId, name: &str, at: (Option<usize>, Duration), state: State) {
        let (stage, started) = at;
        let (lines, partial) = (VecDeque::new(), Vec::new());
        let name = text::one_line(name);
        self.steps.push(Step { id, name, stage, started, state, lines, partial });
    }

    fn end(&mut self, id: StepId, state: State) {
        if let Some(step) = self.step(id) {
            step.state = state;
        }
    }
}
