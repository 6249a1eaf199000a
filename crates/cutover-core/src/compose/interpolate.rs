//! Variables in values: `$VAR`, `${VAR}`, `${VAR:-x}`, `${VAR-x}`, `${VAR:?m}`, `${VAR?m}`,
//! `${VAR:+x}`, `${VAR+x}`, nested, and `$$` for a dollar sign.
//!
//! Nothing else of a shell is here. The result is bounded: a short text cannot grow without limit.

use std::collections::BTreeMap;

/// Longest result of one interpolation, in bytes.
const MAX_LEN: usize = 1 << 20;
/// Deepest nesting of `${…${…}…}`.
const MAX_DEPTH: usize = 32;

/// Where variables come from.
pub trait Lookup {
    fn get(&self, name: &str) -> Option<String>;
}

impl Lookup for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        Self::get(self, name).cloned()
    }
}

/// An interpolated text and the variables that were not set and became nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interpolated {
    pub text: String,
    pub unset: Vec<String>,
}

/// Why a text cannot be interpolated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpolateError {
    #[error("`${0}` is not a variable: write `$$` for a dollar sign")]
    NotAVariable(String),
    #[error("`${{` is not closed")]
    NotClosed,
    #[error("`{0}` is not a variable name")]
    Name(String),
    #[error("`${{{0}{1}…}}` is not an operator: use :- - :? ? :+ or +")]
    Operator(String, String),
    #[error("required variable `{name}` is not set{}", detail(message))]
    Required { name: String, message: String },
    #[error("variables are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("the value is longer than {MAX_LEN} bytes with its variables filled in")]
    TooLong,
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// Fills in the variables of `text`.
pub fn interpolate(text: &str, lookup: &dyn Lookup) -> Result<Interpolated, InterpolateError> {
    let mut state = State { lookup, unset: Vec::new() };
    let text = state.expand(text, 0)?;
    Ok(Interpolated { text, unset: state.unset })
}

struct State<'a> {
    lookup: &'a dyn Lookup,
    unset: Vec<String>,
}

impl State<'_> {
    fn expand(&mut self, text: &str, depth: usize) -> Result<String, InterpolateError> {
        if depth > MAX_DEPTH {
            return Err(InterpolateError::TooDeep);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(tail) = rest.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix('{') {
                let end = closing_brace(tail).ok_or(InterpolateError::NotClosed)?;
                out.push_str(&self.braced(&tail[..end], depth)?);
                rest = &tail[end + 1..];
            } else {
                let len = name_len(rest);
                if len == 0 {
                    return Err(InterpolateError::NotAVariable(rest.chars().take(1).collect()));
                }
                let (name, tail) = rest.split_at(len);
                out.push_str(&self.value_or_nothing(name));
                rest = tail;
            }
            if out.len() > MAX_LEN {
                return Err(InterpolateError::TooLong);
            }
        }
        out.push_str(rest);
        if out.len() > MAX_LEN { Err(InterpolateError::TooLong) } else { Ok(out) }
    }

    /// The inside of `${…}`.
    fn braced(&mut self, inside: &str, depth: usize) -> Result<String, InterpolateError> {
        let (name, rest) = inside.split_at(name_len(inside));
        if name.is_empty() {
            return Err(InterpolateError::Name(inside.chars().take(60).collect()));
        }
        if rest.is_empty() {
            return Ok(self.value_or_nothing(name));
        }
        let value = self.lookup.get(name);
        // with `:` an empty value counts as not set
        let (value, operator) = match rest.strip_prefix(':') {
            Some(operator) => (value.filter(|value| !value.is_empty()), operator),
            None => (value, rest),
        };
        let mut chars = operator.chars();
        match (chars.next(), value) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-' | '+'), None) if operator.starts_with('+') => Ok(String::new()),
            (Some('-'), None) | (Some('+'), Some(_)) => self.expand(chars.as_str(), depth + 1),
            (Some('?'), None) => Err(InterpolateError::Required {
                name: name.to_owned(),
                message: self.expand(chars.as_str(), depth + 1)?,
            }),
            _ => Err(InterpolateError::Operator(name.to_owned(), rest.chars().take(2).collect())),
        }
    }

    fn value_or_nothing(&mut self, name: &str) -> String {
        self.lookup.get(name).unwrap_or_else(|| {
            if !self.unset.iter().any(|seen| seen == name) {
                self.unset.push(name.to_owned());
            }
            String::new()
        })
    }
}

