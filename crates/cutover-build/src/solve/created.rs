//! `created` of an image: a time of what it was made of, never of the build.

use std::path::Path;

use super::{Done, Solver, time};
use crate::checkout;
use crate::tree::Tree;

impl Solver<'_> {
    /// RFC 3339: SOURCE_DATE_EPOCH; else the base image's; else that of its youngest layer.
    pub(super) fn created(&self, done: &Done) -> String {
        let epoch = self.epoch.map(time::rfc3339);
        let created = epoch.or_else(|| done.created.clone());
        created.unwrap_or_else(|| time::rfc3339(done.time))
    }
}

/// `SOURCE_DATE_EPOCH=context` of a directory: the commit that it is a clean checkout of.
pub(super) fn of_context(context: &Path) -> Option<i64> {
    let root = fs_err::canonicalize(context).ok()?;
    let tree = Tree::open(&root).ok()?;
    checkout::commit_time(&root, &|path| tree.meta(path).ok().flatten())
}
