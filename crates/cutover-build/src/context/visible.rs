//! Which files of a context exist for the build, and what they are.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::ignore::{Ignore, Matched};
use crate::tree::{Kind, Meta, Tree, TreeError};

/// The visible files by path. Iteration puts a directory before what is in it.
#[derive(Debug, Default)]
pub(crate) struct Visible {
    files: BTreeMap<PathBuf, Meta>,
    /// Visible files of each directory, in order.
    children: HashMap<PathBuf, Vec<PathBuf>>,
    /// Files that an ignore rule hides, for hints; directories stand for what is below them.
    hidden: Vec<PathBuf>,
    /// Sockets, which are in no context.
    sockets: Vec<PathBuf>,
}

impl Visible {
    pub(crate) fn walk(tree: &Tree, ignore: &Ignore) -> Result<Self, TreeError> {
        let mut walk = Walk { tree, ignore, found: Self::default() };
        // Matching by parents starts at the root, which no pattern matches.
        walk.directory(Path::new(""), &Matched::default())?;
        Ok(walk.found)
    }

    pub(crate) fn meta(&self, path: &Path) -> Option<&Meta> {
        self.files.get(path)
    }

    /// The visible files of a directory.
    pub(crate) fn children(&self, path: &Path) -> impl Iterator<Item = (&Path, &Meta)> {
        let children = self.children.get(path).into_iter().flatten();
        children.filter_map(|path| Some((path.as_path(), self.files.get(path)?)))
    }

    /// Whether an ignore rule hides `path`.
    pub(crate) fn hides(&self, path: &Path) -> bool {
        self.hidden.iter().any(|hidden| path.starts_with(hidden))
    }

    /// Whether the directory `path` on disk has what is not visible.
    pub(crate) fn lacks_below(&self, path: &Path) -> bool {
        self.hidden.iter().chain(&self.sockets).any(|missing| missing.starts_with(path))
    }

    #[cfg(test)]
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&Path, &Meta)> {
        self.files.iter().map(|(path, meta)| (path.as_path(), meta))
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    ignore: &'a Ignore,
    found: Visible,
}

impl Walk<'_> {
    /// Returns whether anything below `path` is visible.
    fn directory(&mut self, path: &Path, matched: &Matched) -> Result<bool, TreeError> {
        let mut children = Vec::new();
        for (path, meta) in self.tree.entries(path)? {
            let (ignored, matched) = self.ignore.matches(&path.to_string_lossy(), matched);
            // An ignored directory is there if a later rule brings back something below it.
            let below = meta.is_dir()
                && (!ignored || self.ignore.re_includes())
                && self.directory(&path, &matched)?;
            if ignored && !below {
                self.found.hidden.push(path);
            } else if meta.kind == Kind::Socket {
                self.found.sockets.push(path);
            } else {
                self.found.files.insert(path.clone(), meta);
                children.push(path);
            }
        }
        let any = !children.is_empty();
        self.found.children.insert(path.to_owned(), children);
        Ok(any)
    }
}
