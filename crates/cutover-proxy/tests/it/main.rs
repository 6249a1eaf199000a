//! The proxy over real sockets: loopback, port 0, backends in threads.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod backend;
mod churn;
mod control;
mod drain;
mod handover;
mod hold;
mod limits;
mod names;
mod probe;
mod rig;
mod state;
mod switch;
mod traffic;
mod tunnel;
mod warm;
