//! [`Ui`]: the one way to speak to the user. Data goes to stdout, everything else to stderr, and
//! the meaning survives without colour.

pub(crate) mod live;
mod painter;

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Outcome;

/// How to print: what is a terminal, and whether colour is wanted (`NO_COLOR`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    pub(crate) stderr_is_terminal: bool,
    colour: bool,
    quiet: bool,
}

impl Ui {
    #[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
    pub(crate) fn detect() -> Self {
        let no_colour = std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty());
        let stderr_is_terminal = io::stderr().is_terminal();
        Self { stderr_is_terminal, colour: stderr_is_terminal && !no_colour, quiet: false }
    }

    /// A line of data on stdout. A closed pipe (`| head`) is not an error.
    pub(crate) fn data(&self, line: impl AsRef<str>) -> Outcome {
        let mut out = io::stdout().lock();
        ignore_broken_pipe(writeln!(out, "{}", line.as_ref()))
    }

    /// Rows under headings, docker's way: three spaces between columns, no lines.
    pub(crate) fn table(&self, headings: &[&str], rows: Vec<Vec<String>>) -> Outcome {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.iter().copied());
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        for line in table.to_string().lines() {
            self.data(line.trim_end())?;
        }
        Ok(())
    }

    /// A pretty JSON document on stdout.
    pub(crate) fn json(&self, value: &impl Serialize) -> Outcome {
        self.data(serde_json::to_string_pretty(value)?)
    }

    /// The same, but what is only told for information is left out.
    pub(crate) fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A line for the reader, on stderr.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if self.quiet {
            return;
        }
        // stderr gone means that nobody listens
        drop(writeln!(io::stderr().lock(), "{}", line.as_ref()));
    }

    pub(crate) fn warn(&self, line: impl AsRef<str>) {
        self.say(format!("{} {}", self.paint("33", "warning:"), line.as_ref()));
    }

    pub(crate) fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Treats a reader that went away as success.
pub(crate) fn ignore_broken_pipe(written: io::Result<()>) -> Outcome {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Bytes in docker's words: `173MB` (powers of 1000, three digits).
pub(crate) fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        v if unit == 0 || v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (12_345, "12.3kB"),
            (173_000_000, "173MB"),
            (999_999, "1MB"),
            (1_500_000_000, "1.5GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
