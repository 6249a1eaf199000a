//! `store.db`: which images there are and which names point at them.
//!
//! SQLite in WAL mode with `synchronous=FULL`: a name that was reported as set survives a power
//! failure. What is on disk by digest (blobs, snapshots) is not repeated here: a table that says
//! the same as a directory is one more thing that can be wrong.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// The newest schema that this program writes; kept in `PRAGMA user_version`.
pub(crate) const VERSION: i64 = 2;

/// How long to wait for another process's write. Writes are one row; a longer wait means that
/// someone is stopped in the middle of one.
const BUSY: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    CREATE TABLE images (
        digest TEXT PRIMARY KEY,
        config TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX images_config ON images (config);
    CREATE TABLE refs (
        name TEXT PRIMARY KEY,
        digest TEXT NOT NULL REFERENCES images (digest)
    ) WITHOUT ROWID;
    CREATE INDEX refs_digest ON refs (digest);
";

/// What version 2 has besides: hints of [`crate::Transfers`].
const SCHEMA_2: &str = "
    CREATE TABLE compressed (
        diff_id TEXT NOT NULL,
        form TEXT NOT NULL,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        UNIQUE (diff_id, form)
    );
    CREATE TABLE sources (
        digest TEXT NOT NULL,
        registry TEXT NOT NULL,
        repository TEXT NOT NULL,
        UNIQUE (digest, registry, repository)
    );
";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("it has version {found}, this program knows up to {VERSION}: use a newer cutover")]
    Newer { found: i64 },
    #[error("the database refused")]
    Sqlite(#[from] rusqlite::Error),
}

pub(crate) fn open(path: &Path) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    match version(&db)? {
        VERSION => Ok(db),
        0 | 1 => {
            create(&mut db)?;
            Ok(db)
        }
        found => Err(DbError::Newer { found }),
    }
}

fn version(db: &Connection) -> Result<i64, rusqlite::Error> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Makes the tables that are missing; of several processes that come here at once the first does it.
fn create(db: &mut Connection) -> Result<(), DbError> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match version(&transaction)? {
        found @ (0 | 1) => {
            if found == 0 {
                transaction.execute_batch(SCHEMA)?;
            }
            transaction.execute_batch(SCHEMA_2)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        VERSION => {}
        found => return Err(DbError::Newer { found }),
    }
    transaction.commit()?;
    Ok(())
}
