//! The release engine against a fake machine.
//!
//! - `stories`: scripts of commands, with everything that happened recorded beside them;
//! - `crashes`: every scenario, interrupted at every step, in every way, and resumed;
//! - `properties`: random apps, faults and crashes.

mod app;
mod crashes;
mod fake;
mod ledger;
mod properties;
mod site;
mod stories;
mod story;
