//! The build cache: what was built from which inputs, in `build.db` under the store's root.
//!
//! All of it is memory and none of it truth: `steps` (key → layer), `contents` (files selected in an
//! immutable layer chain → their digest), `files` (a context's files by inode and times → the
//! digest of their bytes), and what [`records`] keeps to explain. Losing the file costs a rebuild
//! and nothing else.
//! A layer that a step names may have been collected: whoever asks looks whether it is there.

mod files;
mod prune;
mod records;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cutover_core::Digest;
use rusqlite::{Connection, OptionalExtension as _, params};

pub(crate) use files::Files;
pub use prune::{Limits as CacheLimits, prune_cache};
pub(crate) use records::Record;

/// Version of the tables; a database of a newer one is left alone, an older one is emptied.
const VERSION: i64 = 2;

/// What a step made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) diff_id: Digest,
    pub(crate) chain_id: Digest,
    /// Bytes of the layer's tar.
    pub(crate) size: u64,
}

/// The cache's database.
#[derive(Debug)]
pub(crate) struct Cache {
    db: Mutex<Connection>,
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot use the build cache `{}`", path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot remove what builds have fetched")]
    Kept(#[source] std::io::Error),
    #[error(
        "the build cache `{}` has version {version}, this program knows {VERSION}",
        path.display()
    )]
    Version { path: PathBuf, version: i64 },
}

/// Where the database of a store's root is.
fn path_of(root: &Path) -> PathBuf {
    root.join("build.db")
}

impl Cache {
    pub(crate) fn open(root: &Path) -> Result<Self, CacheError> {
        let path = path_of(root);
        let failed = |source| CacheError::Database { path: path.clone(), source };
        let db = Connection::open(&path).map_err(failed)?;
        db.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        let version: i64 =
            db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        match version {
            VERSION => {}
            0..VERSION => create(&db).map_err(failed)?,
            version => return Err(CacheError::Version { path, version }),
        }
        db.execute_batch("PRAGMA synchronous = NORMAL").map_err(failed)?;
        Ok(Self { db: Mutex::new(db) })
    }

    /// A panic elsewhere leaves the connection usable: each statement is whole by itself.
    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the step with this key made last time.
    pub(crate) fn step(&self, key: &Digest) -> Result<Option<Step>, rusqlite::Error> {
        let db = self.db();
        let mut query =
            db.prepare_cached("SELECT diff_id, chain_id, size FROM steps WHERE key = ?1")?;
        let row = query.query_row([key.as_str()], |row| {
            let (diff_id, chain_id): (String, String) = (row.get(0)?, row.get(1)?);
            Ok((diff_id, chain_id, row.get::<_, i64>(2)?))
        });
        let Some((diff_id, chain_id, size)) = row.optional()? else { return Ok(None) };
        // A row that does not parse is a row that is not there.
        let (Ok(diff_id), Ok(chain_id), Ok(size)) =
            (diff_id.parse(), chain_id.parse(), u64::try_from(size))
        else {
            return Ok(None);
        };
        Ok(Some(Step { diff_id, chain_id, size }))
    }

    /// `at` is the time of the build.
    pub(crate) fn remember(
        &self,
        key: &Digest,
        step: &Step,
        at: i64,
    ) -> Result<(), rusqlite::Error> {
        let db = self.db();
        let mut insert = db.prepare_cached(
            "INSERT OR REPLACE INTO steps (key, diff_id, chain_id, size, used) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let size = i64::try_from(step.size).unwrap_or(i64::MAX);
        let (diff_id, chain_id) = (step.diff_id.as_str(), step.chain_id.as_str());
        insert.execute(params![key.as_str(), diff_id, chain_id, size, at]).map(|_| ())
    }

    /// Notes that these steps were used, unless that was noted lately: a build that finds
    /// everything writes nothing.
    pub(crate) fn used(&self, keys: &[Digest], at: i64) -> Result<(), rusqlite::Error> {
        const LATELY: i64 = 3600;
        let mut db = self.db();
        let stale = {
            let mut query = db.prepare_cached("SELECT used < ?2 FROM steps WHERE key = ?1")?;
            let mut stale = Vec::new();
            for key in keys {
                let is: Option<bool> = query
                    .query_row(params![key.as_str(), at - LATELY], |row| row.get(0))
                    .optional()?;
                stale.extend(is.filter(|is| *is).map(|_| key));
            }
            stale
        };
        if stale.is_empty() {
            return Ok(());
        }
        let change = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for key in stale {
            change
                .execute("UPDATE steps SET used = ?2 WHERE key = ?1", params![key.as_str(), at])?;
        }
        change.commit()
    }

    /// The digest of files that were selected in a chain of layers.
    pub(crate) fn content(&self, selection: &Digest) -> Result<Option<Digest>, rusqlite::Error> {
        let db = self.db();
        let mut query = db.prepare_cached("SELECT digest FROM contents WHERE key = ?1")?;
        let text: Option<String> =
            query.query_row([selection.as_str()], |row| row.get(0)).optional()?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    pub(crate) fn remember_content(
        &self,
        selection: &Digest,
        content: &Digest,
    ) -> Result<(), rusqlite::Error> {
        self.db()
            .prepare_cached("INSERT OR REPLACE INTO contents (key, digest) VALUES (?1, ?2)")?
            .execute([selection.as_str(), content.as_str()])
            .map(|_| ())
    }

    fn chains(&self) -> Result<BTreeSet<Digest>, rusqlite::Error> {
        let db = self.db();
        let mut query = db.prepare("SELECT DISTINCT chain_id FROM steps")?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        let texts = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }
}

fn create(db: &Connection) -> Result<(), rusqlite::Error> {
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         BEGIN IMMEDIATE;
         DROP TABLE IF EXISTS steps;
         CREATE TABLE steps (key TEXT PRIMARY KEY, diff_id TEXT NOT NULL, chain_id TEXT NOT NULL,
             size INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS contents (key TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS files (context TEXT PRIMARY KEY, records BLOB NOT NULL) WITHOUT ROWID;
         {}
         PRAGMA user_version = {VERSION};
         COMMIT;",
        records::TABLES
    ))
}

/// The layers (chain ids) that the build cache of the store at `root` names: the garbage collector
/// keeps them as long as the cache is to be kept.
pub fn kept_chains(root: &Path) -> Result<BTreeSet<Digest>, CacheError> {
    let path = path_of(root);
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let failed = |source| CacheError::Database { path: path.clone(), source };
    Cache::open(root)?.chains().map_err(failed)
}

/// Forgets everything that was built: the next build does every step.
pub fn forget_cache(root: &Path) -> Result<(), CacheError> {
    crate::remote::forget(root).map_err(CacheError::Kept)?;
    let path = path_of(root);
    if !path.exists() {
        return Ok(());
    }
    let failed = |source| CacheError::Database { path: path.clone(), source };
    let statements =
        "DELETE FROM steps; DELETE FROM contents; DELETE FROM files; DELETE FROM records;
        DELETE FROM listings; VACUUM";
    Cache::open(root)?.db().execute_batch(statements).map_err(failed)
}

#[cfg(test)]
mod tests;
