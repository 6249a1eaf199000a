//! Which files a COPY or ADD takes: wildcards, symlinks, `--exclude` and `--parents` resolved to a
//! flat list. The list is made once; the cache key is its digest and the copy follows it, so what
//! was looked at is what is copied.

use std::path::{Path, PathBuf};

use crate::context::Visible;
use crate::dockerfile::suggest;
use crate::glob::Glob;
use crate::ignore::{Ignore, Matched};
use crate::op;
use crate::tree::{Kind, Meta, Tree, TreeError};

/// Where files come from: a stage's or an image's tree, or the visible part of a context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) visible: Option<&'a Visible>,
}

/// One source with everything below it that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Last component of the source as it was named: a file's name at a destination directory.
    pub(crate) name: PathBuf,
    /// The source itself first; a directory before what is in it.
    pub(crate) items: Vec<Item>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Below the source; empty for the source itself.
    pub(crate) below: PathBuf,
    /// In the tree, without symlinks but in the last place.
    pub(crate) path: PathBuf,
    pub(crate) meta: Meta,
    /// A directory that is only there to hold included files.
    pub(crate) implied: bool,
}

/// Why files cannot be selected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    #[error("`{path}` not found")]
    NotFound { path: String },
    #[error("`{path}` not found: did you mean `{near}`?")]
    Near { path: String, near: String },
    #[error("`{path}` not found: an ignore rule of the build context hides it")]
    Ignored { path: String },
    #[error("`--exclude` is not valid: {problem}")]
    Pattern { problem: String },
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl From<'_> {
    fn meta(&self, path: &Path) -> Result<Option<Meta>, TreeError> {
        match self.visible {
            Some(visible) if !path.as_os_str().is_empty() => Ok(visible.meta(path).copied()),
            _ => self.tree.meta(path),
        }
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf, TreeError> {
        self.tree.resolve_with(path, &|path| Ok(self.meta(path)?.map(|meta| meta.kind)))
    }

    fn children(&self, path: &Path) -> Result<Vec<(PathBuf, Meta)>, TreeError> {
        match self.visible {
            None => self.tree.entries(path),
            Some(visible) => {
                Ok(visible.children(path).map(|(path, meta)| (path.to_owned(), *meta)).collect())
            }
        }
    }

    fn not_found(&self, path: &str) -> SelectError {
        let path = path.to_owned();
        let relative = Path::new(path.trim_start_matches('/'));
        match self.visible {
            Some(visible) if visible.hides(relative) => SelectError::Ignored { path },
            _ => match self.near(relative) {
                Some(near) => SelectError::Near { path, near },
                None => SelectError::NotFound { path },
            },
        }
    }

    /// A file that is there and whose name is nearly the one that is not.
    fn near(&self, missing: &Path) -> Option<String> {
        let parent = self.resolve(missing.parent()?).ok()?;
        let names: Vec<String> = self
            .children(&parent)
            .ok()?
            .iter()
            .filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        // One that is there under this very name is a link to what is not.
        let name = missing.file_name()?.to_str()?;
        let others = names.iter().map(String::as_str).filter(|other| *other != name);
        let near = suggest(name, others)?;
        Some(format!("/{}", missing.with_file_name(near).display()))
    }

    /// Selects the files of one source.
    pub(crate) fn select(
        &self,
        source: &op::Source,
        exclude: &[String],
    ) -> Result<Vec<Selected>, SelectError> {
        let bad =
            |error: crate::ignore::IgnoreError| SelectError::Pattern { problem: error.to_string() };
        let exclude = Ignore::new(exclude).map_err(bad)?;
        let include = source.include.as_ref().map(|pattern| Ignore::new(&[pattern]));
        let include = include.transpose().map_err(bad)?;
        self.check_required(source)?;
        let mut selected = Vec::new();
        for path in self.matching(&source.path)? {
            let followed = self.resolve(&path)?;
            let shown = || format!("/{}", path.display());
            let meta = self.meta(&followed)?.ok_or_else(|| self.not_found(&shown()))?;
            let mut walk = Walk {
                from: self,
                include: include.as_ref(),
                exclude: &exclude,
                items: Vec::new(),
            };
            walk.items.push(Item {
                below: PathBuf::new(),
                path: followed.clone(),
                meta,
                implied: false,
            });
            if meta.is_dir() {
                walk.directory(
                    &followed,
                    Path::new(""),
                    &(Matched::default(), Matched::default()),
                )?;
            }
            let name = path.file_name().map(PathBuf::from).unwrap_or_default();
            selected.push(Selected { name, items: walk.items });
        }
        Ok(selected)
    }

    /// `--parents` without a wildcard names a file that must be there.
    fn check_required(&self, source: &op::Source) -> Result<(), SelectError> {
        let Some(include) = &source.include else { return Ok(()) };
        if has_wildcard(&source.path) || has_wildcard(include) {
            return Ok(());
        }
        let path = crate::path::absolute(&source.path, include);
        if include.is_empty() {
            // `--parents` of nothing below the pivot.
            return Err(self.not_found(&path));
        }
        let followed = self.resolve(Path::new(&path))?;
        match self.meta(&followed)? {
            Some(_) => Ok(()),
            None => Err(self.not_found(&path)),
        }
    }

    /// The paths that a source names: itself, or what its wildcards match.
    fn matching(&self, source: &str) -> Result<Vec<PathBuf>, SelectError> {
        let parts: Vec<&str> = source.split('/').filter(|part| !part.is_empty()).collect();
        let first = parts.iter().position(|part| has_wildcard(part));
        let Some(first) = first else {
            return Ok(vec![parts.iter().collect()]);
        };
        let base: PathBuf = parts[..first].iter().collect();
        let base = self.resolve(&base)?;
        if !base.as_os_str().is_empty() && self.meta(&base)?.is_none() {
            return Err(self.not_found(&format!("/{}", base.display())));
        }
        let mut found = vec![base];
        for part in &parts[first..] {
            // A pattern that Go cannot read matches nothing.
            let Ok(glob) = Glob::path(part) else { return Ok(Vec::new()) };
            let mut next = Vec::new();
            for directory in &found {
                let is_dir = directory.as_os_str().is_empty()
                    || self.meta(directory)?.is_some_and(|meta| meta.is_dir());
                if is_dir {
                    let children = self.children(directory)?.into_iter().map(|(path, _)| path);
                    next.extend(children.filter(|path| {
                        path.file_name().is_some_and(|name| glob.matches(&name.to_string_lossy()))
                    }));
                }
            }
            found = next;
        }
        Ok(found)
    }
}

