//! Symlinks, followed by hand so that what does not exist yet has a place too.

use std::path::{Component, Path, PathBuf};

use super::{Kind, Tree, TreeError};

/// As many as the kernel follows, with room for deep trees.
const MAX_LINKS: usize = 255;

impl Tree {
    /// Follows every symlink of `path` within the root, the last one too. Components that do not
    /// exist stand for themselves. The result has no symlink in it.
    pub(crate) fn resolve(&self, path: &Path) -> Result<PathBuf, TreeError> {
        self.resolve_with(path, &|path| Ok(self.meta(path)?.map(|meta| meta.kind)))
    }

    /// [`Tree::resolve`] where `kind` says what exists.
    pub(crate) fn resolve_with(
        &self,
        path: &Path,
        kind: &dyn Fn(&Path) -> Result<Option<Kind>, TreeError>,
    ) -> Result<PathBuf, TreeError> {
        let mut resolved = PathBuf::new();
        let mut todo: Vec<PathBuf> = parts(path);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part.as_os_str() == ".." {
                resolved.pop();
                continue;
            }
            let next = resolved.join(&part);
            if kind(&next)? != Some(Kind::Link) {
                resolved = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(TreeError::at("follow", path)(rustix::io::Errno::LOOP));
            }
            let target = self.link(&next)?;
            if target.is_absolute() {
                resolved.clear();
            }
            todo.extend(parts(&target));
        }
        Ok(resolved)
    }

    /// [`Tree::resolve`] for all but the last component.
    pub(crate) fn resolve_parent(&self, path: &Path) -> Result<PathBuf, TreeError> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok(self.resolve(parent)?.join(name)),
            _ => self.resolve(path),
        }
    }
}

/// Components, last first; `..` is one, `.` and `/` are none.
fn parts(path: &Path) -> Vec<PathBuf> {
    let part = |component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}
