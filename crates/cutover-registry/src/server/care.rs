//! The care of a registry's data: collect garbage, check, retain, roll back.
//!
//! An [`Order`] is carried out by the process that has the data open: the server, asked over its
//! control socket while it serves, or else the command itself. Nothing here stops pushes or pulls.

mod fsck;
mod gc;
mod retain;
mod rollback;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::control;
use super::history::{self, Entry};
use super::policy::Policy;
use super::refusal::Refusal;
use super::store::{Ambient, OpenError, Store};

pub use fsck::Damage;
pub use gc::Collected;
pub use rollback::Moved;

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// Remove what nothing uses and nobody was told of for `grace` seconds.
    Gc { grace: u64, untagged: bool, dry_run: bool },
    /// Hash everything again. `forget` takes damaged blobs away, so that the next push brings them.
    Fsck { forget: bool },
    /// What a repository's tags were, the newest first.
    History { repository: String, tag: Option<String>, count: usize },
    /// Make tags what they were right after an entry of the history.
    Rollback { repository: String, tag: Option<String>, to: i64, dry_run: bool },
    /// Take away all but the newest tags of the repositories that match a pattern.
    Retain { repositories: String, tags: String, keep: usize, dry_run: bool },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum Report {
    Collected(Collected),
    Checked { blobs: u64, manifests: u64, bytes: u64, damaged: Vec<Damage> },
    History { entries: Vec<Entry> },
    Moved { tags: Vec<Moved> },
    Failed { message: String },
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    #[error("cannot open the registry's data")]
    Open(#[from] OpenError),
    #[error("cannot ask the registry that uses `{path}`")]
    Ask { path: String, source: std::io::Error },
    #[error("{0}")]
    Failed(String),
}

/// Has an order carried out on a data directory, by the server if one runs there. `who` is written
/// into histories.
pub fn care(dir: &Path, order: &Order, who: &str, ambient: Ambient) -> Result<Report, CareError> {
    let report = match Store::open(dir, Policy::default(), ambient) {
        Ok((store, writer)) => {
            let store = Arc::new(store);
            let report = carry_out(&store, order, who);
            drop(store);
            drop(writer.join());
            report
        }
        Err(OpenError::Used { path }) => control::ask(dir, order, who)
            .map_err(|source| CareError::Ask { path: path.display().to_string(), source })?,
        Err(error) => return Err(error.into()),
    };
    match report {
        Report::Failed { message } => Err(CareError::Failed(message)),
        report => Ok(report),
    }
}

/// Carries out an order. Blocks.
pub(super) fn carry_out(store: &Arc<Store>, order: &Order, who: &str) -> Report {
    let by = store.by(&who.into());
    let done = match order {
        Order::Gc { grace, untagged, dry_run } => {
            let options = gc::Options { grace: *grace, untagged: *untagged, dry_run: *dry_run };
            gc::collect(store, options, &by).map(Report::Collected)
        }
        Order::Fsck { forget } => fsck::check(store, *forget),
        Order::History { repository, tag, count } => {
            let filter = history::Filter { tag: tag.as_deref(), before: None, count: *count };
            let read = store.readers.with(|db| history::read(db, repository, &filter));
            read.map(|entries| Report::History { entries })
                .map_err(|error| Refusal::internal("read the history", &error))
        }
        Order::Rollback { repository, tag, to, dry_run } => {
            let wanted = rollback::Wanted { tag: tag.clone(), to: *to, dry_run: *dry_run };
            rollback::roll_back(store, repository, wanted, by).map(|tags| Report::Moved { tags })
        }
        Order::Retain { repositories, tags, keep, dry_run } => {
            let wanted = retain::Wanted { tags: tags.clone(), keep: *keep, dry_run: *dry_run };
            retain::retain(store, repositories, &wanted, &by).map(|tags| Report::Moved { tags })
        }
    };
    done.unwrap_or_else(|refusal| Report::Failed { message: refusal.message })
}
