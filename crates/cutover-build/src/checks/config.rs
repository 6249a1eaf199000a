//! `skip=A,B;error=true;experimental=C`: which rules apply, and whether a finding is an error.

use std::collections::BTreeSet;

use super::Rule;

/// The checks' settings: of the file (`# check=`), of the caller (BUILDKIT_DOCKERFILE_CHECK, which
/// replaces the file's), or of one instruction (a comment right above it).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Config {
    skip: Set,
    experimental: Set,
    pub(super) error: bool,
}

/// Names of rules; unknown ones are kept and mean nothing, as newer files may have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Set {
    all: bool,
    names: BTreeSet<String>,
}

impl Set {
    fn read(text: &str) -> Self {
        match text.trim() {
            "all" => Self { all: true, names: BTreeSet::new() },
            names => {
                let names = names.split(',').map(|name| name.trim().to_owned());
                Self { all: false, names: names.collect() }
            }
        }
    }

    fn has(&self, rule: Rule) -> bool {
        self.all || self.names.contains(rule.name())
    }

    fn merge(&mut self, other: Self) {
        self.all |= other.all;
        self.names.extend(other.names);
    }
}

impl Config {
    /// Reads what stands behind `check=`. Options end at the first blank.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(config);
        }
        for option in text.splitn(3, ';') {
            let bad = || {
                format!(
                    "`{option}` is not an option of `check`: write skip=, error= or experimental="
                )
            };
            let (key, value) = option.split_once('=').ok_or_else(bad)?;
            match key.trim() {
                "skip" => config.skip = Set::read(value),
                "experimental" => config.experimental = Set::read(value),
                "error" => {
                    config.error = boolean(value.trim()).ok_or_else(|| {
                        format!("`{option}` of `check` must be `error=true` or `error=false`")
                    })?;
                }
                _ => return Err(bad()),
            }
        }
        Ok(config)
    }

    /// With what the comments above one instruction add; the first `check=` among them counts.
    pub(super) fn with_comments(&self, comments: &[String]) -> Self {
        let mut merged = self.clone();
        let directive = |comment: &String| {
            let (key, value) = comment.split_once('=')?;
            key.trim_end().eq_ignore_ascii_case("check").then(|| value.trim().to_owned())
        };
        if let Some(value) = comments.iter().find_map(directive)
            && let Ok(own) = Self::read(first_word(&value))
        {
            merged.skip.merge(own.skip);
            merged.experimental.merge(own.experimental);
        }
        merged
    }

    pub(super) fn wants(&self, rule: Rule) -> bool {
        match rule.is_experimental() {
            true => self.experimental.has(rule),
            false => !self.skip.has(rule),
        }
    }
}

/// What is behind the first blank is a remark.
pub(super) fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let config = Config::read("skip=StageNameCasing, FromAsCasing;error=true").unwrap();
        assert!(config.error && !config.wants(Rule::StageNameCasing));
        assert!(!config.wants(Rule::FromAsCasing) && config.wants(Rule::UndefinedVar));
        assert!(!config.wants(Rule::InvalidDefinitionDescription));
        let config = Config::read("skip=all;experimental=all").unwrap();
        assert!(!config.wants(Rule::UndefinedVar));
        assert!(config.wants(Rule::InvalidDefinitionDescription), "skip=all is not about these");
        for bad in ["skip", "error=maybe", "quiet=true"] {
            assert!(Config::read(bad).is_err(), "`{bad}` must be refused");
        }
        assert_eq!(Config::read(" "), Ok(Config::default()));
    }

    #[test]
    fn comments_add_to_the_files_settings() {
        let file = Config::read("skip=UndefinedVar").unwrap();
        let comments = ["a note".to_owned(), "check=skip=FromAsCasing // for once".to_owned()];
        let merged = file.with_comments(&comments);
        assert!(!merged.wants(Rule::UndefinedVar) && !merged.wants(Rule::FromAsCasing));
        assert_eq!(file.with_comments(&["check=nonsense".to_owned()]), file);
    }
}
