//! What an instruction asks to be done to the files: plain data, every choice made.

use cutover_core::Digest;

use crate::chmod::Chmod;
use crate::dockerfile::RunNetwork;
use crate::mount::Mount;
use crate::provision::Provision;
use crate::remote::url::GitUrl;

/// One change of a stage's root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Run(RunOp),
    Copy(CopyOp),
    /// WORKDIR: make the directory and its parents.
    Mkdir {
        path: String,
        owner: String,
    },
}

/// A process to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunOp {
    pub(crate) args: Vec<String>,
    /// ENV and ARG, `KEY=value`.
    pub(crate) env: Vec<String>,
    /// Not part of the cache key.
    pub(crate) proxies: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) network: RunNetwork,
    /// A heredoc with `#!`: path in the container and content.
    pub(crate) script: Option<(String, String)>,
    pub(crate) mounts: Vec<Mount>,
    /// `--security=insecure`.
    pub(crate) insecure: bool,
    /// A script, playbook or manifest instead of the words.
    pub(crate) provision: Option<Provision>,
}

/// Files to copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CopyOp {
    /// Stage, index or image; the context when absent.
    pub(crate) from: Option<String>,
    /// Absolute and clean; may be patterns.
    pub(crate) sources: Vec<Source>,
    /// Files written in the Dockerfile: name and content.
    pub(crate) inline: Vec<(String, String)>,
    /// Absolute; a trailing `/` or `/.` says that it is a directory.
    pub(crate) destination: String,
    /// `user[:group]` by name or number; the source's owner when empty.
    pub(crate) chown: String,
    pub(crate) chmod: Option<Chmod>,
    pub(crate) exclude: Vec<String>,
    /// ADD: archives are unpacked.
    pub(crate) unpack: bool,
    /// Own layer that depends on nothing below it.
    pub(crate) link: bool,
}

/// One source of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Absolute, clean; may have wildcards.
    pub(crate) path: String,
    /// `--parents`: what below `path` is copied, with its parents.
    pub(crate) include: Option<String>,
    /// From elsewhere; then the path is of no use.
    pub(crate) remote: Option<Remote>,
}

/// A source that is not a file of anything here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Http { url: String, checksum: Option<Digest>, unpack: bool },
    Git { url: GitUrl, keep_git_dir: bool },
}

impl Source {
    pub(crate) fn local(path: String, include: Option<String>) -> Self {
        Self { path, include, remote: None }
    }
}
