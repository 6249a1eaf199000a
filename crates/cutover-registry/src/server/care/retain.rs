//! Only the newest tags stay. What no tag needs any more is for the garbage collection.

use std::sync::Arc;

use rusqlite::params;

use super::rollback::Moved;
use crate::server::change::By;
use crate::server::policy::matches;
use crate::server::refusal::Refusal;
use crate::server::store::Store;

#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// A pattern: others are left alone, and not counted.
    pub(super) tags: String,
    pub(super) keep: usize,
    pub(super) dry_run: bool,
}

pub(super) fn retain(
    store: &Arc<Store>,
    repositories: &str,
    wanted: &Wanted,
    by: &By,
) -> Result<Vec<Moved>, Refusal> {
    let names: Vec<Arc<str>> = {
        let index = store.index();
        let names = index.repositories.keys().filter(|name| matches(repositories, name));
        names.map(|name| name.as_str().into()).collect()
    };
    let mut moved = Vec::new();
    for name in names {
        let (wanted, by) = (wanted.clone(), by.clone());
        moved.extend(store.writer.run_blocking(move |change| {
            let Some((id, _)) = change.repository(&name)? else { return Ok(Vec::new()) };
            let mut newest = change.db.prepare_cached(
                "SELECT tag, digest FROM tags WHERE repository = ? ORDER BY at DESC, tag DESC",
            )?;
            let rows = newest.query_map(params![id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let tags: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
            let old = tags.into_iter().filter(|(tag, _)| matches(&wanted.tags, tag));
            let mut moved = Vec::new();
            for (tag, digest) in old.skip(wanted.keep) {
                if !wanted.dry_run {
                    change.untag(&name, &tag, "retention", &by)?;
                }
                let repository = name.to_string();
                moved.push(Moved { repository, tag, old: Some(digest), new: None });
            }
            Ok(moved)
        })?);
    }
    Ok(moved)
}
