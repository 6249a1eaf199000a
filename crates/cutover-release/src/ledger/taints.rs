//! Taints: who ran what in which instance. Kept after the instance is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::params;

use super::{Ledger, LedgerError, Owner, from_millis, millis};
use crate::facts::InstanceId;

/// One `exec` into an instance of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    pub instance: InstanceId,
    pub who: String,
    /// As typed; shown to people.
    pub command: String,
    pub at: Duration,
}

impl Ledger {
    /// Records, before it happens, that someone changes an instance.
    pub fn taint(&mut self, owner: Owner, app: &str, taint: &Taint) -> Result<(), LedgerError> {
        let what = format!("record a taint of `{}`", taint.instance);
        self.transact(owner, &what, |tx| {
            tx.execute(
                "INSERT INTO taints (app, instance, who, command, at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![app, taint.instance.0, taint.who, taint.command, millis(taint.at)],
            )
            .map(|_| ())
            .map_err(LedgerError::write(what.as_str()))
        })
    }

    /// Every taint of the app, oldest first.
    pub fn taints(&self, app: &str) -> Result<Vec<Taint>, LedgerError> {
        let reading = || LedgerError::read(format!("read the taints of `{app}`"));
        let sql = "SELECT instance, who, command, at FROM taints WHERE app = ?1 ORDER BY rowid";
        let mut statement = self.conn.prepare_cached(sql).map_err(reading())?;
        let rows = statement
            .query_map([app], |row| {
                Ok(Taint {
                    instance: InstanceId(row.get(0)?),
                    who: row.get(1)?,
                    command: row.get(2)?,
                    at: from_millis(row.get(3)?),
                })
            })
            .map_err(reading())?;
        rows.collect::<Result<_, _>>().map_err(reading())
    }

    /// The instances that are not what they were started as.
    pub fn tainted(&self, app: &str) -> Result<BTreeSet<InstanceId>, LedgerError> {
        Ok(self.taints(app)?.into_iter().map(|taint| taint.instance).collect())
    }
}
