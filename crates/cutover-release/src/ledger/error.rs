//! [`LedgerError`]: one variant per operation that can fail.

use std::path::PathBuf;

use cutover_core::Digest;

use crate::facts::Kind;

/// Why the ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("open the ledger `{}`", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "ledger `{}` has format {found}, this version knows up to {known}: use a newer cutover",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{what}")]
    Read {
        what: String,
        #[source]
        source: rusqlite::Error,
    },
    #[error("{what}")]
    Write {
        what: String,
        #[source]
        source: rusqlite::Error,
    },
    #[error("{what} is damaged in the ledger")]
    Damaged {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("release {number} of `{app}` does not match its digest `{digest}`: it was changed")]
    Tampered { app: String, number: u64, digest: Digest },
    #[error("the ledger was taken over by {by}: this process may not write any more")]
    Fenced { by: String },
    #[error("deployment {number} of `{app}` ({kind}) is under way, started by {who}")]
    Busy { app: String, number: u64, kind: &'static str, who: String },
    #[error("the plan is for deployment {planned} of `{app}`, but {next} is next: plan again")]
    Stale { app: String, planned: u64, next: u64 },
    #[error("release {number} of `{app}` is not in the ledger")]
    NoRelease { app: String, number: u64 },
    #[error("deployment {number} of `{app}` is not in the ledger")]
    NoDeployment { app: String, number: u64 },
    #[error("the plan of deployment {number} of `{app}` is not kept any more")]
    NoPlan { app: String, number: u64 },
}

impl LedgerError {
    pub(super) fn read(what: impl Into<String>) -> impl FnOnce(rusqlite::Error) -> Self {
        let what = what.into();
        move |source| Self::Read { what, source }
    }

    pub(super) fn write(what: impl Into<String>) -> impl FnOnce(rusqlite::Error) -> Self {
        let what = what.into();
        move |source| Self::Write { what, source }
    }

    pub(super) fn damaged(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |source| Self::Damaged { what, source }
    }
}

impl Kind {
    /// One word, as the ledger and listings show it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Replace => "replace",
            Self::Repair => "repair",
            Self::Down => "down",
        }
    }
}
