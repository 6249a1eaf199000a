//! [`Live`]: a build as a tree that changes on the terminal while it runs.
//!
//! Events only change the [`Board`]; a thread paints it ten times a second. So a build that says a
//! thousand lines a second costs ten frames, and one that is over at once shows only its end.

use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cutover_build::{Board, Event, Line, Progress, Tone};
use rustix::termios::tcgetwinsize;

use super::Ui;
use super::painter::Painter;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// Size of a terminal that does not tell.
const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// Paints on stderr until it is finished or dropped.
#[derive(Debug)]
pub(crate) struct Live {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The painting is to end.
    ended: Condvar,
    ui: Ui,
    start: Instant,
}

#[derive(Debug, Default)]
struct State {
    board: Board,
    painter: Painter,
    ended: bool,
}

impl Live {
    /// `start` is when the build began.
    pub(crate) fn start(ui: Ui, start: Instant) -> Self {
        let (state, ended) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { state, ended, ui, start });
        let painting = Arc::clone(&shared);
        let thread = Some(std::thread::spawn(move || painting.paint()));
        Self { shared, thread }
    }

    /// Leaves all steps on the terminal.
    pub(crate) fn finish(self) {
        let mut state = self.shared.lock();
        let (columns, _) = size();
        let now = self.shared.start.elapsed();
        self.shared.show(&mut state, Vec::new(), columns);
        let summary = state.board.summary(now, columns);
        self.shared.show(&mut state, summary, columns);
        state.painter.keep();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Progress for Live {
    fn on(&self, event: Event<'_>) {
        let mut state = self.shared.lock();
        state.board.on(&event);
        if let Event::Terminal { taken: Some(note) } = event {
            self.shared.show(&mut state, Vec::new(), size().0);
            self.shared.ui.say(note);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paint(&self) {
        let mut state = self.lock();
        loop {
            let waited = self.ended.wait_timeout_while(state, FRAME, |state| !state.ended);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.ended {
                return;
            }
            if !state.board.is_taken() {
                let (columns, rows) = size();
                // The last row is the cursor's.
                let rows = rows.saturating_sub(1);
                let frame = state.board.frame(self.start.elapsed(), columns, rows);
                self.show(&mut state, frame, columns);
            }
        }
    }

    fn show(&self, state: &mut State, lines: Vec<Line>, columns: usize) {
        let painted = |line: Line| {
            let width = line.width();
            (self.paint_line(line), width)
        };
        let lines: Vec<_> = lines.into_iter().map(painted).collect();
        let frame = state.painter.frame(&lines, columns);
        // stderr gone means that nobody looks
        drop(std::io::stderr().lock().write_all(frame.as_bytes()));
    }

    fn paint_line(&self, line: Line) -> String {
        let code = match line.tone {
            Tone::Plain => return line.text,
            Tone::Heading => "1",
            Tone::Done => "34",
            Tone::Failed => "31",
            Tone::Output => "2",
        };
        self.ui.paint(code, &line.text)
    }
}

/// Columns and rows of the terminal now.
fn size() -> (usize, usize) {
    let known = |value: u16, otherwise| if value == 0 { otherwise } else { usize::from(value) };
    match tcgetwinsize(std::io::stderr()) {
        Ok(size) => (known(size.ws_col, COLUMNS), known(size.ws_row, ROWS)),
        Err(_) => (COLUMNS, ROWS),
    }
}
