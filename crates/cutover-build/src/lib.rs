//! Dockerfile → image: `dockerfile` (what was written) → `graph` (what is needed) → `cache`
//! (what is known already) → `solve` (what is left to do).
//!
//! Owns: the Dockerfile language, `.dockerignore`, build cache keys and the build cache's database,
//! COPY/ADD, and the image config and history that a build leaves. Refuses: reading a clock or the
//! environment (both are in [`BuildOptions`] and [`World`]), talking to a registry (a [`Puller`]
//! does), starting processes (a [`Runner`] does). The reference is the observable result of
//! BuildKit: where its documentation and its behaviour differ, its behaviour wins.
//!
//! Invariants: a layer is the overlay's upper directory, never a rescan; a cache key is the digest
//! of everything a step can observe and of nothing else, so never a file time; nothing that a
//! killed build leaves is visible to another build or kept from gc.

pub mod attest;
mod cache;
mod caches;
pub mod call;
mod cancel;
mod checkout;
pub mod checks;
mod chmod;
mod context;
mod context_files;
mod copy;
pub mod dockerfile;
mod error;
mod explain;
mod fingerprint;
#[doc(hidden)]
pub mod fuzzing;
mod glob;
mod graph;
mod ignore;
mod inputs;
mod mount;
mod op;
mod options;
pub mod output;
mod path;
mod platform;
mod progress;
pub mod provision;
mod remote;
mod runner;
mod runtime;
mod select;
mod solve;
mod stage;
pub mod travel;
mod tree;
mod vars;

pub use cache::{CacheError, CacheLimits, forget_cache, kept_chains, prune_cache};
pub use caches::{CacheMount, CacheMountError, CacheMounts};
pub use cancel::Cancel;
pub use context::{ContextSource, Contexts, NamedContext, Prepared, prepare};
pub use context_files::{ContextFile, ContextFiles, Decider, context_files};
pub use error::{BuildError, Place};
pub use explain::{Cause, Change, FileChange, FileChanged, StepReport};
pub use options::{BuildOptions, Built, DockerfileSource, FetchedContext, OnError, World};
pub use progress::{
    Board, Event, Line, Plain, Progress, Quiet, RawJson, StageShape, StepId, Stream, Tone,
};
pub use remote::{FetchRequest, Fetched, Fetcher};
pub use runner::{
    Entitlement, ExtraHost, Limits, Network, Outside, PullError, Puller, RunStep, RunStepError,
    Runner, Secret, StepMount, StepSource,
};
pub use runtime::{RuntimeRunner, is_running_build};
pub use solve::build;
pub use travel::CacheImport;