/// Whether Go's matcher sees a wildcard; an escaped one is none.
fn has_wildcard(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => {
                chars.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

struct Walk<'a> {
    from: &'a From<'a>,
    include: Option<&'a Ignore>,
    exclude: &'a Ignore,
    items: Vec<Item>,
}

impl Walk<'_> {
    /// Adds what is below the directory `path`. Returns whether anything was added.
    fn directory(
        &mut self,
        path: &Path,
        below: &Path,
        matched: &(Matched, Matched),
    ) -> Result<bool, TreeError> {
        let mut any = false;
        for (path, meta) in self.from.children(path)? {
            let below = below.join(path.file_name().unwrap_or_default());
            let text = below.to_string_lossy();
            let (included, include) = match self.include {
                None => (true, Matched::default()),
                Some(include) => include.matches(&text, &matched.0),
            };
            let (excluded, exclude) = self.exclude.matches(&text, &matched.1);
            let taken = included && !excluded;
            let at = self.items.len();
            let item = Item { below: below.clone(), path: path.clone(), meta, implied: !taken };
            self.items.push(item);
            let enter = meta.is_dir() && (!excluded || self.exclude.re_includes());
            let filled = enter && self.directory(&path, &below, &(include, exclude))?;
            if taken || filled {
                any = true;
            } else {
                self.items.truncate(at);
            }
        }
        Ok(any)
    }
}

impl Item {
    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.meta.kind == kind
    }
}

#[cfg(test)]
mod tests;
