//! What tags were: who moved them, when, from where and where to.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

/// One change of a tag. `new` is missing when it was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Grows with time.
    pub id: i64,
    pub tag: String,
    /// Seconds since 1970.
    pub at: i64,
    pub who: String,
    /// `push`, `delete`, `rollback` or `retention`.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// Which entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter<'a> {
    pub(super) tag: Option<&'a str>,
    /// Only entries that are older than this one.
    pub(super) before: Option<i64>,
    pub(super) count: usize,
}

/// A repository's entries, the newest first.
pub(super) fn read(
    db: &Connection,
    repository: &str,
    filter: &Filter<'_>,
) -> Result<Vec<Entry>, rusqlite::Error> {
    let mut query = db.prepare_cached(
        "SELECT id, tag, at, who, what, old, new FROM history
         WHERE repository = (SELECT id FROM repositories WHERE name = ?1)
           AND (?2 IS NULL OR tag = ?2) AND id < ?3
         ORDER BY id DESC LIMIT ?4",
    )?;
    let count = i64::try_from(filter.count).unwrap_or(i64::MAX);
    let before = filter.before.unwrap_or(i64::MAX);
    let rows = query.query_map(params![repository, filter.tag, before, count], |row| {
        Ok(Entry {
            id: row.get(0)?,
            tag: row.get(1)?,
            at: row.get(2)?,
            who: row.get(3)?,
            what: row.get(4)?,
            old: row.get(5)?,
            new: row.get(6)?,
        })
    })?;
    rows.collect()
}
