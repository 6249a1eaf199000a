//! Sealed releases: numbered once, kept as sealed, found again by number or digest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_core::Digest;
use cutover_core::release::{Release, SealedService, seal};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::{Ledger, LedgerError, Owner, from_millis, millis};
use crate::facts::Releases;

/// A kept release, without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRecord {
    pub number: u64,
    pub digest: Digest,
    pub sealed_at: Duration,
    pub who: String,
}

impl Ledger {
    /// Seals `services` under the app's next number and keeps them. When a kept release has the
    /// very same contents, that one is returned and no number is used: sealing the same wish
    /// twice, or again after a crash, is one release.
    pub fn seal(
        &mut self,
        owner: Owner,
        app: &str,
        services: BTreeMap<String, SealedService>,
        (who, at): (&str, Duration),
    ) -> Result<Release, LedgerError> {
        let what = format!("keep a release of `{app}`");
        self.transact(owner, &what, |tx| {
            let writing = || LedgerError::write(what.as_str());
            tx.execute("INSERT INTO apps (name) VALUES (?1) ON CONFLICT DO NOTHING", [app])
                .map_err(writing())?;
            let last: u64 = tx
                .query_row("SELECT last_release FROM apps WHERE name = ?1", [app], |row| row.get(0))
                .map_err(writing())?;
            let release = seal(app, last + 1, services);
            if let Some(kept) = by_digest(tx, app, &release.digest)? {
                return Ok(kept);
            }
            keep(tx, &release, (who, at))?;
            Ok(release)
        })
    }

    /// What [`Ledger::seal`] would return, without keeping anything: to plan with, and to be kept
    /// by [`Ledger::begin`].
    pub fn would_seal(
        &self,
        app: &str,
        services: BTreeMap<String, SealedService>,
    ) -> Result<Release, LedgerError> {
        let last: Option<u64> = self
            .conn
            .query_row("SELECT last_release FROM apps WHERE name = ?1", [app], |row| row.get(0))
            .optional()
            .map_err(LedgerError::read(format!("look up app `{app}`")))?;
        let release = seal(app, last.unwrap_or(0) + 1, services);
        let tx = self
            .conn
            .unchecked_transaction()
            .map_err(LedgerError::read(format!("look up app `{app}`")))?;
        Ok(by_digest(&tx, app, &release.digest)?.unwrap_or(release))
    }

    /// Every kept release of the app, each checked against its digest.
    pub fn releases(&self, app: &str) -> Result<Releases, LedgerError> {
        let reading = || LedgerError::read(format!("read the releases of `{app}`"));
        let mut statement = self
            .conn
            .prepare_cached("SELECT number, sealed FROM releases WHERE app = ?1 ORDER BY number")
            .map_err(reading())?;
        let rows = statement
            .query_map([app], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .map_err(reading())?;
        let mut releases = Releases::new();
        for row in rows {
            let (number, bytes) = row.map_err(reading())?;
            releases.insert(number, unseal(app, number, &bytes)?);
        }
        Ok(releases)
    }

    pub fn release(&self, app: &str, number: u64) -> Result<Release, LedgerError> {
        let bytes: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT sealed FROM releases WHERE app = ?1 AND number = ?2")
            .and_then(|mut it| it.query_row(params![app, number], |row| row.get(0)).optional())
            .map_err(LedgerError::read(format!("read release {number} of `{app}`")))?;
        match bytes {
            Some(bytes) => unseal(app, number, &bytes),
            None => Err(LedgerError::NoRelease { app: app.to_owned(), number }),
        }
    }

    /// Kept releases of the app, newest first.
    pub fn release_records(&self, app: &str) -> Result<Vec<ReleaseRecord>, LedgerError> {
        let reading = || LedgerError::read(format!("list the releases of `{app}`"));
        let sql = "SELECT number, digest, sealed_at, who FROM releases WHERE app = ?1
                   ORDER BY number DESC";
        let mut statement = self.conn.prepare_cached(sql).map_err(reading())?;
        let rows = statement.query_map([app], record).map_err(reading())?;
        rows.collect::<Result<_, _>>().map_err(reading())
    }

    pub(super) fn hooks_done(&self, app: &str) -> Result<BTreeSet<Digest>, LedgerError> {
        let reading = || LedgerError::read(format!("read the finished hooks of `{app}`"));
        let mut statement = self
            .conn
            .prepare_cached("SELECT key FROM hooks_done WHERE app = ?1")
            .map_err(reading())?;
        let rows = statement.query_map([app], |row| digest(row, 0)).map_err(reading())?;
        rows.collect::<Result<_, _>>().map_err(reading())
    }
}

/// Keeps `release` under its number, unless a kept one is the same.
pub(super) fn keep(
    tx: &Transaction<'_>,
    release: &Release,
    (who, at): (&str, Duration),
) -> Result<(), LedgerError> {
    let (app, number) = (release.app.as_str(), release.number);
    if by_digest(tx, app, &release.digest)?.is_some() {
        return Ok(());
    }
    let writing = || LedgerError::write(format!("keep release {number} of `{app}`"));
    let bytes = serde_json::to_vec(release)
        .map_err(LedgerError::damaged(format!("release {number} of `{app}`")))?;
    tx.execute(
        "INSERT INTO releases (app, number, digest, sealed, sealed_at, who)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![app, number, release.digest.as_str(), bytes, millis(at), who],
    )
    .map_err(writing())?;
    tx.execute("UPDATE apps SET last_release = ?2 WHERE name = ?1", params![app, number])
        .map(|_| ())
        .map_err(writing())
}

fn by_digest(
    tx: &Transaction<'_>,
    app: &str,
    digest: &Digest,
) -> Result<Option<Release>, LedgerError> {
    let found: Option<(u64, Vec<u8>)> = tx
        .query_row(
            "SELECT number, sealed FROM releases WHERE app = ?1 AND digest = ?2",
            params![app, digest.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(LedgerError::read(format!("look up a release of `{app}`")))?;
    found.map(|(number, bytes)| unseal(app, number, &bytes)).transpose()
}

fn unseal(app: &str, number: u64, bytes: &[u8]) -> Result<Release, LedgerError> {
    let release: Release = serde_json::from_slice(bytes)
        .map_err(LedgerError::damaged(format!("release {number} of `{app}`")))?;
    if release.is_intact() && release.number == number && release.app == app {
        return Ok(release);
    }
    Err(LedgerError::Tampered { app: app.to_owned(), number, digest: release.digest })
}

fn record(row: &Row<'_>) -> rusqlite::Result<ReleaseRecord> {
    Ok(ReleaseRecord {
        number: row.get(0)?,
        digest: digest(row, 1)?,
        sealed_at: from_millis(row.get(2)?),
        who: row.get(3)?,
    })
}

fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}
