//! `--name=value` flags of instructions: known names, types, duplicates, "did you mean".

use super::{Lines, ParseError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// `--link`, `--link=false`.
    Bool,
    Text,
    /// May be repeated.
    List,
}

/// The flags that were given, in order.
pub(super) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Checks `words` against the flags that the instruction has.
    pub(super) fn read(
        words: &[String],
        known: &[(&'static str, Type)],
        lines: Lines,
    ) -> Result<Self, ParseError> {
        let mut flags: Vec<(&'static str, String)> = Vec::new();
        for word in words {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let error = |problem: String| ParseError::new(lines, problem);
            let bare = name.strip_prefix("--").unwrap_or(name);
            let Some(&(known_name, kind)) = known.iter().find(|(known, _)| *known == bare) else {
                let names = known.iter().map(|(known, _)| *known);
                return Err(ParseError {
                    hint: suggest(bare, names).map(|near| format!("did you mean `--{near}`?")),
                    ..error(format!("unknown flag `{name}`"))
                });
            };
            if kind != Type::List && flags.iter().any(|(given, _)| *given == known_name) {
                return Err(error(format!("duplicate flag `{name}`")));
            }
            let value = check(kind, value).map_err(|problem| match problem {
                Wrong::Missing => error(format!("missing a value on flag `{name}`")),
                Wrong::NotBool(value) => {
                    error(format!("expecting a boolean value for flag `{name}`, not `{value}`"))
                }
            })?;
            flags.push((known_name, value));
        }
        Ok(Self(flags))
    }

    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.given(name).unwrap_or_default().to_owned()
    }

    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.given(name).map(|value| value == "true")
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let given = self.0.iter().filter(|(given, _)| *given == name);
        given.map(|(_, value)| value.clone()).collect()
    }
}

enum Wrong {
    Missing,
    NotBool(String),
}

fn check(kind: Type, value: Option<&str>) -> Result<String, Wrong> {
    match (kind, value) {
        (Type::Bool, None) => Ok("true".to_owned()),
        (Type::Bool, Some("")) | (_, None) => Err(Wrong::Missing),
        (Type::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
            lower @ ("true" | "false") => Ok(lower.to_owned()),
            _ => Err(Wrong::NotBool(value.to_owned())),
        },
        (_, Some(value)) => Ok(value.to_owned()),
    }
}

/// The known word nearest to `word`, when it is near enough to be a typing error.
pub(crate) fn suggest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let distance = |near: &str| strsim::damerau_levenshtein(&lower, &near.to_lowercase());
    known
        .map(|near| (distance(near), near))
        .filter(|(distance, near)| *distance <= (near.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}
