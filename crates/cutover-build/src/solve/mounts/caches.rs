//! Cache mounts of a step: which they are, their locks, and what new ones begin with.

use std::path::Path;

use super::super::steps::Step;
use super::super::{Done, Solver, files};
use super::{MountError, Mounted, all_of, taking};
use crate::caches::{CacheMounts, Identity, Wish};
use crate::copy::Copier;
use crate::mount::{CacheMount, MountKind, Sharing};
use crate::op::RunOp;
use crate::select::From;
use crate::tree::Tree;

impl Solver<'_> {
    /// Locks every cache of a step, in an order that all steps share, so that two which want the
    /// same ones cannot wait for each other. A cache that is mounted twice is locked once, as
    /// strictly as the strictest of its mounts wants.
    pub(super) fn take_caches(
        &self,
        run: &RunOp,
        step: &Step<'_>,
        mounted: &mut Mounted,
    ) -> Result<(), MountError> {
        let mut wanted: Vec<(Identity, Sharing, usize)> = Vec::new();
        for (index, mount) in run.mounts.iter().enumerate() {
            let MountKind::Cache(cache) = &mount.kind else { continue };
            let identity = self.identity(cache, step, index)?;
            match wanted.iter_mut().find(|(own, _, _)| *own == identity) {
                Some((_, sharing, _)) => *sharing = cache.sharing.max(*sharing),
                None => wanted.push((identity, cache.sharing, index)),
            }
        }
        wanted.sort();
        let caches = CacheMounts::of(&self.options.root);
        for (identity, sharing, index) in wanted {
            let MountKind::Cache(cache) = &run.mounts[index].kind else { continue };
            let now = self.options.now;
            let wish = Wish { identity: &identity, sharing, now, cancel: &self.cancel };
            let from = step.mounts.get(index).cloned().flatten();
            let held = caches.take(&wish, |dir| self.fill(dir, cache, from.as_deref()))?;
            mounted.held.push((identity, held));
        }
        Ok(())
    }

    pub(super) fn identity(
        &self,
        cache: &CacheMount,
        step: &Step<'_>,
        index: usize,
    ) -> Result<Identity, MountError> {
        let namespace = self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS");
        let identity = Identity::new(namespace.map_or("", String::as_str), &cache.id);
        let from = step.mounts.get(index).cloned().flatten();
        Ok(match (&from, cache.access) {
            (Some(_), access) => {
                let selection = self.select(&all_of(&cache.source), &taking(step, from))?;
                let base = selection.content.to_string();
                let identity = Identity { base, ..identity };
                access.map_or(identity.clone(), |access| identity.and_owned(access))
            }
            (None, Some(access)) => identity.and_owned(access),
            (None, None) => identity,
        })
    }

    /// Gives a new cache what it begins with.
    fn fill(&self, dir: &Path, cache: &CacheMount, from: Option<&Done>) -> Result<(), MountError> {
        let to = Tree::open(dir)?;
        let root = Path::new("");
        if let Some(from) = from {
            let tree = self.tree_of(from)?;
            let from = From { tree: &tree, visible: None };
            let op = all_of(&cache.source);
            let copier = Copier {
                to: &to,
                upper: None,
                op: &op,
                owner: None,
                keep_owners: true,
                time: crate::solve::time::FIRST,
            };
            for one in files::list(&from, &op)? {
                let meta = one.items[0].meta;
                if !meta.is_dir() {
                    return Err(MountError::NotADirectory(cache.source.clone()));
                }
                copier.copy(&from, &one)?;
                to.own(root, (meta.uid, meta.gid))?;
                to.permit(root, meta.mode)?;
            }
        }
        if let Some(access) = cache.access {
            to.own(root, (access.uid, access.gid))?;
            to.permit(root, access.mode)?;
        }
        Ok(())
    }
}
