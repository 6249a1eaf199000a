//! What a build takes from elsewhere: files over HTTP and git repositories.
//!
//! This module says what to ask for and keeps what came; asking over HTTP is a [`Fetcher`]'s, and
//! repositories are git's own (`git` of the machine, with an environment of ours and no other
//! configuration). What is kept is memory and never truth: a file is asked for again with its mark
//! (ETag), a branch is looked up again in every build.

mod git;
mod http;
mod kept;
pub(crate) mod url;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cutover_core::Digest;

use crate::{BuildOptions, Cancel, Secret, World};

pub(crate) use git::{Checkout, Commit};
pub(crate) use http::Download;
pub(crate) use kept::forget;

/// One resource to get.
#[derive(Clone, Debug)]
pub struct FetchRequest<'a> {
    pub url: &'a str,
    /// A header with credentials; for the URL's own host only.
    pub authorization: Option<&'a str>,
    /// Mark of what we have: what still bears it is not sent.
    pub etag: Option<&'a str>,
    /// More bytes are refused.
    pub max: u64,
}

/// What was said of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// It is what we have: nothing was written.
    pub unchanged: bool,
    pub etag: Option<String>,
    /// Seconds since 1970.
    pub last_modified: Option<i64>,
}

/// Gets resources over HTTP.
pub trait Fetcher: Sync {
    /// Writes the resource to `to`, following redirects.
    fn fetch(
        &self,
        request: &FetchRequest<'_>,
        to: &mut (dyn Write + Send),
    ) -> Result<Fetched, Box<dyn Error + Send + Sync>>;
}

/// Why something cannot be had from elsewhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("failed to get `{url}`")]
    Fetch { url: String, source: Box<dyn Error + Send + Sync> },
    #[error("digest mismatch for `{url}`: {actual} (expected: {expected})")]
    Checksum { url: String, actual: Digest, expected: Digest },
    #[error("`git` is not on this machine, and `{url}` is a git repository")]
    NoGit { url: String },
    #[error("`git {command}` of `{url}` failed: {message}")]
    Git { url: String, command: String, message: String },
    #[error("`{url}` has no `{reference}`")]
    NoReference { url: String, reference: String },
    #[error("expected checksum to match {expected}, got {actual}")]
    Commit { expected: String, actual: String },
    #[error("`{url}` has no directory `{subdir}`")]
    NoSubdir { url: String, subdir: String },
    #[error("the build was interrupted")]
    Interrupted,
    #[error("cannot keep what was fetched")]
    Io(#[from] io::Error),
}

/// What asking elsewhere needs.
#[derive(Clone, Copy)]
pub(crate) struct Remotes<'a> {
    fetcher: &'a dyn Fetcher,
    secrets: &'a BTreeMap<String, Secret>,
    /// Of ssh agents.
    sockets: &'a BTreeMap<String, PathBuf>,
    /// For git: where it is and which proxies to use.
    environment: &'a [(String, String)],
    cancel: &'a Cancel,
    root: &'a Path,
}

impl<'a> Remotes<'a> {
    pub(crate) fn new(options: &'a BuildOptions, world: &World<'a>, cancel: &'a Cancel) -> Self {
        Self {
            fetcher: world.fetcher,
            secrets: &options.secrets,
            sockets: &options.ssh,
            environment: &options.environment,
            cancel,
            root: &options.root,
        }
    }

    /// A directory for this build alone.
    pub(crate) fn scratch(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix("remote-").tempdir_in(self.root.join("tmp"))
    }

    fn secret(&self, id: &str) -> Option<&'a str> {
        let secret = self.secrets.get(id)?;
        let text = std::str::from_utf8(&secret.0).ok()?.trim_end_matches(['\r', '\n']);
        (!text.is_empty() && !text.contains(['\r', '\n', '\0'])).then_some(text)
    }
}
