//! The store driven through its public interface, as root, on a real file system.

mod archives;
mod hostile;
mod images;
mod interop;
mod layers;
mod model;
mod robust;
mod support;
