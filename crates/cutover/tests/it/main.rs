//! End-to-end tests: they drive the real binary as root, with real containers and real peers.
//!
//! `make test` builds the static release binary and names it in `CUTOVER_BIN`; without that, cargo's
//! own build of it is driven.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that cannot go on should panic, and says where"
)]

mod attacks;
mod build;
mod build_attest;
mod build_cache_travel;
mod build_output;
mod checks;
mod contexts;
mod deploy;
mod errors;
mod exchange;
mod harness;
mod images;
mod kill;
mod leftovers;
mod map;
mod messages;
mod names;
mod oci_front;
mod progress;
mod provision;
mod registry;
mod registry_access;
mod run;
mod steps;
mod terminal;
