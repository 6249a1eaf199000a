//! Lists of files, kept to say which one changed.
//!
//! A list has an entry per file; beyond a bound, what is deep is folded into its directory, so that
//! a list of a million files says in which directory the change is.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use serde::Serialize;

use crate::fingerprint::Fingerprint;

/// Most entries that are kept.
const MAX_ENTRIES: usize = 20_000;
/// Most bytes of a list that is read back.
const MAX_BYTES: u64 = 64 << 20;

/// Files by path: what is said of each beside its content, and a digest of all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Type, mode, owner: `File 644`. Empty for a folded directory.
    about: String,
    /// Of the content.
    sum: String,
}

/// A file that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChanged {
    pub path: String,
    #[serde(flatten)]
    pub change: FileChange,
}

/// How.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum FileChange {
    Added,
    Removed,
    Content,
    /// Type, permissions or owner.
    About {
        from: String,
        to: String,
    },
    /// Something below a directory of a very long list.
    Below,
}

impl Listing {
    pub(crate) fn add(&mut self, path: String, about: String, sum: &str) {
        let sum = sum.get(..16).unwrap_or(sum).to_owned();
        self.0.insert(path, Entry { about, sum });
    }

    /// Folds what is deep until the list is short enough.
    fn folded(&self, max: usize) -> Self {
        if self.0.len() <= max {
            return self.clone();
        }
        let deepest = self.0.keys().map(|path| path.split('/').count()).max().unwrap_or(0);
        let fold = |depth| self.folded_at(depth);
        let fits = (1..deepest).rev().map(fold).find(|folded| folded.0.len() <= max);
        fits.unwrap_or_else(|| self.folded_at(0))
    }

    fn folded_at(&self, depth: usize) -> Self {
        let mut folded = Self::default();
        let mut below: BTreeMap<String, Fingerprint> = BTreeMap::new();
        for (path, entry) in &self.0 {
            let parts: Vec<&str> = path.split('/').collect();
            if parts.len() <= depth {
                folded.0.insert(path.clone(), entry.clone());
                continue;
            }
            let directory = format!("{}/", parts[..depth].join("/"));
            let all = below.entry(directory).or_insert_with(|| Fingerprint::new("below 1"));
            all.field(path, format!("{} {}", entry.about, entry.sum));
        }
        for (directory, all) in below {
            folded.add(directory, String::new(), all.finish().hex());
        }
        folded
    }

    /// Compressed text: a line with path, sum and the rest, separated by NUL.
    pub(crate) fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut out = zstd::Encoder::new(Vec::new(), 1)?;
        for (path, entry) in &self.folded(MAX_ENTRIES).0 {
            write!(out, "{path}\0{}\0{}\x01", entry.sum, entry.about)?;
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut text = String::new();
        zstd::Decoder::new(bytes).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
        let mut listing = Self::default();
        for line in text.split_terminator('\x01') {
            let mut parts = line.splitn(3, '\0');
            let (path, sum, about) = (parts.next()?, parts.next()?, parts.next()?);
            let entry = Entry { about: about.to_owned(), sum: sum.to_owned() };
            listing.0.insert(path.to_owned(), entry);
        }
        Some(listing)
    }

    /// What differs in `new`, by path.
    pub(crate) fn changes(&self, new: &Self) -> Vec<FileChanged> {
        let mut changed = Vec::new();
        let mut add = |path: &String, change| {
            changed.push(FileChanged { path: path.clone(), change });
        };
        for (path, entry) in &new.0 {
            match self.0.get(path) {
                _ if path.ends_with('/') && self.0.get(path) != Some(entry) => {
                    add(path, FileChange::Below);
                }
                None => add(path, FileChange::Added),
                Some(old) if old.sum != entry.sum => add(path, FileChange::Content),
                Some(old) if old.about != entry.about => {
                    let (from, to) = (old.about.clone(), entry.about.clone());
                    add(path, FileChange::About { from, to });
                }
                Some(_) => {}
            }
        }
        for path in self.0.keys().filter(|path| !new.0.contains_key(*path)) {
            add(path, FileChange::Removed);
        }
        changed.sort_by(|a, b| a.path.cmp(&b.path));
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[(&str, &str, &str)]) -> Listing {
        let mut listing = Listing::default();
        for (path, about, sum) in files {
            listing.add((*path).to_owned(), (*about).to_owned(), sum);
        }
        listing
    }

    #[test]
    fn each_kind_of_change_is_told() {
        let old = listing(&[("a", "File 644", "1"), ("b", "File 644", "1"), ("c", "", "1")]);
        let new = listing(&[("a", "File 755", "1"), ("b", "File 644", "2"), ("d", "", "1")]);
        let changed: Vec<_> = old.changes(&new).into_iter().map(|c| (c.path, c.change)).collect();
        let about = FileChange::About { from: "File 644".to_owned(), to: "File 755".to_owned() };
        let expected = [
            ("a", about),
            ("b", FileChange::Content),
            ("c", FileChange::Removed),
            ("d", FileChange::Added),
        ];
        assert_eq!(changed, expected.map(|(path, change)| (path.to_owned(), change)));
        assert!(old.changes(&old).is_empty());
    }

    #[test]
    fn a_list_comes_back_as_it_was() {
        let list = listing(&[("a b\nc", "File 644", "12"), ("é", "Dir 755", "")]);
        assert_eq!(Listing::decode(&list.encode().unwrap()), Some(list));
        assert_eq!(Listing::decode(b"nonsense"), None);
    }

    #[test]
    fn a_long_list_says_in_which_directory() {
        let mut old = Listing::default();
        for file in 0..100 {
            old.add(format!("x/{}/{file}", file % 2), String::new(), "1");
        }
        old.add("top".to_owned(), String::new(), "1");
        let mut new = old.clone();
        new.add("x/1/7".to_owned(), String::new(), "2");
        let changed = old.folded(10).changes(&new.folded(10));
        let expected = FileChanged { path: "x/1/".to_owned(), change: FileChange::Below };
        assert_eq!(changed, [expected]);
    }
}
