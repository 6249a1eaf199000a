//! [`ExecOptions`]: one more process in a running container.

use serde::{Deserialize, Serialize};

/// docker's `exec` flags. What is not given is the container's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOptions {
    pub args: Vec<String>,
    /// Added to the container's environment; `KEY=value`.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    /// Forward stdin (`-i`).
    pub stdin: bool,
    pub terminal: bool,
    pub privileged: bool,
    /// Size of the terminal when it is made: rows, columns.
    pub size: Option<(u16, u16)>,
}
