//! Text of strangers in one line of a terminal.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns that a tab stands for.
const TAB: &str = "    ";

/// What a terminal would show of a line of output in the end: what a carriage return brings back
/// is written over, colours and movements of the cursor are left out.
pub(super) fn visible(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown = String::new();
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            '\x1b' => skip_sequence(&mut chars),
            '\r' => {
                // At the end of a line there is nothing that is written over it.
                if chars.peek().is_some_and(|next| !matches!(next, '\r' | '\n')) {
                    shown.clear();
                }
            }
            '\t' => shown.push_str(TAB),
            ch if ch.is_control() => {}
            ch => shown.push(ch),
        }
    }
    shown
}

/// Reads to the end of an escape sequence (ECMA-48) that has begun.
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        // parameters, then a letter
        Some('[') => while chars.next().is_some_and(|ch| !('\x40'..='\x7e').contains(&ch)) {},
        // text, then BEL or ESC \
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(ch) = chars.next() {
                if ch == '\x07' {
                    return;
                }
                if ch == '\x1b' {
                    chars.next();
                    return;
                }
            }
        }
        // a character set
        Some('(' | ')' | '*' | '+' | '#' | '%' | ' ') => drop(chars.next()),
        _ => {}
    }
}

/// A name of several lines as one.
pub(super) fn one_line(name: &str) -> String {
    let blank = |ch: char| if ch.is_control() { ' ' } else { ch };
    name.chars().map(blank).collect()
}

pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of `text` that fits into `columns` columns, `…` in place of the rest.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let (mut used, mut end) = (1, 0);
    for (at, ch) in text.char_indices() {
        used += ch.width().unwrap_or(0);
        if used > columns {
            break;
        }
        end = at + ch.len_utf8();
    }
    match columns {
        0 => String::new(),
        _ => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_what_a_terminal_would_keep() {
        let check = |bytes: &[u8], expected| assert_eq!(visible(bytes), expected);
        check(b"plain\r\n", "plain");
        check(b"10%\r20%\r100%\r", "100%");
        check(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b(By", "red xy");
        check(b"\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link");
        check(b"a\tb\x08\x00", "a    b");
        check(b"\x1b[31", "");
        check(b"\xff\xc3\xa9", "\u{fffd}é");
    }

    #[test]
    fn lines_are_cut_by_columns() {
        let check = |text, columns, expected: &str| {
            assert_eq!(cut(text, columns), expected);
            assert!(width(expected) <= columns);
        };
        check("abc", 3, "abc");
        check("abcd", 3, "ab…");
        check("日本語", 5, "日本…");
        check("日本語", 4, "日…");
        check("abc", 1, "…");
        check("abc", 0, "");
        assert_eq!(one_line("RUN a\n\x1b[2Jb"), "RUN a  [2Jb");
    }
}
