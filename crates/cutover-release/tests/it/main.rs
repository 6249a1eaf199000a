//! The release engine against a fake machine.
//!
//! - `stories`: scripts of commands, with everything that happened recorded beside them;
//! - `crashes`: every scenario, interrupted at every step, in every way, and resumed;
//! - `properties`: random apps, faults and crashes.

#![expect(clippy::unwrap_used, reason = "a test that fails is a test that panics")]

mod app;
mod checks;
mod crashes;
mod diffs;
mod fake;
mod judgements;
mod ledger;
mod plans;
mod properties;
mod rollbacks;
mod site;
mod stories;
mod story;
