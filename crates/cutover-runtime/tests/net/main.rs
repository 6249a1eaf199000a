//! Container networking against the real kernel, in network namespaces of the test's own: the
//! machine's links, addresses and rules are never touched, and everything goes with the last
//! thread.
//!
//! Needs root, like all of CI. `outside` is a second namespace that plays the LAN and the internet.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod attach;
mod errors;
mod firewalls;
mod isolation;
mod lifecycle;
mod publish;
mod timing;
mod world;
