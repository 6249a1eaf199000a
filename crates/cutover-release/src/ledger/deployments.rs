//! Deployments: begun once, at most one active per app, read back whole after a crash.

use std::time::Duration;

use cutover_core::release::Release;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;

use super::{Ledger, LedgerError, Owner, Writer, from_millis, millis};
use crate::facts::Kind;
use crate::journal::{Outcome, Progress, StepRecord, StepState};
use crate::plan::Plan;
use crate::step::{Action, StepId};

/// A deployment about to start.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    pub plan: &'a Plan,
    /// The release that it moves to, if it may be new: kept, and its number taken, together with
    /// the deployment's. One that is never begun takes none.
    pub release: Option<&'a Release>,
    /// Who asked, e.g. `root@fra1`.
    pub who: &'a str,
    /// Why, in the user's words; may be empty.
    pub reason: &'a str,
    pub at: Duration,
}

/// A deployment as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentRecord {
    pub app: String,
    pub number: u64,
    pub kind: Kind,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub who: String,
    pub reason: String,
    pub started: Duration,
    /// `None`: it is under way, or waits for a restart to be resumed.
    pub ended: Option<Duration>,
    pub outcome: Option<Outcome>,
}

/// A step that was begun, in the order of its beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    pub id: StepId,
    pub action: Action,
    pub record: StepRecord,
}

const COLUMNS: &str =
    "app, number, kind, from_release, to_release, who, reason, started_at, ended_at, outcome";

impl Ledger {
    /// The number that the app's next deployment will have.
    pub fn next_deployment(&self, app: &str) -> Result<u64, LedgerError> {
        let last: Option<u64> = self
            .conn
            .query_row("SELECT last_deployment FROM apps WHERE name = ?1", [app], |row| row.get(0))
            .optional()
            .map_err(LedgerError::read(format!("look up app `{app}`")))?;
        Ok(last.unwrap_or(0) + 1)
    }

    /// Records the start of a deployment. Refused while another of the same app is under way, and
    /// when the plan was made before another one: its facts are old.
    pub fn begin(&mut self, owner: Owner, begin: &Begin<'_>) -> Result<(), LedgerError> {
        let plan = begin.plan;
        let app = plan.app.as_str();
        if let Some(active) = self.active(app)? {
            return Err(LedgerError::Busy {
                app: active.app,
                number: active.number,
                kind: active.kind.word(),
                who: active.who,
            });
        }
        let next = self.next_deployment(app)?;
        if next != plan.deployment {
            return Err(LedgerError::Stale { app: app.to_owned(), planned: plan.deployment, next });
        }
        let what = format!("record deployment {next} of `{app}`");
        let text = serde_json::to_string(plan).map_err(LedgerError::damaged(what.as_str()))?;
        self.transact(owner, &what, |tx| {
            let writing = || LedgerError::write(what.as_str());
            tx.execute(
                "INSERT INTO apps (name, last_deployment) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET last_deployment = excluded.last_deployment",
                params![app, next],
            )
            .map_err(writing())?;
            if let Some(release) = begin.release {
                super::releases::keep(tx, release, (begin.who, begin.at))?;
            }
            tx.execute(
                "INSERT INTO deployments
                 (app, number, kind, from_release, to_release, who, reason, plan, started_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    app,
                    next,
                    plan.kind.word(),
                    plan.from,
                    plan.to,
                    begin.who,
                    begin.reason,
                    text,
                    millis(begin.at)
                ],
            )
            .map(|_| ())
            .map_err(writing())
        })
    }

