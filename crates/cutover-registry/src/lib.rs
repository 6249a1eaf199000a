//! OCI distribution client: [`pull`] an image from a registry into the store.
//!
//! The crate speaks HTTP itself (hyper, rustls) and hides its async runtime: the front is
//! synchronous, one call per operation, and a call leaves no thread or connection behind. Bytes go
//! from the network straight into the store's writer, hashed on the way; nothing is held in memory
//! but documents, and those are bounded.
//!
//! Invariants: a blob or manifest whose digest is wrong is never kept; credentials go only to the
//! registry they are for and to the token server that it names, never along a redirect and never
//! over plain HTTP to another machine unless asked for.

mod auth;
mod blob;
mod error;
mod http;
mod manifest;
mod options;
mod progress;
mod pull;
mod retry;

pub use error::{Cause, PullError};
pub use options::{Basic, Limits, Options, Proxies};
pub use progress::{Event, Progress, Silent};
pub use pull::pull;
