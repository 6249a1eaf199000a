//! Where `rollback` goes. Pure.
//!
//! Without an argument: to the release that served well most recently, other than the one that
//! serves now, and that nobody has rolled back from since. So a second `rollback` goes one further
//! back and never forward again to what was just left; going forward is a wish of its own, by
//! number. A release served well when a deployment to it succeeded.

use cutover_core::release::Release;

use crate::facts::{Facts, Kind, Releases};
use crate::ledger::DeploymentRecord;

/// Why there is nothing to roll back to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    #[error("`{app}` is not deployed")]
    NotServing { app: String },
    #[error("release {release} of `{app}` is not kept{}", list(.kept))]
    NotKept { app: String, release: u64, kept: Vec<u64> },
    #[error("release {release} of `{app}` serves already")]
    Serving { app: String, release: u64 },
    #[error("release {release} of `{app}` is identical to release {serving}, which serves")]
    Identical { app: String, release: u64, serving: u64 },
    #[error("no earlier release of `{app}` served well{}", list(.kept))]
    NoEarlier { app: String, kept: Vec<u64>, newer: Option<u64> },
}

impl RollbackError {
    /// What to do instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotServing { .. } => Some("deploy it first with `cutover deploy`".to_owned()),
            Self::NoEarlier { newer: Some(newer), .. } => {
                Some(format!("`cutover rollback {newer}` goes forward again, to release {newer}"))
            }
            Self::NotKept { .. } | Self::NoEarlier { .. } | Self::Serving { .. } => {
                Some("see `cutover releases`".to_owned())
            }
            Self::Identical { .. } => None,
        }
    }
}

fn list(kept: &[u64]) -> String {
    if kept.is_empty() {
        return String::new();
    }
    let numbers: Vec<_> = kept.iter().map(ToString::to_string).collect();
    format!("; kept are {}", numbers.join(", "))
}

/// The release that a rollback moves to: `asked`, or the one described above. `history` is newest
/// first and should be whole.
pub fn choose(
    facts: &Facts,
    history: &[DeploymentRecord],
    asked: Option<u64>,
) -> Result<Release, RollbackError> {
    let app = || facts.app.clone();
    let releases = &facts.releases;
    let serving = facts.serving.ok_or_else(|| RollbackError::NotServing { app: app() })?;
    let kept = || releases.keys().copied().filter(|number| *number != serving).collect::<Vec<_>>();
    let release =
        match asked {
            Some(number) if number == serving => {
                return Err(RollbackError::Serving { app: app(), release: number });
            }
            Some(number) => releases.get(&number).ok_or_else(|| RollbackError::NotKept {
                app: app(),
                release: number,
                kept: kept(),
            })?,
            None => last_good(serving, releases, history).ok_or_else(|| {
                RollbackError::NoEarlier { app: app(), kept: kept(), newer: newer(facts, serving) }
            })?,
        };
    if releases.get(&serving).is_some_and(|current| current.digest == release.digest) {
        let release = release.number;
        return Err(RollbackError::Identical { app: app(), release, serving });
    }
    Ok(release.clone())
}

/// Where one came from who has gone back as far as possible: what waits, else the newest kept.
fn newer(facts: &Facts, serving: u64) -> Option<u64> {
    let is_newer = |number: &u64| *number > serving;
    let waits = facts.standby.filter(is_newer);
    waits.or_else(|| facts.releases.keys().copied().rfind(is_newer))
}

fn last_good<'r>(
    serving: u64,
    releases: &'r Releases,
    history: &[DeploymentRecord],
) -> Option<&'r Release> {
    let mut left = vec![serving];
    for deployment in history {
        let well = deployment.outcome.as_ref().is_some_and(|outcome| outcome.is_success());
        if !well {
            continue;
        }
        let to = deployment.to.filter(|number| !left.contains(number));
        if let Some(release) = to.and_then(|number| releases.get(&number)) {
            return Some(release);
        }
        // To a newer release by its number is a rollback in kind only.
        if deployment.kind == Kind::Rollback && deployment.to < deployment.from {
            left.extend(deployment.from);
        }
    }
    None
}