    /// Where the execution of a deployment is recorded.
    pub fn writer<'l>(&'l mut self, owner: Owner, plan: &Plan) -> Writer<'l> {
        Writer::new(self, owner, plan)
    }

    /// The deployment of the app that has not ended.
    pub fn active(&self, app: &str) -> Result<Option<DeploymentRecord>, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM deployments WHERE app = ?1 AND ended_at IS NULL");
        self.conn
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([app], record).optional())
            .map_err(LedgerError::read(format!("look up the deployment of `{app}`")))
    }

    /// Deployments of the app, newest first.
    pub fn deployments(
        &self,
        app: &str,
        limit: usize,
    ) -> Result<Vec<DeploymentRecord>, LedgerError> {
        let reading = || LedgerError::read(format!("list the deployments of `{app}`"));
        let sql = format!(
            "SELECT {COLUMNS} FROM deployments WHERE app = ?1 ORDER BY number DESC LIMIT ?2"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.conn.prepare_cached(&sql).map_err(reading())?;
        let rows = statement.query_map(params![app, limit], record).map_err(reading())?;
        rows.collect::<Result<_, _>>().map_err(reading())
    }

    /// The highest generation of any switch that was begun.
    pub(super) fn last_generation(&self, app: &str) -> Result<u64, LedgerError> {
        let sql = "SELECT max(json_extract(action, '$.generation')) FROM steps
                   WHERE app = ?1 AND json_extract(action, '$.do') = 'switch'";
        let last: Option<u64> = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([app], |row| row.get(0)))
            .map_err(LedgerError::read(format!("read the switches of `{app}`")))?;
        Ok(last.unwrap_or(0))
    }

    pub fn deployment(&self, app: &str, number: u64) -> Result<DeploymentRecord, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM deployments WHERE app = ?1 AND number = ?2");
        self.conn
            .prepare_cached(&sql)
            .and_then(|mut it| it.query_row(params![app, number], record).optional())
            .map_err(LedgerError::read(format!("read deployment {number} of `{app}`")))?
            .ok_or_else(|| LedgerError::NoDeployment { app: app.to_owned(), number })
    }

    /// What a deployment decided and how far it got: what resuming it needs.
    pub fn attempt(&self, app: &str, number: u64) -> Result<(Plan, Progress), LedgerError> {
        let what = || format!("read deployment {number} of `{app}`");
        let (plan, reverting): (String, Option<String>) = self
            .conn
            .query_row(
                "SELECT plan, reverting FROM deployments WHERE app = ?1 AND number = ?2",
                params![app, number],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(LedgerError::read(what()))?
            .ok_or_else(|| LedgerError::NoDeployment { app: app.to_owned(), number })?;
        if plan.is_empty() {
            return Err(LedgerError::NoPlan { app: app.to_owned(), number });
        }
        let damaged = || LedgerError::damaged(format!("deployment {number} of `{app}`"));
        let plan: Plan = serde_json::from_str(&plan).map_err(damaged())?;
        let reverting =
            reverting.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged())?;
        let rows = self.steps(app, number)?;
        let steps = rows.into_iter().map(|row| (row.id, row.record)).collect();
        Ok((plan, Progress { steps, reverting }))
    }

    /// The steps of a deployment that were begun, in that order.
    pub fn steps(&self, app: &str, number: u64) -> Result<Vec<StepRow>, LedgerError> {
        let reading = || LedgerError::read(format!("read the steps of deployment {number}"));
        let sql = "SELECT id, action, state, started_at, ended_at, note, error FROM steps
                   WHERE app = ?1 AND deployment = ?2 ORDER BY rowid";
        let mut statement = self.conn.prepare_cached(sql).map_err(reading())?;
        let rows = statement.query_map(params![app, number], step).map_err(reading())?;
        rows.collect::<Result<_, _>>().map_err(reading())
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<DeploymentRecord> {
    let kind: String = row.get(2)?;
    let ended: Option<i64> = row.get(8)?;
    let outcome: Option<String> = row.get(9)?;
    Ok(DeploymentRecord {
        app: row.get(0)?,
        number: row.get(1)?,
        kind: json(2, &format!("\"{kind}\""))?,
        from: row.get(3)?,
        to: row.get(4)?,
        who: row.get(5)?,
        reason: row.get(6)?,
        started: from_millis(row.get(7)?),
        ended: ended.map(from_millis),
        outcome: outcome.map(|text| json(9, &text)).transpose()?,
    })
}

fn step(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    let (action, state): (String, String) = (row.get(1)?, row.get(2)?);
    let ended: Option<i64> = row.get(4)?;
    let error: Option<String> = row.get(6)?;
    let record = StepRecord {
        state: json::<StepState>(2, &format!("\"{state}\""))?,
        started: from_millis(row.get(3)?),
        ended: ended.map(from_millis),
        note: row.get(5)?,
        error: error.map(|text| json(6, &text)).transpose()?,
    };
    Ok(StepRow { id: StepId(row.get(0)?), action: json(1, &action)?, record })
}

fn json<T: DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}
