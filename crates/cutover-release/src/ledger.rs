//! [`Ledger`]: the append-only record of apps, releases, deployments and their steps.
//!
//! One SQLite file, WAL, `synchronous = FULL`: what a call recorded survives a power cut when the
//! call has returned. Sealed releases are kept as the bytes that were sealed and are checked
//! against their digest when read. The file holds resolved environments and is readable by its
//! owner only; it never holds a secret's contents.
//!
//! Invariants, kept by the database itself or inside one transaction:
//! - **one writer**: every write names its [`Owner`]; one that was taken over is refused
//!   ([`LedgerError::Fenced`]), so a stale executor cannot write and no lock outlives its owner;
//! - **one active deployment per app** (a unique index);
//! - numbers of releases and deployments are never used twice, also after a collection;
//! - which release serves changes in the same transaction that finishes the switch;
//! - a file of a newer format is refused.

mod deployments;
mod error;
mod releases;
mod schema;
mod taints;
mod writer;

pub use deployments::{Begin, DeploymentRecord, StepRow};
pub use error::LedgerError;
pub use releases::ReleaseRecord;
pub use taints::Taint;
pub use writer::{KEEP_PLANS, KEEP_STEPS, Writer};

use std::path::Path;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::facts::{Facts, Observed};

/// The record. One per machine; opened by the agent, and read by anyone who may.
#[derive(Debug)]
pub struct Ledger {
    conn: Connection,
}

/// The right to write, until someone else takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub generation: u64,
}

/// An app that was deployed at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    pub name: String,
    /// `None`: it is down.
    pub serving: Option<u64>,
    /// The release that served before and may still have instances waiting.
    pub standby: Option<u64>,
}

// === impl Ledger ===

impl Ledger {
    /// Opens the ledger at `path`, making it when it is not there. A damaged file or one of a
    /// newer format is refused.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError::Open {
            path: path.to_owned(),
            source,
        };
        // Made here and not by SQLite, so that nobody else can read it; its -wal and -shm files
        // inherit the mode. One that exists must not be opened here: closing it again would drop
        // the POSIX locks of every connection that this process has (fcntl(2)), and another
        // process would take the write-ahead log for abandoned.
        // The same holds for the fresh file: it is closed before SQLite opens it.
        match fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(fresh) => drop(fresh),
            Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed(source.into())),
        }
        let mut conn = Connection::open(path).map_err(|source| failed(source.into()))?;
        schema::prepare(&mut conn, path)?;
        Ok(Self { conn })
    }

    /// A ledger that ends with the process: for tests and dry runs.
    pub fn in_memory() -> Result<Self, LedgerError> {
        let path = Path::new(":memory:");
        let mut conn = Connection::open_in_memory()
            .map_err(|source| LedgerError::Open { path: path.to_owned(), source: source.into() })?;
        schema::prepare(&mut conn, path)?;
        Ok(Self { conn })
    }

    /// Becomes the writer. Whoever was it before is refused from now on, in the middle of
    /// whatever they do. `name` says who for [`LedgerError::Fenced`], e.g. `agent pid 4711`.
    pub fn take_over(&mut self, name: &str, at: Duration) -> Result<Owner, LedgerError> {
        let writing = LedgerError::write("take over the ledger");
        let generation = self
            .conn
            .query_row(
                "INSERT INTO owner (id, generation, name, since) VALUES (1, 1, ?1, ?2)
                 ON CONFLICT (id) DO UPDATE
                 SET generation = generation + 1, name = excluded.name, since = excluded.since
                 RETURNING generation",
                params![name, millis(at)],
                |row| row.get::<_, i64>(0),
            )
            .map_err(writing)?;
        Ok(Owner { generation: generation.cast_unsigned() })
    }

    pub fn apps(&self) -> Result<Vec<App>, LedgerError> {
        let reading = || LedgerError::read("list the apps");
        let sql = "SELECT name, serving, standby FROM apps ORDER BY name";
        let mut statement = self.conn.prepare_cached(sql).map_err(reading())?;
        let rows = statement
            .query_map([], |row| {
                Ok(App { name: row.get(0)?, serving: row.get(1)?, standby: row.get(2)? })
            })
            .map_err(reading())?;
        rows.collect::<Result<_, _>>().map_err(reading())
    }

    pub fn app(&self, name: &str) -> Result<Option<App>, LedgerError> {
        self.conn
            .prepare_cached("SELECT name, serving, standby FROM apps WHERE name = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([name], |row| {
                        Ok(App { name: row.get(0)?, serving: row.get(1)?, standby: row.get(2)? })
                    })
                    .optional()
            })
            .map_err(LedgerError::read(format!("look up app `{name}`")))
    }

    /// What the ledger knows, joined with what the machine says: everything a plan needs.
    ///
    /// The generation is at least that of every switch that was begun: the proxy may have
    /// acknowledged one that left it no service to remember it by.
    pub fn facts(&self, app: &str, mut observed: Observed) -> Result<Facts, LedgerError> {
        let known = self.app(app)?;
        let begun = self.last_generation(app)?;
        observed.routes.generation = observed.routes.generation.max(begun);
        Ok(Facts {
            app: app.to_owned(),
            observed,
            serving: known.as_ref().and_then(|app| app.serving),
            standby: known.as_ref().and_then(|app| app.standby),
            releases: self.releases(app)?,
            hooks_done: self.hooks_done(app)?,
        })
    }

    /// Runs `act` in one transaction of `owner`; nothing of it stays when it fails.
    fn transact<T>(
        &mut self,
        owner: Owner,
        what: &str,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let writing = || LedgerError::write(what);
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(writing())?;
        fence(&tx, owner)?;
        let value = act(&tx)?;
        tx.commit().map_err(writing())?;
        Ok(value)
    }
}

/// Refuses an owner that was taken over.
fn fence(tx: &Transaction<'_>, owner: Owner) -> Result<(), LedgerError> {
    let (generation, name): (i64, String) = tx
        .query_row("SELECT generation, name FROM owner", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(LedgerError::read("look up the ledger's owner"))?;
    if generation.cast_unsigned() == owner.generation {
        return Ok(());
    }
    Err(LedgerError::Fenced { by: name })
}

/// Times are stored in milliseconds since 1970.
fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn from_millis(time: i64) -> Duration {
    Duration::from_millis(u64::try_from(time).unwrap_or(0))
}
