//! A command written as one text, split into words as a shell splits them, expanding nothing.

use super::ParseUnitError;

/// Splits `text` at white space; `'…'`, `"…"` and `\` quote as in a POSIX shell. There is no
/// expansion of variables, globs or commands: compose's `command: text` has none either.
pub fn shell_words(text: &str) -> Result<Vec<String>, ParseUnitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => single_quoted(text, &mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(text, &mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err(open(text, "it ends with `\\`")),
            },
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn open(text: &str, why: &str) -> ParseUnitError {
    ParseUnitError::new(text, "command", why)
}

fn single_quoted(
    text: &str,
    chars: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), ParseUnitError> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err(open(text, "a `'` is not closed"))
}

fn double_quoted(
    text: &str,
    chars: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), ParseUnitError> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                Some(next) => {
                    word.push('\\');
                    word.push(next);
                }
                None => break,
            },
            other => word.push(other),
        }
    }
    Err(open(text, "a `\"` is not closed"))
}
