//! [`Paths`]: where everything lives, derived from one root.

use std::path::{Path, PathBuf};

pub(crate) const DEFAULT_ROOT: &str = "/var/lib/cutover";
const DEFAULT_RUN: &str = "/run/cutover";

/// The root and what is found under it. Sockets, pids and secrets of the default root are on
/// tmpfs (`/run/cutover`); any other root carries its own `run/`, so that a test or a demo never
/// meets a user's state.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) root: PathBuf,
    pub(crate) run: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: &Path) -> Self {
        let run = match root.as_os_str() == DEFAULT_ROOT {
            true => PathBuf::from(DEFAULT_RUN),
            false => root.join("run"),
        };
        Self { root: root.to_owned(), run }
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }

    pub(crate) fn agent_log(&self) -> PathBuf {
        self.root.join("agent.log")
    }

    pub(crate) fn proxy_socket(&self) -> PathBuf {
        self.run.join("proxy.sock")
    }

    pub(crate) fn proxy_log(&self) -> PathBuf {
        self.root.join("proxy.log")
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }
}
