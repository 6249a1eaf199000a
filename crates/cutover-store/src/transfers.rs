//! [`Transfers`]: what is known of blobs elsewhere, so that nothing is compressed or sent twice.
//!
//! Two tables of hints. A lost or wrong one costs time, never correctness: a registry is asked
//! before a blob is left out, and compares the digest of what it mounts.

use cutover_core::Digest;
use rusqlite::{TransactionBehavior, params};

use crate::compress::LayerForm;
use crate::images::ImageError;
use crate::store::Store;

/// Rows that each table keeps; the oldest go first.
const MAX_ROWS: i64 = 20_000;
/// Repositories that are worth trying for a mount.
const MAX_SOURCES: i64 = 3;

/// What one store knows of other places.
#[derive(Clone, Debug)]
pub struct Transfers {
    store: Store,
}

impl Transfers {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Digest and size of the uncompressed layer `diff_id` in `form`, if it was made before.
    pub fn compressed(
        &self,
        diff_id: &Digest,
        form: LayerForm,
    ) -> Result<Option<(Digest, u64)>, ImageError> {
        let db = self.store.db();
        let mut query = db.prepare_cached(
            "SELECT digest, size FROM compressed WHERE diff_id = ?1 AND form = ?2",
        )?;
        let mut rows = query.query(params![diff_id.as_str(), form.key()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (digest, size): (String, i64) = (row.get(0)?, row.get(1)?);
        // a row that cannot be read is as good as none
        Ok(digest.parse().ok().zip(u64::try_from(size).ok()))
    }

    /// Remembers what `diff_id` became in `form`.
    pub fn remember_compressed(
        &self,
        diff_id: &Digest,
        form: LayerForm,
        digest: &Digest,
        size: u64,
    ) -> Result<(), ImageError> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let mut db = self.store.db();
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT OR REPLACE INTO compressed (diff_id, form, digest, size) VALUES (?1, ?2, ?3, ?4)",
            params![diff_id.as_str(), form.key(), digest.as_str(), size],
        )?;
        transaction.execute(
            "DELETE FROM compressed WHERE rowid <= (SELECT max(rowid) FROM compressed) - ?1",
            [MAX_ROWS],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Repositories of `registry` that had the blob when we last saw them, newest first.
    pub fn sources(&self, blob: &Digest, registry: &str) -> Result<Vec<String>, ImageError> {
        let db = self.store.db();
        let mut query = db.prepare_cached(
            "SELECT repository FROM sources WHERE digest = ?1 AND registry = ?2
             ORDER BY rowid DESC LIMIT ?3",
        )?;
        let rows =
            query.query_map(params![blob.as_str(), registry, MAX_SOURCES], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Remembers that `repository` of `registry` has the blobs. Writes nothing that is known.
    pub fn remember_sources<'a>(
        &self,
        registry: &str,
        repository: &str,
        blobs: impl Iterator<Item = &'a Digest>,
    ) -> Result<(), ImageError> {
        let mut db = self.store.db();
        let mut new = Vec::new();
        {
            let mut known = db.prepare_cached(
                "SELECT 1 FROM sources WHERE digest = ?1 AND registry = ?2 AND repository = ?3",
            )?;
            for blob in blobs {
                if !known.exists(params![blob.as_str(), registry, repository])? {
                    new.push(blob);
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for blob in new {
            transaction.execute(
                "INSERT OR IGNORE INTO sources (digest, registry, repository) VALUES (?1, ?2, ?3)",
                params![blob.as_str(), registry, repository],
            )?;
        }
        transaction.execute(
            "DELETE FROM sources WHERE rowid <= (SELECT max(rowid) FROM sources) - ?1",
            [MAX_ROWS],
        )?;
        transaction.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers() {
        let dir = tempfile::tempdir().unwrap();
        let transfers = Store::open(dir.path()).unwrap().transfers();
        let (tar, blob) = (Digest::sha256(b"tar"), Digest::sha256(b"blob"));
        assert_eq!(transfers.compressed(&tar, LayerForm::ZSTD).unwrap(), None);
        transfers.remember_compressed(&tar, LayerForm::ZSTD, &blob, 7).unwrap();
        assert_eq!(transfers.compressed(&tar, LayerForm::ZSTD).unwrap(), Some((blob.clone(), 7)));
        assert_eq!(transfers.compressed(&tar, LayerForm::GZIP).unwrap(), None);
        for repository in ["a", "b", "a"] {
            transfers.remember_sources("r.io", repository, [&blob].into_iter()).unwrap();
        }
        assert_eq!(transfers.sources(&blob, "r.io").unwrap(), ["b", "a"]);
        assert!(transfers.sources(&blob, "other.io").unwrap().is_empty());
    }

    #[test]
    fn a_store_of_version_1_gets_the_tables() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let db = rusqlite::Connection::open(dir.path().join("store.db")).unwrap();
        db.execute_batch("DROP TABLE compressed; DROP TABLE sources; PRAGMA user_version = 1")
            .unwrap();
        drop(db);
        let transfers = Store::open(dir.path()).unwrap().transfers();
        assert!(transfers.sources(&Digest::sha256(b""), "r.io").unwrap().is_empty());
    }
}
