//! What each step of the last build looked like: enough to say what changed, and no more.
//!
//! One record per place (context, Dockerfile, platform, stage and number of the step), replaced by
//! each build; lists of files by their digest, as long as a record names them.

use cutover_core::Digest;
use rusqlite::{OptionalExtension as _, params};

use super::Cache;
use crate::explain::Listing;
use crate::inputs::{Input, Sort};

/// A step as it was in the last build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) stage: String,
    pub(crate) position: usize,
    /// The instruction as it was written.
    pub(crate) text: String,
    pub(crate) key: String,
    pub(crate) inputs: Vec<Input>,
}

/// Places that are remembered at most; the oldest are forgotten first.
const MAX_RECORDS: usize = 5000;

pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS records (project TEXT NOT NULL, stage TEXT NOT NULL,
        position INTEGER NOT NULL, text TEXT NOT NULL, key TEXT NOT NULL, inputs TEXT NOT NULL,
        at INTEGER NOT NULL, PRIMARY KEY (project, stage, position)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS records_text ON records (text, at);
    CREATE TABLE IF NOT EXISTS listings (digest TEXT PRIMARY KEY, files BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS salt (salt TEXT NOT NULL);
    INSERT INTO salt SELECT hex(randomblob(32)) WHERE NOT EXISTS (SELECT * FROM salt);";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Record>> {
    let (stage, position): (String, i64) = (row.get(0)?, row.get(1)?);
    let (text, key, inputs): (String, String, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
    // A row that does not parse is a row that is not there.
    let parse = || {
        let inputs = serde_json::from_str(&inputs).ok()?;
        Some(Record { stage, position: usize::try_from(position).ok()?, text, key, inputs })
    };
    Ok(parse())
}

impl Cache {
    /// Text that digests of secret values are made with: of this database alone.
    pub(crate) fn salt(&self) -> Result<String, rusqlite::Error> {
        self.db().query_row("SELECT salt FROM salt", [], |row| row.get(0))
    }

    /// What is remembered of a project.
    pub(crate) fn records(&self, project: &str) -> Result<Vec<Record>, rusqlite::Error> {
        let db = self.db();
        let mut query = db
            .prepare("SELECT stage, position, text, key, inputs FROM records WHERE project = ?1")?;
        let rows = query.query_map([project], read)?.collect::<Result<Vec<_>, _>>()?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// The youngest record of any project with this text.
    pub(crate) fn record_elsewhere(&self, text: &str) -> Result<Option<Record>, rusqlite::Error> {
        let db = self.db();
        let mut query = db.prepare(
            "SELECT stage, position, text, key, inputs FROM records WHERE text = ?1
             ORDER BY at DESC LIMIT 1",
        )?;
        Ok(query.query_row([text], read).optional()?.flatten())
    }

    /// Replaces the records of the stages that `records` are of. `at` is the time of the build.
    pub(crate) fn save_records(
        &self,
        project: &str,
        records: &[Record],
        at: i64,
    ) -> Result<(), rusqlite::Error> {
        let mut db = self.db();
        let change = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for record in records {
            let position = i64::try_from(record.position).unwrap_or(i64::MAX);
            let inputs = serde_json::to_string(&record.inputs).unwrap_or_default();
            change
                .prepare_cached("INSERT OR REPLACE INTO records VALUES (?1,?2,?3,?4,?5,?6,?7)")?
                .execute(params![
                    project,
                    record.stage,
                    position,
                    record.text,
                    record.key,
                    inputs,
                    at
                ])?;
        }
        change.execute(
            "DELETE FROM records WHERE (project, stage, position) IN
             (SELECT project, stage, position FROM records ORDER BY at DESC LIMIT -1 OFFSET ?1)",
            [i64::try_from(MAX_RECORDS).unwrap_or(i64::MAX)],
        )?;
        change.commit()
    }

    pub(crate) fn has_listing(&self, digest: &Digest) -> Result<bool, rusqlite::Error> {
        let query = "SELECT 1 FROM listings WHERE digest = ?1";
        let db = self.db();
        let found = db.prepare_cached(query)?.exists([digest.as_str()])?;
        Ok(found)
    }

    pub(crate) fn remember_listing(
        &self,
        digest: &Digest,
        listing: &Listing,
    ) -> Result<(), rusqlite::Error> {
        let Ok(bytes) = listing.encode() else { return Ok(()) };
        let insert = "INSERT OR REPLACE INTO listings VALUES (?1, ?2)";
        self.db().execute(insert, params![digest.as_str(), bytes]).map(|_| ())
    }

    pub(crate) fn listing(&self, digest: &str) -> Option<Listing> {
        let query = "SELECT files FROM listings WHERE digest = ?1";
        let bytes: Vec<u8> = self.db().query_row(query, [digest], |row| row.get(0)).ok()?;
        Listing::decode(&bytes)
    }

    /// Forgets lists that no record names.
    pub(crate) fn forget_listings(&self) -> Result<(), rusqlite::Error> {
        let db = self.db();
        let mut query = db.prepare("SELECT inputs FROM records")?;
        let texts = query.query_map([], |row| row.get::<_, String>(0))?;
        let mut named = std::collections::BTreeSet::new();
        for text in texts {
            let inputs: Vec<Input> = serde_json::from_str(&text?).unwrap_or_default();
            let files = inputs.into_iter().filter(|input| input.sort == Sort::Files);
            named.extend(files.map(|input| input.value));
        }
        let mut query = db.prepare("SELECT digest FROM listings")?;
        let all = query.query_map([], |row| row.get::<_, String>(0))?;
        for digest in all.collect::<Result<Vec<_>, _>>()? {
            if !named.contains(&digest) {
                db.execute("DELETE FROM listings WHERE digest = ?1", [digest])?;
            }
        }
        Ok(())
    }
}
