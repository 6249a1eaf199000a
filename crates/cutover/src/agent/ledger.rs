//! The agent's hold on the ledger: one writer a machine, many readers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cutover_core::Digest;
use cutover_release::facts::{InstanceId, Observed};
use cutover_release::ledger::{App, Ledger, Owner, Taint};
use cutover_runtime::container::Summary;

use crate::clock;
use crate::failure::{Context, Kind, Outcome};
use crate::paths::Paths;

/// Where the ledger is.
pub(crate) fn path(paths: &Paths) -> PathBuf {
    paths.root.join("ledger.db")
}

/// For commands that only read: `None` when nothing was ever deployed here.
pub(crate) fn open_existing(paths: &Paths) -> Outcome<Option<Ledger>> {
    let path = path(paths);
    match path.exists() {
        false => Ok(None),
        true => Ok(Some(Ledger::open(&path).or_fail(Kind::Internal, "open the ledger")?)),
    }
}

/// The versions of secrets and configs that a kept release names: every app's serving release, its
/// standby and the one that is being deployed are among those.
pub(crate) fn secret_versions(paths: &Paths) -> Outcome<BTreeSet<Digest>> {
    let mut versions = BTreeSet::new();
    let Some(ledger) = open_existing(paths)? else { return Ok(versions) };
    for app in ledger.apps()? {
        for release in ledger.releases(&app.name)?.into_values() {
            for sealed in release.services.into_values() {
                versions.extend(sealed.secret_versions.into_values());
                versions.extend(sealed.config_versions.into_values());
            }
        }
    }
    Ok(versions)
}

/// The release that a rollback would bring back fast: the one before, if instances of it wait.
pub(crate) fn standby(
    paths: &Paths,
    ledger: &Ledger,
    app: &App,
    containers: &[Summary],
) -> Outcome<Option<u64>> {
    let instances = super::machine::instances(&app.name, containers);
    let routes = super::routes::load(&paths.root, &app.name)?;
    let facts = ledger.facts(&app.name, Observed { instances, routes, ..Observed::default() })?;
    Ok(app.standby.filter(|_| !facts.waiting_instances().is_empty()))
}

/// The ledger as the agent has it: it alone may write.
#[derive(Debug)]
pub(crate) struct SharedLedger {
    paths: Paths,
    pub(crate) owner: Owner,
    ledger: Mutex<Ledger>,
}

impl SharedLedger {
    /// Becomes the ledger's writer.
    pub(crate) fn take_over(paths: &Paths) -> Outcome<Self> {
        let doing = "open the ledger";
        let mut ledger = Ledger::open(&path(paths)).or_fail(Kind::Internal, doing)?;
        let name = format!("agent pid {}", std::process::id());
        let owner = ledger
            .take_over(&name, clock::since_epoch())
            .or_fail(Kind::Internal, "take over the ledger")?;
        Ok(Self { paths: paths.clone(), owner, ledger: Mutex::new(ledger) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of one's own, for a thread that writes for long.
    pub(crate) fn another(&self) -> Outcome<Ledger> {
        Ledger::open(&path(&self.paths)).or_fail(Kind::Internal, "open the ledger")
    }

    pub(crate) fn taint(&self, app: &str, instance: &str, who: &str, command: &str) -> Outcome {
        let taint = Taint {
            instance: InstanceId(instance.to_owned()),
            who: who.to_owned(),
            command: command.to_owned(),
            at: clock::since_epoch(),
        };
        self.lock().taint(self.owner, app, &taint).or_fail(Kind::Internal, "record the taint")
    }
}
