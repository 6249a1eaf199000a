//! Pulls, from servers in the test that misbehave as told, and from a real registry.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod auth;
mod copy;
mod docker_registry;
mod exchange;
mod faults;
mod fetch;
mod fixture;
mod names;
mod network;
mod observers;
mod pipeline;
mod push;
mod serve;
mod server;
mod target;
