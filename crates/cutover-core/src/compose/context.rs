//! Reading checked values out of nodes, recording every problem on the way.
//!
//! A reader that finds a wrong value records the problem and returns `None` (or leaves the item
//! out), and reading goes on: the user sees all problems at once. Whether a project may be used is
//! decided once, at the end.

use std::fmt::Display;
use std::time::Duration;

use super::keys::{self, Support};
use super::problem::{Problem, Severity};
use super::yaml::{Entry, LoadError, Mark, Node, Value};
use crate::suggest::nearest;
use crate::units;

/// Nobody reads more problems than this, and a hostile file could have millions.
const MAX_PROBLEMS: usize = 200;

/// A file of the project: what nodes' marks refer to.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Where the relative paths in it start.
    pub(crate) dir: String,
}

/// A node and its path from the top.
#[derive(Clone, Debug)]
pub(crate) struct At<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: String,
}

/// The entries of a map whose keys have been checked against the table.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    section: &'static keys::Section,
    entries: Option<&'n indexmap::IndexMap<String, Entry>>,
    path: String,
}

/// What reading needs and gathers.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) files: Vec<File>,
    pub(crate) problems: Vec<Problem>,
}

impl<'n> At<'n> {
    pub(crate) fn root(node: &'n Node) -> Self {
        Self { node, path: String::new() }
    }

    pub(crate) fn key(&self, key: &str, node: &'n Node) -> Self {
        Self { node, path: join(&self.path, key) }
    }

    pub(crate) fn index(&self, index: usize, node: &'n Node) -> Self {
        Self { node, path: format!("{}[{index}]", self.path) }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'n> Fields<'n> {
    /// The value of a supported key; `None` when it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<At<'n>> {
        self.get_or_null(key).filter(|at| !at.is_null())
    }

    /// Like [`Fields::get`], but a written null is there.
    pub(crate) fn get_or_null(&self, key: &str) -> Option<At<'n>> {
        debug_assert!(
            self.section.key(key).is_some_and(|key| key.support == Support::Supported),
            "`{key}` is not a supported key of `{}` in the table",
            self.section.name
        );
        #[cfg(test)]
        keys::tests::record(self.section.name, key);
        let entry = self.entries?.get(key)?;
        Some(At { node: &entry.node, path: join(&self.path, key) })
    }
}

impl Context {
    pub(crate) fn push(
        &mut self,
        severity: Severity,
        mark: Mark,
        key: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        // counted apart: warnings must not push out the errors that follow
        let same = self.problems.iter().filter(|problem| problem.severity == severity);
        if same.count() >= MAX_PROBLEMS {
            return;
        }
        let file = self.files.get(mark.file);
        let line = file.and_then(|file| file.text.lines().nth(mark.line.checked_sub(1)?));
        // a tab would move the pointer under the excerpt
        let excerpt = line.map(|line| line.replace('\t', " ").chars().take(160).collect());
        let problem = Problem {
            severity,
            file: file.map(|file| file.name.clone()).unwrap_or_default(),
            line: mark.line,
            column: mark.column,
            key: key.to_owned(),
            message: message.into(),
            hint,
            excerpt,
        };
        // an alias can show the same place twice
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(crate) fn error(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.push(Severity::Error, at.node.mark, &at.path, message, None);
    }

    pub(crate) fn error_hint(
        &mut self,
        at: &At<'_>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Severity::Error, at.node.mark, &at.path, message, Some(hint.into()));
    }

    pub(crate) fn error_count(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    pub(crate) fn warn(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.push(Severity::Warning, at.node.mark, &at.path, message, None);
    }

    pub(crate) fn load_error(&mut self, error: LoadError) {
        self.push(Severity::Error, error.mark, "", error.message, error.hint);
    }

    /// Where a relative path written at `at` starts.
    pub(crate) fn dir(&self, at: &At<'_>) -> &str {
        self.files.get(at.node.mark.file).map_or("/", |file| &file.dir)
    }

    fn expected(&mut self, at: &At<'_>, what: &str) {
        if matches!(at.node.value, Value::Wrong) {
            return;
        }
        let kind = at.node.kind();
        self.error(at, format!("must be {what}, but is {kind}"));
    }

    // === maps ===

    /// Checks the keys of the map at `at` against the table's `section`.
    pub(crate) fn fields<'n>(&mut self, at: &At<'n>, section: &'static str) -> Fields<'n> {
        let section = keys::section(section);
        let path = at.path.clone();
        let entries = match &at.node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => None,
            _ => {
                self.expected(at, "a map");
                None
            }
        };
        for (key, entry) in entries.into_iter().flatten() {
            self.check_key(section, key, entry, &path);
        }
        Fields { section, entries, path }
    }

    fn check_key(&mut self, section: &'static keys::Section, key: &str, entry: &Entry, path: &str) {
        let full = join(path, key);
        let (severity, message, hint) = match section.key(key) {
            Some(known) => match known.support {
                Support::Supported => return,
                Support::Ignored => (Severity::Warning, format!("ignored: {}", known.note), None),
                Support::Refused => {
                    (Severity::Error, format!("not supported: {}", known.note), None)
                }
            },
            None if key == "x-cutover" => {
                let hint = "`x-cutover` belongs under a service".to_owned();
                (Severity::Error, "not a key here".to_owned(), Some(hint))
            }
            None if key.starts_with("x-") => return,
            None => (Severity::Error, "unknown key".to_owned(), unknown_key_hint(section, key)),
        };
        self.push(severity, entry.key, &full, message, hint);
    }

    /// The entries of a map with free keys, such as `services`.
    pub(crate) fn map<'n>(&mut self, at: &At<'n>) -> Vec<(&'n str, At<'n>)> {
        match &at.node.value {
            Value::Map(entries) => entries
                .iter()
                .filter(|(key, _)| !key.starts_with("x-"))
                .map(|(key, entry)| (key.as_str(), at.key(key, &entry.node)))
                .collect(),
            Value::Null => Vec::new(),
            _ => {
                self.expected(at, "a map");
                Vec::new()
            }
        }
    }

