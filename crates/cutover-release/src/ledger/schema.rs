//! The tables, and the steps from one format to the next.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::LedgerError;

/// Index + 1 is the format that a script leads to. Scripts that were released never change.
const MIGRATIONS: &[&str] = &[V1];

const V1: &str = "
CREATE TABLE owner (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    name TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;
INSERT INTO owner (id, generation, name, since) VALUES (1, 0, 'nobody', 0);
CREATE TABLE apps (
    name TEXT PRIMARY KEY,
    serving INTEGER,
    standby INTEGER,
    last_release INTEGER NOT NULL DEFAULT 0,
    last_deployment INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE releases (
    app TEXT NOT NULL REFERENCES apps (name),
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    sealed BLOB NOT NULL,
    sealed_at INTEGER NOT NULL,
    who TEXT NOT NULL,
    PRIMARY KEY (app, number),
    UNIQUE (app, digest)
) STRICT;
CREATE TABLE deployments (
    app TEXT NOT NULL REFERENCES apps (name),
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    from_release INTEGER,
    to_release INTEGER,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    plan TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    reverting TEXT,
    ended_at INTEGER,
    outcome TEXT,
    PRIMARY KEY (app, number)
) STRICT;
CREATE UNIQUE INDEX one_active_deployment ON deployments (app) WHERE ended_at IS NULL;
CREATE TABLE steps (
    app TEXT NOT NULL,
    deployment INTEGER NOT NULL,
    id TEXT NOT NULL,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    note TEXT,
    error TEXT,
    UNIQUE (app, deployment, id),
    FOREIGN KEY (app, deployment) REFERENCES deployments (app, number)
) STRICT;
CREATE TABLE hooks_done (
    app TEXT NOT NULL REFERENCES apps (name),
    key TEXT NOT NULL,
    PRIMARY KEY (app, key)
) STRICT;
CREATE TABLE taints (
    app TEXT NOT NULL,
    instance TEXT NOT NULL,
    who TEXT NOT NULL,
    command TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX taints_by_app ON taints (app, instance);
";

/// Sets the connection up and brings the tables to this version's format.
pub(super) fn prepare(conn: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = |source: rusqlite::Error| LedgerError::Open {
        path: path.to_owned(),
        source: source.into(),
    };
    conn.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    conn.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    let known = u32::try_from(MIGRATIONS.len()).expect("there are few formats");
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found: u32 = tx.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if found > known {
        return Err(LedgerError::Newer { path: path.to_owned(), found, known });
    }
    for script in &MIGRATIONS[found as usize..] {
        tx.execute_batch(script).map_err(failed)?;
    }
    if found != known {
        tx.pragma_update(None, "user_version", known).map_err(failed)?;
    }
    tx.commit().map_err(failed)
}
