//! The heart: how an app gets from release A to release B, and back.
//!
//! ```text
//! let plan = plan(&wanted, &facts)?;               every choice is made here; pure
//! check(&plan)?;                                   named invariants; pure
//! execute(&attempt, &releases, world, journal)?;   no choices left; journaled, idempotent
//! ```
//!
//! Owns: the decisions ([`plan`](mod@plan), [`policy`], [`rollback`]), the proof that a plan is
//! sound ([`check`](mod@check)), the one loop that acts ([`execute`](mod@execute)), what happens
//! when a step fails ([`judge`], [`revert`]) or the process dies ([`resume`](mod@resume)), and the
//! record of it all ([`ledger`]).
//!
//! Refuses: to know containers, proxies or images. Whatever touches the machine is an
//! [`Action`] that a [`World`] performs. Only `execute` (through `World` and
//! `Journal`) and the ledger do I/O; nothing reads a clock or draws randomness.
//!
//! **An instance is of a spec, not of a release.** A running instance belongs to every release
//! whose sealed service has its instance digest. A service that two releases seal alike keeps its
//! instances through a deployment and back; it has no standby of its own because what serves now
//! is already what the earlier release wants. `Instance::release` only tells which release's
//! deployment started it first.

pub mod check;
pub mod diff;
pub mod execute;
pub mod explain;
pub mod facts;
pub mod journal;
pub mod judge;
pub mod ledger;
pub mod model;
pub mod plan;
pub mod policy;
pub mod resume;
pub mod revert;
pub mod rollback;
pub mod step;
pub mod world;

pub use check::{Violation, check};
pub use execute::{Attempt, ExecuteError, execute};
pub use facts::{Facts, Instance, InstanceFact, InstanceId, Kind, Observed, Releases, Wanted};
pub use journal::{Course, Entry, Failure, Journal, JournalError, Outcome, Progress};
pub use ledger::Ledger;
pub use plan::{Plan, PlanError, plan};
pub use resume::resume;
pub use step::{Action, Step, StepId};
pub use world::{Done, Interrupt, Reading, Scene, StepError, World};