    // === lists ===

    pub(crate) fn list<'n>(&mut self, at: &At<'n>) -> Vec<At<'n>> {
        match &at.node.value {
            Value::List(items) => {
                items.iter().enumerate().map(|(index, node)| at.index(index, node)).collect()
            }
            Value::Null => Vec::new(),
            _ => {
                self.expected(at, "a list");
                Vec::new()
            }
        }
    }

    /// A list, or a single item in its place.
    pub(crate) fn one_or_list<'n>(&mut self, at: &At<'n>) -> Vec<At<'n>> {
        match &at.node.value {
            Value::Text(_) | Value::Map(_) => vec![at.clone()],
            _ => self.list(at),
        }
    }

    /// The texts of a list, or of a single text in its place.
    pub(crate) fn texts(&mut self, at: &At<'_>) -> Vec<String> {
        let items = self.one_or_list(at);
        items.iter().filter_map(|item| self.text(item)).collect()
    }

    /// A map, or a list of `KEY=value`. The value of `KEY` alone, or of a null, is `None`.
    pub(crate) fn pairs<'n>(&mut self, at: &At<'n>) -> Vec<(String, Option<String>, At<'n>)> {
        if at.is_map() {
            let entries = self.map(at);
            return entries
                .into_iter()
                .filter_map(|(key, at)| {
                    let value = if at.is_null() { None } else { Some(self.text(&at)?) };
                    Some((key.to_owned(), value, at))
                })
                .collect();
        }
        if !matches!(at.node.value, Value::List(_) | Value::Null) {
            self.expected(at, "a map, or a list of `KEY=value`");
            return Vec::new();
        }
        let items = self.list(at);
        items
            .into_iter()
            .filter_map(|at| {
                let text = self.text(&at)?;
                Some(match text.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned()), at),
                    None => (text, None, at),
                })
            })
            .collect()
    }

    /// Like [`Context::pairs`] where a missing value is the empty text, e.g. labels.
    pub(crate) fn text_map(&mut self, at: &At<'_>) -> indexmap::IndexMap<String, String> {
        let pairs = self.pairs(at);
        pairs.into_iter().map(|(key, value, _)| (key, value.unwrap_or_default())).collect()
    }

    // === single values ===

    pub(crate) fn text(&mut self, at: &At<'_>) -> Option<String> {
        match &at.node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                self.expected(at, "a text");
                None
            }
        }
    }

    /// A text that `parse` accepts; its error is the problem's message.
    pub(crate) fn parse<T, E: Display>(
        &mut self,
        at: &At<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(at)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(at, error.to_string());
                None
            }
        }
    }

    pub(crate) fn bool(&mut self, at: &At<'_>) -> Option<bool> {
        self.choice(at, &[("true", true), ("false", false), ("yes", true), ("no", false)])
    }

    /// One of a few words. The error lists them, or names the nearest.
    pub(crate) fn choice<T: Clone>(&mut self, at: &At<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(at)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)) {
            return Some(value.clone());
        }
        let all: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let message = format!("`{}` must be one of {}", shown(&text), all.join(", "));
        match nearest(&text, words.iter().map(|(word, _)| *word)) {
            Some(word) => self.error_hint(at, message, format!("did you mean `{word}`?")),
            None => self.error(at, message),
        }
        None
    }

    pub(crate) fn number<T>(&mut self, at: &At<'_>, what: &str) -> Option<T>
    where
        T: std::str::FromStr,
    {
        self.parse(at, |text| {
            text.trim().parse().ok().ok_or_else(|| format!("`{}` must be {what}", shown(text)))
        })
    }

    pub(crate) fn duration(&mut self, at: &At<'_>) -> Option<Duration> {
        self.parse(at, units::parse_duration)
    }

    pub(crate) fn size(&mut self, at: &At<'_>) -> Option<u64> {
        self.parse(at, units::parse_size)
    }

    /// A command: one text split as a shell would, or a list of words.
    pub(crate) fn words(&mut self, at: &At<'_>) -> Option<Vec<String>> {
        match &at.node.value {
            Value::Text(_) => self.parse(at, units::shell_words),
            Value::List(_) => Some(self.texts(at)),
            _ => {
                self.expected(at, "a command: a text or a list of words");
                None
            }
        }
    }
}

fn unknown_key_hint(section: &keys::Section, key: &str) -> Option<String> {
    let names = section.keys.iter().map(|key| key.name);
    if let Some(near) = nearest(key, names) {
        return Some(format!("did you mean `{near}`?"));
    }
    let elsewhere = keys::SECTIONS.iter().find(|other| other.key(key).is_some())?;
    (elsewhere.name != section.name).then(|| format!("`{key}` belongs under `{}`", elsewhere.name))
}

/// A user's value as part of a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
