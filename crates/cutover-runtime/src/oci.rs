//! The OCI front: any bundle of the runtime specification as a container, with the life that `runc` gives it.
//!
//! It differs from [`crate::init`] in what decides: there cutover lays out a container and everything is fixed but what
//! a [`crate::spec::Spec`] can say; here the bundle says what is mounted where, which namespaces there are, and in
//! which order. What protects the host is the same: file systems are made detached, the root is pivoted, and only then
//! is anything attached by descriptor; the executable is out of reach; descriptors are really closed.
//!
//! Nothing runs for a container but the container: `create` leaves the first process asleep at a socket in the state
//! directory, `start` connects to it and is told by the process itself what became of it. Whoever called `create` (or
//! the nearest subreaper) is the parent.
//!
//! Callers have one thread: the children of `create` and `exec` allocate.

mod act;
mod channel;
mod child;
pub mod config;
mod copy_up;
mod create;
mod describe;
mod error;
mod exec;
mod finish;
mod hooks;
mod namespaces;
mod options;
mod prepare;
mod rootfs;
mod state;
mod sysctl;

pub use act::{delete, kill, pause, pids, resume, start, update};
pub use create::{Created, Options, create};
pub use describe::{features, template};
pub use error::{Error, Result};
pub use exec::{Joined, exec};
pub use finish::Extras;
pub use state::{Facts, ProcessId, State, Status, Store, check_id};
