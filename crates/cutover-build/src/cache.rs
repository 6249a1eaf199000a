//! The build cache: what was built from which inputs, in `build.db` under the store's root.
//!
//! Three tables, all of them memory and none of them truth: `steps` (key → layer), `contents`
//! (files selected in an immutable layer chain → their digest) and `files` (a context's files by
//! inode and times → the digest of their bytes). Losing the file costs a rebuild and nothing else.
//! A layer that a step names may have been collected: whoever asks looks whether it is there.

mod files;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cutover_core::Digest;
use rusqlite::{Connection, OptionalExtension as _, params};

pub(crate) use files::Files;

/// Version of the tables; a database of a newer one is left alone.
const VERSION: i64 = 1;

/// What a step made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) diff_id: Digest,
    pub(crate) chain_id: Digest,
    /// Bytes of the layer's tar.
    pub(crate) size: u64,
    /// RFC 3339.
    pub(crate) created: String,
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
            0 => create(&db).map_err(failed)?,
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
        let mut query = db.prepare_cached("SELECT diff_id, chain_id, size, created FROM steps WHERE key = ?1")?;
        let row = query.query_row([key.as_str()], |row| {
            let (diff_id, chain_id): (String, String) = (row.get(0)?, row.get(1)?);
            Ok((diff_id, chain_id, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
        });
        let Some((diff_id, chain_id, size, created)) = row.optional()? else { return Ok(None) };
        // A row that does not parse is a row that is not there.
        let (Ok(diff_id), Ok(chain_id), Ok(size)) =
            (diff_id.parse(), chain_id.parse(), u64::try_from(size))
        else {
            return Ok(None);
        };
        Ok(Some(Step { diff_id, chain_id, size, created }))
    }

    pub(crate) fn remember(&self, key: &Digest, step: &Step) -> Result<(), rusqlite::Error> {
        let db = self.db();
        let mut insert = db.prepare_cached(
            "INSERT OR REPLACE INTO steps (key, diff_id, chain_id, size, created) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let size = i64::try_from(step.size).unwrap_or(i64::MAX);
        let (diff_id, chain_id) = (step.diff_id.as_str(), step.chain_id.as_str());
        insert.execute(params![key.as_str(), diff_id, chain_id, size, step.created]).map(|_| ())
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
         CREATE TABLE IF NOT EXISTS steps (key TEXT PRIMARY KEY, diff_id TEXT NOT NULL,
             chain_id TEXT NOT NULL, size INTEGER NOT NULL, created TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS contents (key TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS files (context TEXT PRIMARY KEY, records BLOB NOT NULL) WITHOUT ROWID;
         PRAGMA user_version = {VERSION};
         COMMIT;"
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
    let path = path_of(root);
    if !path.exists() {
        return Ok(());
    }
    let failed = |source| CacheError::Database { path: path.clone(), source };
    let statements = "DELETE FROM steps; DELETE FROM contents; DELETE FROM files; VACUUM";
    Cache::open(root)?.db().execute_batch(statements).map_err(failed)
}

#[cfg(test)]
mod tests;
