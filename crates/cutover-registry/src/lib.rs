//! OCI distribution client: [`pull`] an image from a registry into the store, [`push`] one there.
//!
//! The crate speaks HTTP itself (hyper, rustls) and hides its async runtime: the front is
//! synchronous, one call per operation, and a call leaves no thread or connection behind. Bytes go
//! from the network straight into the store's writer, hashed on the way; nothing is held in memory
//! but documents, and those are bounded.
//!
//! Invariants: a blob or manifest whose digest is wrong is never kept; credentials go only to the
//! registry they are for and to the token server that it names, never along a redirect and never
//! over plain HTTP to another machine unless asked for.

mod arrival;
mod auth;
mod blob;
mod copy;
mod credential;
mod error;
pub mod exchange;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
mod http;
mod keychain;
mod manifest;
mod options;
mod parts;
mod progress;
mod pull;
mod push;
mod retry;
pub mod server;
mod session;
mod tags;

pub use copy::{ParsePlaceError, Place, copy};
pub use credential::{Basic, Credential};
pub use error::{Cause, CopyError, ListError, LoginError, PullError, PushError};
pub use fetch::{Fetch, Fetched, fetch};
pub use hosts::{Hosts, HostsError};
pub use http::TokenCache;
pub use keychain::{HelperError, Keychain, KeychainError, Saved};
pub use options::{Identity, Limits, Options, Proxies, Tls};
pub use parts::{Documents, Part, documents, fetch_blob, push_parts};
pub use progress::{Event, Progress, Silent};
pub use pull::pull;
pub use push::{Pushed, push, push_all};
pub use tags::{log_in, tags};
