//! [`Painter`]: a few lines at the bottom of a terminal, written over again and again.
//!
//! indicatif fills each line to the edge and relies on the terminal to wrap, which a window that is
//! made narrower and a `^C` both spoil; and it draws bars, not lines that are chosen by the height.
//! Here a frame is one write, nothing is cleared before it is written over, and the cursor rests on
//! the line below: whatever comes next, a prompt after a kill included, begins on a line of its own.

/// What it has to know to write over what it wrote.
#[derive(Debug, Default)]
pub(crate) struct Painter {
    /// Columns of each line of the last frame.
    widths: Vec<usize>,
}

impl Painter {
    /// What to write so that `lines` (text, its columns) stand where the last frame stood. A line
    /// must not be wider than the terminal, and there must be fewer lines than it has rows.
    pub(crate) fn frame(&mut self, lines: &[(String, usize)], columns: usize) -> String {
        let mut out = String::from("\r");
        // A terminal that was made narrower has wrapped what it shows.
        let rows = |width: &usize| width.div_ceil(columns.max(1)).max(1);
        let up: usize = self.widths.iter().map(rows).sum();
        if up > 0 {
            out.push_str(&format!("\x1b[{up}A"));
        }
        for (text, _) in lines {
            out.push_str(text);
            // to the end of the line: what was longer before
            out.push_str("\x1b[K\r\n");
        }
        if self.widths.len() > lines.len() || up > self.widths.len() {
            // to the end of the screen: what was lower before
            out.push_str("\x1b[J");
        }
        self.widths = lines.iter().map(|(_, width)| *width).collect();
        out
    }

    /// Leaves what is shown where it is.
    pub(crate) fn keep(&mut self) {
        self.widths.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<(String, usize)> {
        texts.iter().map(|text| ((*text).to_owned(), text.len())).collect()
    }

    #[test]
    fn a_frame_is_written_over_the_last_one() {
        let mut painter = Painter::default();
        let frame = painter.frame(&lines(&["abc", "d"]), 80);
        assert_eq!(frame, "\rabc\x1b[K\r\nd\x1b[K\r\n");
        let frame = painter.frame(&lines(&["x"]), 80);
        assert_eq!(frame, "\r\x1b[2Ax\x1b[K\r\n\x1b[J");
        assert_eq!(painter.frame(&[], 80), "\r\x1b[1A\x1b[J");
        painter.frame(&lines(&["kept"]), 80);
        painter.keep();
        assert_eq!(painter.frame(&lines(&["new"]), 80), "\rnew\x1b[K\r\n");
    }

    #[test]
    fn what_a_narrower_terminal_has_wrapped_is_counted() {
        let mut painter = Painter::default();
        painter.frame(&lines(&["12345678", "1"]), 8);
        assert_eq!(painter.frame(&lines(&["1234"]), 4), "\r\x1b[3A1234\x1b[K\r\n\x1b[J");
    }
}