/// Length of the variable name (`[A-Za-z_][A-Za-z0-9_]*`) that `text` starts with.
fn name_len(text: &str) -> usize {
    let is_name = |(index, byte): (usize, u8)| {
        byte == b'_' || byte.is_ascii_alphabetic() || index > 0 && byte.is_ascii_digit()
    };
    text.bytes().enumerate().take_while(|pair| is_name(*pair)).count()
}

/// Where the brace that is open before `text` closes, skipping nested `${…}`.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'$' if bytes.get(at + 1) == Some(&b'$') => at += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> BTreeMap<String, String> {
        let pairs = [("A", "a"), ("EMPTY", ""), ("B_2", "two"), ("DOLLAR", "$A")];
        pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn check(text: &str, expected: &str) {
        let result = interpolate(text, &env()).unwrap();
        assert_eq!(result.text, expected, "interpolation of `{text}`");
    }

    fn check_error(text: &str, expected: &str) {
        let error = interpolate(text, &env()).unwrap_err();
        assert_eq!(error.to_string(), expected, "interpolation of `{text}`");
    }

    #[test]
    fn every_form() {
        check("", "");
        check("plain", "plain");
        check("$A", "a");
        check("${A}", "a");
        check("x${A}y$B_2-z", "xaytwo-z");
        check("$$A $$$A ${A}$$", "$A $a a$");
        check("${NO:-x} ${NO-x} ${EMPTY:-x} ${EMPTY-x} ${A:-x}", "x x x  a");
        check("${NO:+x} ${NO+x} ${EMPTY:+x} ${EMPTY+x} ${A:+x}", "   x x");
        check("${A:?m} ${A?m} ${EMPTY?m}", "a a ");
        check("${NO:-}", "");
        check("${NO:-${A}}", "a");
        check("${NO:-${NO2:-${A}-b}}c", "a-bc");
        check("${NO:-a}b}", "ab}");
        check("${NO:-$$}", "$");
        check("${NO:--}", "-");
        check("${NO:-:x}", ":x");
        check("{A} a}b{", "{A} a}b{");
        check("ünï${A}cöde", "ünïacöde");
    }

    #[test]
    fn values_are_not_interpolated_again() {
        check("$DOLLAR", "$A");
        check("${NO:-$DOLLAR}", "$A");
    }

    #[test]
    fn unset_variables_are_reported_once() {
        let result = interpolate("$X ${Y} $X ${Z:-}", &env()).unwrap();
        assert_eq!(result.unset, ["X", "Y"]);
        assert_eq!(result.text, "   ");
    }

    #[test]
    fn errors() {
        check_error("$", "`$` is not a variable: write `$$` for a dollar sign");
        check_error("cost $5", "`$5` is not a variable: write `$$` for a dollar sign");
        check_error("${A", "`${` is not closed");
        check_error("${NO:-${A}", "`${` is not closed");
        check_error("${}", "`` is not a variable name");
        check_error("${1}", "`1` is not a variable name");
        check_error("${A!x}", "`${A!x…}` is not an operator: use :- - :? ? :+ or +");
        check_error("${A:x}", "`${A:x…}` is not an operator: use :- - :? ? :+ or +");
        check_error("${NO:?set NO}", "required variable `NO` is not set: set NO");
        check_error("${EMPTY:?}", "required variable `EMPTY` is not set");
    }

    #[test]
    fn is_bounded() {
        let deep = "${N:-".repeat(100) + &"}".repeat(100);
        assert_eq!(interpolate(&deep, &env()), Err(InterpolateError::TooDeep));
        let big = BTreeMap::from([("BIG".to_owned(), "x".repeat(1 << 19))]);
        assert_eq!(interpolate("$BIG$BIG$BIG", &big), Err(InterpolateError::TooLong));
    }
}
