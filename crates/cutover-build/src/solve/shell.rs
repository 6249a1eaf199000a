//! `--on-error=shell`: a look around before what failed is removed.

use std::sync::{Mutex, PoisonError};

use super::Solver;
use crate::{Event, OnError, RunStep, Stream};

/// A process has one terminal, and steps may fail at the same time.
static TERMINAL: Mutex<()> = Mutex::new(());

impl Solver<'_> {
    /// Opens a shell in the container of a step that ended with `code`, if the user wants one; the
    /// build goes on to fail when it ends.
    pub(super) fn shell_after(&self, step: &RunStep, id: usize, code: i32) {
        if self.options.on_error != OnError::Shell {
            return;
        }
        let _one = TERMINAL.lock().unwrap_or_else(PoisonError::into_inner);
        // Stopped for what failed elsewhere, or by the user.
        if self.cancel.is_raised() {
            return;
        }
        let mut shell = RunStep { args: vec!["/bin/sh".to_owned()], ..step.clone() };
        if !shell.env.iter().any(|entry| entry.starts_with("TERM=")) {
            shell.env.push("TERM=xterm".to_owned());
        }
        let note = format!(
            "step {id} ended with exit code {code}: this is a shell in its container, `exit` ends the build"
        );
        self.world.progress.on(Event::Terminal { taken: Some(&note) });
        let ended = self.world.runner.shell(&shell, &self.cancel);
        self.world.progress.on(Event::Terminal { taken: None });
        if let Err(error) = ended {
            let text = format!("cannot open a shell: {error}\n");
            let (at, stream) = ((self.world.clock)(), Stream::Stderr);
            self.world.progress.on(Event::Output { step: id, stream, bytes: text.as_bytes(), at });
        }
    }
}
