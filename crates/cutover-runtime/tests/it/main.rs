//! Real containers, as root: the runtime's kernel-facing half against a tiny root file system.

mod bundle;
mod escape;
mod exec;
mod init;
mod limits;
mod mounts;
mod terminal;
mod timing;
