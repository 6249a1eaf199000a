//! Image configuration to running container.
//!
//! [`merge`] turns an image's config and docker's options into a [`container::ContainerConfig`];
//! [`container::Containers`] keeps containers and acts on them; [`shim`] is the process that
//! supervises one; [`spec`] and `init` below it make one process tree from pure data.

pub mod caps;
pub mod cgroup;
pub mod container;
pub mod health;
pub mod init;
pub mod logs;
pub mod merge;
pub mod mounts;
pub mod net;
pub mod oci;
pub mod restart;
pub mod seccomp;
pub mod shim;
pub mod spec;
pub mod sys;
pub mod volume;
