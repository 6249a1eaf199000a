//! [`Splitter`]: a stream of bytes → lines of at most 16 KiB.

/// docker's limit; a longer line becomes several entries.
pub(crate) const MAX_LINE: usize = 16 << 10;

/// Holds the beginning of a line whose end has not come yet: at most [`MAX_LINE`] bytes.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    held: Vec<u8>,
}

impl Splitter {
    /// Hands over each line that is complete (with its newline) or too long.
    pub(crate) fn push(&mut self, mut bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.held.len();
            let end = bytes.iter().take(room).position(|&byte| byte == b'\n');
            match end {
                Some(at) if self.held.is_empty() => {
                    line(&bytes[..=at]);
                    bytes = &bytes[at + 1..];
                }
                Some(at) => {
                    self.held.extend_from_slice(&bytes[..=at]);
                    line(&self.held);
                    self.held.clear();
                    bytes = &bytes[at + 1..];
                }
                None if bytes.len() < room => {
                    self.held.extend_from_slice(bytes);
                    return;
                }
                None => {
                    self.held.extend_from_slice(&bytes[..room]);
                    bytes = &bytes[room..];
                    let cut = whole_characters(&self.held);
                    line(&self.held[..cut]);
                    self.held.drain(..cut);
                }
            }
        }
    }

    /// What is left when the stream ends.
    pub(crate) fn finish(&mut self, line: &mut dyn FnMut(&[u8])) {
        if !self.held.is_empty() {
            line(&self.held);
        }
        // The memory goes too: a shim lives long after one long line.
        self.held = Vec::new();
    }
}

/// How much of `bytes` can be cut off without cutting a UTF-8 character in two.
fn whole_characters(bytes: &[u8]) -> usize {
    let last = bytes.iter().rev().take(4).position(|byte| byte & 0xc0 != 0x80);
    let Some(back) = last else { return bytes.len() };
    let start = bytes.len() - 1 - back;
    let needed = match bytes[start] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if bytes.len() - start < needed { start } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expected: &[&str]) {
        let mut lines = Vec::new();
        let mut splitter = Splitter::default();
        let mut take = |line: &[u8]| lines.push(String::from_utf8(line.to_vec()).unwrap());
        for piece in pieces {
            splitter.push(piece.as_bytes(), &mut take);
        }
        splitter.finish(&mut take);
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_across_reads() {
        check(&["a\nb", "c\n", "\nd"], &["a\n", "bc\n", "\n", "d"]);
        check(&[""], &[]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let long = "x".repeat(MAX_LINE);
        check(&[&long, "y\n"], &[&long, "y\n"]);
        let fits = format!("{}\n", "x".repeat(MAX_LINE - 1));
        check(&[&fits], &[&fits]);
        let accents = format!("{}éz", "x".repeat(MAX_LINE - 1));
        check(&[&accents], &[&"x".repeat(MAX_LINE - 1), "éz"]);
    }

    #[test]
    fn what_is_no_text_is_cut_anywhere() {
        assert_eq!(whole_characters(&[0x80; 8]), 8);
        assert_eq!(whole_characters(&[b'a', 0xff]), 2);
        assert_eq!(whole_characters(&[b'a', 0xf0, 0x9f]), 1);
    }
}
