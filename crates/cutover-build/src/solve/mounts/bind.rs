//! Bind mounts: files of layers, and of the build context.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{Done, Solver, files};
use super::{MountError, Mounted, all_of};
use crate::StepSource;
use crate::copy::{Copier, relative};
use crate::op::CopyOp;
use crate::select::{Item, SelectError};
use crate::tree::{Kind, Tree};

/// One bind mount.
pub(super) struct Bind<'a> {
    pub(super) path: &'a str,
    pub(super) writable: bool,
    pub(super) scratch: &'a Path,
}

impl Bind<'_> {
    fn directory(&self, name: &str) -> Result<PathBuf, MountError> {
        let path = self.scratch.join(name);
        fs_err::create_dir(&path)?;
        Ok(path)
    }

    /// Where to put what is written, to throw it away with the step.
    fn writable(&self) -> Result<Option<(PathBuf, PathBuf)>, MountError> {
        match self.writable {
            true => Ok(Some((self.directory("upper")?, self.directory("work")?))),
            false => Ok(None),
        }
    }
}

impl Solver<'_> {
    pub(super) fn bind_layers(
        &self,
        bind: &Bind<'_>,
        from: &Done,
        target: String,
        mounted: &mut Mounted,
    ) -> Result<(), MountError> {
        let tree = self.tree_of(from)?;
        let is_file = is_file(&tree, bind.path)?;
        let lowers = self.world.store.snapshots().lower_dirs(&from.chain_ids());
        let mut lowers = lowers.unwrap_or_default();
        if lowers.is_empty() {
            lowers.push(bind.directory("empty")?);
        }
        let (path, writable) = (bind.path.to_owned(), bind.writable()?);
        mounted.add(target, StepSource::Layers { lowers, path, writable }, is_file);
        Ok(())
    }

    /// The visible part of the context: in place if it is just what BuildKit would show, which is
    /// everything below the source and all of it root's, or else as a copy.
    pub(super) fn bind_context(
        &self,
        bind: &Bind<'_>,
        target: String,
        mounted: &mut Mounted,
    ) -> Result<(), MountError> {
        let opened = self.context()?;
        let from = opened.from();
        let copy = all_of(bind.path);
        let listed = files::list(&from, &copy)?;
        let Some(source) = listed.first().map(|one| &one.items[0]) else {
            return Err(SelectError::NotFound { path: bind.path.to_owned() }.into());
        };
        let is_file = !source.meta.is_dir();
        let as_it_is = |item: &Item| {
            matches!(item.meta.kind, Kind::File | Kind::Dir | Kind::Link)
                && (item.meta.uid, item.meta.gid) == (0, 0)
        };
        let in_place = !opened.context.visible.lacks_below(&source.path)
            && listed.iter().flat_map(|one| &one.items).all(as_it_is);
        let (root, path) = if in_place {
            (self.context_root()?, format!("/{}", source.path.display()))
        } else {
            let root = bind.directory("copy")?;
            let to = Tree::open(&root)?;
            let op = CopyOp { destination: "/copy".to_owned(), ..copy };
            let copier = Copier {
                to: &to,
                upper: None,
                op: &op,
                owner: None,
                keep_owners: false,
                time: crate::solve::time::FIRST,
            };
            for one in &listed {
                copier.copy(&from, one)?;
            }
            (root, "/copy".to_owned())
        };
        if in_place {
            mounted.watched.push((Arc::clone(&opened), listed));
        }
        let source = match bind.writable()? {
            None => StepSource::Directory { root, path, read_only: true },
            writable => StepSource::Layers { lowers: vec![root], path, writable },
        };
        mounted.add(target, source, is_file);
        Ok(())
    }

    fn context_root(&self) -> Result<PathBuf, MountError> {
        Ok(self.context()?.root.clone())
    }
}

/// Whether `path` of a tree is a file rather than a directory.
fn is_file(tree: &Tree, path: &str) -> Result<bool, MountError> {
    let found = tree.resolve(&relative(path))?;
    let meta = tree.meta(&found)?;
    let missing = || SelectError::NotFound { path: path.to_owned() };
    Ok(!meta.ok_or_else(missing)?.is_dir())
}
