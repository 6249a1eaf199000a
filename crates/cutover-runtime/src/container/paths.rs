//! [`Paths`]: where a container's things are.

use std::path::{Path, PathBuf};

use super::Id;

/// The places under one root.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) root: PathBuf,
    pub(crate) run: PathBuf,
}

impl Places {
    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// One symlink per name, to the id that holds it.
    pub(crate) fn names(&self) -> PathBuf {
        self.containers().join("names")
    }

    pub(crate) fn container(&self, id: &Id) -> Paths {
        Paths {
            dir: self.containers().join(id.as_str()),
            run: self.run.join("containers").join(id.as_str()),
        }
    }
}

/// The files of one container.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// Lives as long as the container.
    pub(crate) dir: PathBuf,
    /// Lives as long as its shim.
    pub(crate) run: PathBuf,
}

impl Paths {
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What it wrote into its root.
    pub(crate) fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// What a shim said before it died of a bug.
    pub(crate) fn shim_log(&self) -> PathBuf {
        self.dir.join("shim.log")
    }

    /// `hosts`, `hostname`, `resolv.conf`.
    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The socket's name in [`Paths::run`].
pub(crate) const SOCKET: &str = "shim.sock";

/// `path` relative to `root` if it is below it.
pub(crate) fn relative_to(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}
