//! `created` of an image: a time of what it was made of, never of the build.

use super::{Done, Solver, time};
use crate::checkout;

impl Solver<'_> {
    /// RFC 3339: SOURCE_DATE_EPOCH; else the commit of contexts that are clean checkouts; else the
    /// youngest file of the contexts that were used, and of the Dockerfile; else the base image's.
    pub(super) fn created(&self, done: &Done) -> String {
        let opened = self.contexts.made();
        let commit = || {
            let times = opened.iter().map(|opened| {
                let meta = |path: &std::path::Path| opened.context.visible.meta(path).copied();
                checkout::commit_time(&opened.root, &meta)
            });
            times.collect::<Option<Vec<i64>>>()?.into_iter().max()
        };
        let file = || {
            let stat = self.dockerfile.as_ref().and_then(|path| rustix::fs::stat(path).ok());
            let youngest = opened.iter().filter_map(|opened| opened.context.visible.youngest());
            youngest.chain(stat.map(|stat| stat.st_mtime)).max()
        };
        if let Some(time) = self.epoch.or_else(commit).or_else(file) {
            return time::rfc3339(time);
        }
        let lines = done.stage.image.history.iter().take(done.inherited).rev();
        let inherited = lines.filter_map(|line| line.created.clone()).next();
        inherited.unwrap_or_else(|| time::rfc3339(0))
    }
}
