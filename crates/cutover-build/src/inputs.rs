//! [`Inputs`]: what a step depends on, each with a name. The cache key is the digest of all of them
//! and their list is remembered, so that a later build can say which one changed.
//!
//! Values that may be secret (variables, and words that variables were expanded in) are remembered
//! as a digest with a salt of the database, never as they are.

use cutover_core::Digest;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;

/// What sort of thing an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sort {
    /// The files that a step begins with: the steps before it.
    Before,
    /// A base image: its name, and its digest.
    Base,
    /// The instruction as it is written.
    Text,
    Arg,
    Env,
    /// Files, known by the digest of their list.
    Files,
    Setting,
}

/// One input as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) sort: Sort,
    pub(crate) name: String,
    /// In clear, or a salted digest.
    pub(crate) value: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) hidden: bool,
}

/// Collects the inputs of one step.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    key: Fingerprint,
    list: Vec<Input>,
    salt: &'a str,
}

/// Longest value that is remembered in clear.
const MAX_VALUE: usize = 2000;

impl<'a> Inputs<'a> {
    /// `kind` says what kind and version of key it is.
    pub(crate) fn new(kind: &str, salt: &'a str) -> Self {
        Self { key: Fingerprint::new(kind), list: Vec::new(), salt }
    }

    /// An input that may be shown.
    pub(crate) fn plain(&mut self, sort: Sort, name: &str, value: impl AsRef<str>) {
        self.key.field(name, value.as_ref());
        self.note(sort, name, value);
    }

    /// An input that must not be shown.
    pub(crate) fn hidden(&mut self, sort: Sort, name: &str, value: impl AsRef<[u8]>) {
        // ARG or ENV makes no difference to a process.
        self.key.field(name, value.as_ref());
        self.note_hidden(sort, name, value);
    }

    /// Remembers something that explains and does not count by itself.
    pub(crate) fn note(&mut self, sort: Sort, name: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        let value = match value.char_indices().nth(MAX_VALUE) {
            None => value.to_owned(),
            Some((at, _)) => format!("{}… {}", &value[..at], Digest::sha256(value.as_bytes())),
        };
        self.list.push(Input { sort, name: name.to_owned(), value, hidden: false });
    }

    /// The same for what must not be shown.
    pub(crate) fn note_hidden(&mut self, sort: Sort, name: &str, value: impl AsRef<[u8]>) {
        let mut digest = Fingerprint::new("hidden 1");
        digest.field("salt", self.salt);
        digest.field(name, value);
        let value = digest.finish().hex()[..32].to_owned();
        self.list.push(Input { sort, name: name.to_owned(), value, hidden: true });
    }

    pub(crate) fn finish(self) -> (Digest, Vec<Input>) {
        (self.key.finish(), self.list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_in_the_list_and_count() {
        let make = |value: &str, salt: &str| {
            let mut inputs = Inputs::new("test", salt);
            inputs.hidden(Sort::Arg, "TOKEN", value);
            inputs.finish()
        };
        let (key, list) = make("s3cret", "salt");
        assert!(list[0].hidden && !list[0].value.contains("s3cret"));
        assert_ne!(key, make("other", "salt").0);
        assert_eq!(key, make("s3cret", "pepper").0, "the salt is of the record, not of the key");
        assert_ne!(list, make("s3cret", "pepper").1);
    }

    #[test]
    fn long_values_are_cut_and_told_apart() {
        let make = |end: &str| {
            let mut inputs = Inputs::new("test", "");
            inputs.plain(Sort::Text, "text", "é".repeat(3000) + end);
            inputs.finish().1.remove(0)
        };
        assert!(make("a").value.len() < 4200);
        assert_ne!(make("a"), make("b"));
    }
}
