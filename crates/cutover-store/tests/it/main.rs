//! The store driven through its public interface, as root, on a real file system.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archives;
mod hostile;
mod images;
mod interop;
mod layers;
mod model;
mod robust;
mod support;
