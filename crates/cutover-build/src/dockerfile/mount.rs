//! `RUN --mount=…` as far as it can be read before variables have values: one CSV record, and the
//! stage or image that it takes from.

use super::{Lines, ParseError};

/// One `--mount`: its fields as written, for [`crate::mount`] to expand and understand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountFlag {
    /// `key=value` or `key`.
    pub fields: Vec<String>,
    /// `from=`: stage, image or named context; empty when there is none.
    pub from: String,
}

impl MountFlag {
    pub(super) fn read(text: &str, lines: Lines) -> Result<Self, ParseError> {
        let error = |problem: String| ParseError::new(lines, problem);
        let fields = csv(text).map_err(|why| error(format!("`--mount={text}`: {why}")))?;
        let mut from = String::new();
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else { continue };
            if !key.eq_ignore_ascii_case("from") {
                continue;
            }
            if value.split_once('$').is_some_and(|(_, name)| !name.is_empty()) {
                return Err(ParseError {
                    hint: Some("name a stage that starts `FROM` it and use that name".to_owned()),
                    ..error("`from` of a mount does not support variables".to_owned())
                });
            }
            value.clone_into(&mut from);
        }
        Ok(Self { fields, from })
    }
}

/// The fields of one CSV record. A quote inside of a field that does not start with one is an
/// error, as in Go's reader; `""` within quotes is a quote.
fn csv(text: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    None => return Err("a quote is not closed"),
                    Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(ch) => field.push(ch),
                }
            }
            if chars.peek().is_some_and(|next| *next != ',') {
                return Err("a closing quote is followed by more than a comma");
            }
        } else {
            while let Some(ch) = chars.next_if(|next| *next != ',') {
                match ch {
                    '"' => return Err("a quote stands inside of a field that is not quoted"),
                    ch => field.push(ch),
                }
            }
        }
        fields.push(field);
        match chars.next() {
            Some(_) => {}
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let lines = Lines { start: 1, end: 1 };
        let got = match MountFlag::read(text, lines) {
            Ok(flag) => format!("{} from {:?}", flag.fields.join(" | "), flag.from),
            Err(error) => error.problem,
        };
        assert_eq!(got, expected, "of `{text}`");
    }

    #[test]
    fn one_record() {
        check("type=cache,target=/x", "type=cache | target=/x from \"\"");
        check("rw,FROM=base", "rw | FROM=base from \"base\"");
        check(r#""src=a,b",target=/x"#, "src=a,b | target=/x from \"\"");
        check(r#""src=a""b""#, "src=a\"b from \"\"");
        check("from=a$", "from=a$ from \"a$\"");
        check("", " from \"\"");
        check("from=$base", "`from` of a mount does not support variables");
        check("from=x${base}", "`from` of a mount does not support variables");
        check("\"a", "`--mount=\"a`: a quote is not closed");
        check("a\"b", "`--mount=a\"b`: a quote stands inside of a field that is not quoted");
        check("\"a\"b", "`--mount=\"a\"b`: a closing quote is followed by more than a comma");
    }
}
