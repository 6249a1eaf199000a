//! BuildKit's `--progress=plain`: one line per event, prefixed `#N`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use super::{Event, Progress, StepId};

/// Renders events as lines: `#1 [2/5] RUN make`, `#1 0.412 output…`, `#1 DONE 1.2s`.
pub struct Plain<W> {
    out: Mutex<(W, HashMap<StepId, Step>)>,
}

#[derive(Default)]
struct Step {
    started: Duration,
    /// Output after the last line end.
    partial: Vec<u8>,
}

/// Longest piece of output kept while waiting for a line end.
const MAX_LINE: usize = 16 * 1024;

impl<W: Write> Plain<W> {
    pub fn new(out: W) -> Self {
        Self { out: Mutex::new((out, HashMap::new())) }
    }
}

impl<W> std::fmt::Debug for Plain<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

impl<W: Write + Send> Progress for Plain<W> {
    fn on(&self, event: Event<'_>) {
        let mut guard = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (out, steps) = &mut *guard;
        // A closed terminal must not fail the build.
        let _ignored = render(out, steps, event).and_then(|()| out.flush());
    }
}

fn render<W: Write>(
    out: &mut W,
    steps: &mut HashMap<StepId, Step>,
    event: Event<'_>,
) -> std::io::Result<()> {
    let seconds = |at: Duration| at.as_secs_f64();
    match event {
        Event::Started { step, name, at, .. } => {
            steps.insert(step, Step { started: at, partial: Vec::new() });
            writeln!(out, "#{step} {name}")
        }
        Event::Output { step, bytes, at, .. } => {
            let state = steps.entry(step).or_default();
            let elapsed = seconds(at.saturating_sub(state.started));
            state.partial.extend_from_slice(bytes);
            while let Some(end) = line_end(&state.partial) {
                let line: Vec<u8> = state.partial.drain(..end).collect();
                let text = String::from_utf8_lossy(&line);
                writeln!(out, "#{step} {elapsed:.3} {}", text.trim_end_matches(['\n', '\r']))?;
            }
            Ok(())
        }
        Event::Cached { step, name, .. } => writeln!(out, "#{step} {name}\n#{step} CACHED\n"),
        Event::Done { step, at } => {
            let started = finish(out, steps, step, at)?;
            writeln!(out, "#{step} DONE {:.1}s\n", seconds(at.saturating_sub(started)))
        }
        Event::Failed { step, error, at } => {
            finish(out, steps, step, at)?;
            writeln!(out, "#{step} ERROR: {error}\n")
        }
        // They are more telling together, at the end.
        Event::Terminal { taken: Some(note) } => writeln!(out, "{note}"),
        Event::Explained { .. } | Event::Planned { .. } | Event::Terminal { .. } => Ok(()),
        Event::Exported { image, tag: Some(tag), .. } => {
            writeln!(out, "image {image} tagged `{tag}`")
        }
        Event::Exported { image, tag: None, .. } => writeln!(out, "image {image}"),
    }
}

/// Position after the first line end, or of a forced break in an endless line.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
    end.or((bytes.len() >= MAX_LINE).then_some(bytes.len()))
}

/// Writes what has no line end yet, forgets the step and returns when it started.
fn finish<W: Write>(
    out: &mut W,
    steps: &mut HashMap<StepId, Step>,
    step: StepId,
    at: Duration,
) -> std::io::Result<Duration> {
    let state = steps.remove(&step).unwrap_or_default();
    if !state.partial.is_empty() {
        let elapsed = at.saturating_sub(state.started).as_secs_f64();
        writeln!(out, "#{step} {elapsed:.3} {}", String::from_utf8_lossy(&state.partial))?;
    }
    Ok(state.started)
}
