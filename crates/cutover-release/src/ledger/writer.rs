//! [`Writer`]: the journal of one deployment, in the ledger.

use std::time::Duration;

use rusqlite::{Transaction, params};
use serde::Serialize;

use super::{Ledger, LedgerError, Owner, millis};
use crate::journal::{Entry, Journal, JournalError, Outcome, StepState};
use crate::plan::Plan;
use crate::step::{Action, Step, StepId};

/// Deployments of an app whose plans are kept: only the one under way needs its own, the others
/// are there to look into what went wrong.
pub const KEEP_PLANS: u64 = 20;
/// Deployments of an app whose single steps are kept.
pub const KEEP_STEPS: u64 = 200;

/// Records one deployment's execution.
#[derive(Debug)]
pub struct Writer<'l> {
    ledger: &'l mut Ledger,
    owner: Owner,
    app: String,
    deployment: u64,
    from: Option<u64>,
    to: Option<u64>,
    standby: Option<u64>,
}

impl<'l> Writer<'l> {
    pub(super) fn new(ledger: &'l mut Ledger, owner: Owner, plan: &Plan) -> Self {
        Self {
            ledger,
            owner,
            app: plan.app.clone(),
            deployment: plan.deployment,
            from: plan.from,
            to: plan.to,
            standby: plan.found.standby,
        }
    }
}

impl Journal for Writer<'_> {
    fn record(&mut self, entries: &[Entry<'_>]) -> Result<(), JournalError> {
        let Self { ledger, owner, app, deployment, from, to, standby } = self;
        let row = Rows { app, deployment: *deployment };
        let what = format!("record the progress of deployment {deployment} of `{app}`");
        // A switch forward leaves the release it left on standby; a switch back, what was there.
        let standby_after = |serving: Option<u64>| match serving {
            _ if from == to => *standby,
            serving if serving == *from => *standby,
            None => None,
            Some(_) => *from,
        };
        ledger
            .transact(*owner, &what, |tx| {
                entries.iter().try_for_each(|entry| row.write(tx, entry, &standby_after))
            })
            .map_err(|error| JournalError(error.into()))
    }
}

/// The deployment that rows belong to.
struct Rows<'a> {
    app: &'a str,
    deployment: u64,
}

impl Rows<'_> {
    fn write(
        &self,
        tx: &Transaction<'_>,
        entry: &Entry<'_>,
        standby: &dyn Fn(Option<u64>) -> Option<u64>,
    ) -> Result<(), LedgerError> {
        match *entry {
            Entry::Started { step, at } => self.started(tx, step, at),
            Entry::Finished { step, at, note } => {
                self.ended(tx, &step.id, (StepState::Finished, at), (note, None))?;
                self.take_effect(tx, &step.action, standby)
            }
            Entry::Failed { step, at, error, tolerated } => {
                let state = if tolerated { StepState::Tolerated } else { StepState::Failed };
                self.ended(tx, &step.id, (state, at), (None, Some(text(error)?)))
            }
            Entry::Reverting { failure, .. } => {
                let sql = "UPDATE deployments SET reverting = ?3 WHERE app = ?1 AND number = ?2";
                self.run(tx, sql, params![self.app, self.deployment, text(failure)?])
            }
            Entry::Ended { at, outcome } => self.outcome(tx, outcome, at),
        }
    }

    fn started(&self, tx: &Transaction<'_>, step: &Step, at: Duration) -> Result<(), LedgerError> {
        let sql = "INSERT INTO steps (app, deployment, id, action, state, started_at)
                   VALUES (?1, ?2, ?3, ?4, 'started', ?5)
                   ON CONFLICT (app, deployment, id)
                   DO UPDATE SET state = 'started', ended_at = NULL, note = NULL, error = NULL";
        let action = text(&step.action)?;
        self.run(tx, sql, params![self.app, self.deployment, step.id.0, action, millis(at)])
    }

    fn ended(
        &self,
        tx: &Transaction<'_>,
        step: &StepId,
        (state, at): (StepState, Duration),
        (note, error): (Option<&str>, Option<String>),
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE steps SET state = ?4, ended_at = ?5, note = ?6, error = ?7
                   WHERE app = ?1 AND deployment = ?2 AND id = ?3";
        let state = text(&state)?;
        let state = state.trim_matches('"');
        let values = params![self.app, self.deployment, step.0, state, millis(at), note, error];
        self.run(tx, sql, values)
    }

    /// What a finished action changes in the ledger itself.
    fn take_effect(
        &self,
        tx: &Transaction<'_>,
        action: &Action,
        standby: &dyn Fn(Option<u64>) -> Option<u64>,
    ) -> Result<(), LedgerError> {
        match action {
            Action::Switch { release, .. } => {
                let sql = "UPDATE apps SET serving = ?2, standby = ?3 WHERE name = ?1";
                self.run(tx, sql, params![self.app, release, standby(*release)])?;
                if release.is_some() {
                    return Ok(());
                }
                // Down: what comes up next may find its volumes empty.
                self.run(tx, "DELETE FROM hooks_done WHERE app = ?1", params![self.app])
            }
            Action::RunHook { key: Some(key), .. } | Action::AwaitCompleted { key, .. } => {
                let sql = "INSERT INTO hooks_done (app, key) VALUES (?1, ?2)
                           ON CONFLICT DO NOTHING";
                self.run(tx, sql, params![self.app, key.as_str()])
            }
            Action::Collect { releases } => releases.iter().try_for_each(|number| {
                let sql = "DELETE FROM releases WHERE app = ?1 AND number = ?2";
                self.run(tx, sql, params![self.app, number])
            }),
            _ => Ok(()),
        }
    }

    fn outcome(
        &self,
        tx: &Transaction<'_>,
        outcome: &Outcome,
        at: Duration,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE deployments SET ended_at = ?3, outcome = ?4
                   WHERE app = ?1 AND number = ?2";
        self.run(tx, sql, params![self.app, self.deployment, millis(at), text(outcome)?])?;
        self.forget_old(tx)
    }

    /// Bounds what a deployment leaves for good: its row, with who, why and how it ended. All of them
    /// but this one have ended, so nobody needs their plans to go on with.
    fn forget_old(&self, tx: &Transaction<'_>) -> Result<(), LedgerError> {
        let before = |kept: u64| self.deployment.saturating_sub(kept);
        let sql = "UPDATE deployments SET plan = ''
                   WHERE app = ?1 AND number <= ?2 AND plan <> '' AND ended_at IS NOT NULL";
        self.run(tx, sql, params![self.app, before(KEEP_PLANS)])?;
        let sql = "DELETE FROM steps WHERE app = ?1 AND deployment <= ?2";
        self.run(tx, sql, params![self.app, before(KEEP_STEPS)])
    }

    fn run(
        &self,
        tx: &Transaction<'_>,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<(), LedgerError> {
        let what = || format!("record deployment {} of `{}`", self.deployment, self.app);
        tx.prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(|_| ())
            .map_err(LedgerError::write(what()))
    }
}

fn text<T: Serialize>(value: &T) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(LedgerError::damaged("an entry"))
}
