//! Image configuration to running container.

pub mod cgroup;
pub mod init;
pub mod spec;
pub mod sys;
