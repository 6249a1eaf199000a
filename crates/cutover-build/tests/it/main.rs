//! Builds through the public interface: as root, with real containers, in stores of their own.
//! The base image is made by the builder itself from the host's static busybox.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cache;
mod copies;
mod elsewhere;
mod errors;
mod explain;
mod killed;
mod mounts;
mod parallel;
mod reproducible;
mod stages;
mod support;
