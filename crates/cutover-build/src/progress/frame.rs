//! A [`Board`] as lines of a terminal of some size.
//!
//! A stage is a heading with its steps below it; what belongs to no stage comes where it happened.
//! When there is no room for all, finished stages shrink to their headings first, then output and
//! finished steps go; what runs is shown as long as there is a line for it.

use std::time::Duration;

use super::StageShape;
use super::board::{Board, State, Step};
use super::text::{cut, width};

/// What a line is about, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// The totals, and names of stages.
    Heading,
    Done,
    Failed,
    /// Output of a step.
    Output,
}

/// A line without its end, no wider than it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub tone: Tone,
    pub text: String,
}

/// How much is shown; the first that fits is taken.
#[derive(Clone, Copy)]
struct Detail {
    /// Finished stages are their headings.
    collapse: bool,
    /// Only what runs or failed.
    current: bool,
    /// Lines of output of each running step.
    output: usize,
    headings: bool,
}

const DETAILS: [Detail; 5] = [
    Detail { collapse: false, current: false, output: 6, headings: true },
    Detail { collapse: true, current: false, output: 4, headings: true },
    Detail { collapse: true, current: true, output: 2, headings: true },
    Detail { collapse: true, current: true, output: 1, headings: false },
    Detail { collapse: true, current: true, output: 0, headings: false },
];
/// Everything that was done, and no output: for the end.
const SUMMARY: Detail = Detail { collapse: false, current: false, output: 0, headings: true };

impl Line {
    /// Columns that it takes.
    pub fn width(&self) -> usize {
        width(&self.text)
    }
}

impl Board {
    /// What a terminal with this many columns and rows shows while the build runs.
    pub fn frame(&self, now: Duration, columns: usize, rows: usize) -> Vec<Line> {
        let rows = rows.max(1);
        let mut lines = Vec::new();
        for detail in DETAILS {
            lines = self.lines(now, columns, detail);
            if lines.len() <= rows {
                return lines;
            }
        }
        let more = lines.len() - (rows - 1);
        lines.truncate(rows - 1);
        lines
            .push(Line { tone: Tone::Plain, text: cut(&format!(" … and {more} more"), columns) });
        lines
    }

    /// All steps, however many: what stays on the terminal.
    pub fn summary(&self, now: Duration, columns: usize) -> Vec<Line> {
        let mut lines = self.lines(now, columns, SUMMARY);
        let exported = self.exported.iter();
        lines.extend(exported.map(|text| Line { tone: Tone::Plain, text: text.clone() }));
        lines
    }

    fn lines(&self, now: Duration, columns: usize, detail: Detail) -> Vec<Line> {
        let mut lines = vec![self.totals(now, columns)];
        let mut shown = Vec::new();
        for step in &self.steps {
            let stage = step.stage.and_then(|index| self.stages.iter().find(|s| s.index == index));
            match stage {
                Some(stage) if shown.contains(&stage.index) => {}
                Some(stage) => {
                    shown.push(stage.index);
                    self.stage(&mut lines, stage, (now, columns), detail);
                }
                None => lines.extend(step_lines(step, (now, columns), detail)),
            }
        }
        lines
    }

    fn totals(&self, now: Duration, columns: usize) -> Line {
        let (mut total, mut cached) = (0, 0);
        for stage in &self.stages {
            let seen = self.steps.iter().filter(|step| step.stage == Some(stage.index)).count();
            total += stage.steps.max(seen);
        }
        total += self.steps.iter().filter(|step| step.stage.is_none()).count();
        let over = self.steps.iter().filter(|step| step.is_over()).count();
        cached += self.steps.iter().filter(|step| step.state == State::Cached).count();
        let failed = self.steps.iter().any(|step| matches!(step.state, State::Failed(_)));
        let mut text = format!("[+] Building {} ({over}/{total})", seconds(now));
        if cached > 0 {
            text.push_str(&format!(", {cached} cached"));
        }
        let tone = if failed { Tone::Failed } else { Tone::Heading };
        Line { tone, text: cut(&text, columns) }
    }

    fn stage(
        &self,
        lines: &mut Vec<Line>,
        stage: &StageShape,
        (now, columns): (Duration, usize),
        detail: Detail,
    ) {
        let own = |step: &&Step| step.stage == Some(stage.index);
        let steps: Vec<_> = self.steps.iter().filter(own).collect();
        let over = steps.iter().filter(|step| step.is_over()).count();
        let total = stage.steps.max(steps.len());
        let running = over < total || over < steps.len();
        let failed = steps.iter().any(|step| matches!(step.state, State::Failed(_)));
        let several = self.stages.len() > 1;
        if several && detail.headings {
            let from = steps.iter().map(|step| step.started).min().unwrap_or_default();
            let to = steps.iter().map(|step| step.end(now)).max().unwrap_or_default();
            let all_cached = steps.iter().all(|step| step.state == State::Cached);
            let mark = if all_cached { "CACHED " } else { "" };
            let text = format!(" {mark}{} {over}/{total}", stage.name);
            let time = (!all_cached).then(|| to.saturating_sub(from));
            lines.push(Line { tone: Tone::Heading, text: timed(&text, time, columns) });
        }
        if several && detail.collapse && !running && !failed {
            return;
        }
        for step in steps {
            lines.extend(step_lines(step, (now, columns), detail));
        }
    }
}

fn step_lines(step: &Step, (now, columns): (Duration, usize), detail: Detail) -> Vec<Line> {
    let (mark, tone) = match step.state {
        State::Running => ("", Tone::Plain),
        State::Done(_) => ("", Tone::Done),
        State::Cached => ("CACHED ", Tone::Done),
        State::Failed(_) => ("ERROR ", Tone::Failed),
        State::Canceled(_) => ("CANCELED ", Tone::Plain),
    };
    if detail.current && matches!(step.state, State::Done(_) | State::Cached) {
        return Vec::new();
    }
    let time = (step.state != State::Cached).then(|| step.elapsed(now));
    let text = timed(&format!(" => {mark}{}", step.name), time, columns);
    let mut lines = vec![Line { tone, text }];
    if step.state == State::Running {
        let output = step.tail(detail.output).into_iter();
        lines.extend(output.map(|text| {
            let text = cut(&format!(" => => # {text}"), columns);
            Line { tone: Tone::Output, text }
        }));
    }
    lines
}

/// `text` with a time at the right edge.
fn timed(text: &str, time: Option<Duration>, columns: usize) -> String {
    let Some(time) = time else { return cut(text, columns) };
    let time = format!(" {}", seconds(time));
    let room = columns.saturating_sub(width(&time));
    let left = cut(text, room);
    let blanks = room.saturating_sub(width(&left));
    cut(&format!("{left}{}{time}", " ".repeat(blanks)), columns)
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
