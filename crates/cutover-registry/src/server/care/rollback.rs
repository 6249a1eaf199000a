//! A repository's tags as they were after an entry of its history.

use std::sync::Arc;

use cutover_core::digest::Digest;
use hyper::StatusCode;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::server::change::{By, name_unknown};
use crate::server::refusal::{Code, Refusal};
use crate::server::store::Store;
use crate::server::writer::Change;

/// A tag that was, or would be, set or taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub repository: String,
    pub tag: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Only this one.
    pub(super) tag: Option<String>,
    /// The entry after which things were right.
    pub(super) to: i64,
    pub(super) dry_run: bool,
}

/// All of it in one transaction, or nothing.
pub(super) fn roll_back(
    store: &Arc<Store>,
    repository: &str,
    wanted: Wanted,
    by: By,
) -> Result<Vec<Moved>, Refusal> {
    let (name, policy): (Arc<str>, _) = (repository.into(), Arc::clone(&store.policy));
    store.writer.run_blocking(move |change| {
        let (id, _) = change.repository(&name)?.ok_or_else(|| name_unknown(&name))?;
        let moved = differences(change, (id, &name), &wanted)?;
        check(change, id, &moved)?;
        if wanted.dry_run {
            return Ok(moved);
        }
        for tag in &moved {
            match &tag.new {
                None => drop(change.untag(&name, &tag.tag, "rollback", &by)?),
                Some(new) => {
                    let digest: Digest = new
                        .parse()
                        .map_err(|error| Refusal::internal("read the history", &error))?;
                    change.tag(&policy, (id, &name), (&tag.tag, &digest), "rollback", &by)?;
                }
            }
        }
        Ok(moved)
    })
}

/// Tags that are not what they were.
fn differences(
    change: &Change<'_>,
    (id, name): (i64, &str),
    wanted: &Wanted,
) -> Result<Vec<Moved>, Refusal> {
    let sql = "SELECT h.tag, t.digest,
                 (SELECT new FROM history b WHERE b.repository = ?1 AND b.tag = h.tag AND b.id <= ?2
                  ORDER BY b.id DESC LIMIT 1)
               FROM (SELECT DISTINCT tag FROM history WHERE repository = ?1) h
               LEFT JOIN tags t ON t.repository = ?1 AND t.tag = h.tag
               WHERE ?3 IS NULL OR h.tag = ?3";
    let mut query = change.db.prepare_cached(sql)?;
    let rows = query.query_map(params![id, wanted.to, wanted.tag], |row| {
        let repository = name.to_owned();
        Ok(Moved { repository, tag: row.get(0)?, old: row.get(1)?, new: row.get(2)? })
    })?;
    let all: Vec<Moved> = rows.collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|tag| tag.old != tag.new).collect())
}

/// Refuses when a manifest is gone that a tag would have to point to.
fn check(change: &Change<'_>, id: i64, moved: &[Moved]) -> Result<(), Refusal> {
    let there = "SELECT 1 FROM manifests WHERE repository = ? AND digest = ?";
    let mut there = change.db.prepare_cached(there)?;
    for tag in moved {
        let Some(new) = &tag.new else { continue };
        if !there.exists(params![id, new])? {
            let message = format!(
                "tag `{}` was {new}, which was deleted since: push it again, or roll back other tags",
                tag.tag
            );
            return Err(Refusal::new(StatusCode::CONFLICT, Code::ManifestUnknown, message));
        }
    }
    Ok(())
}
