//! What a build is asked to do and what it is given to do it with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use cutover_core::oci::Platform;
use cutover_core::{Digest, Reference};
use cutover_store::Store;

use crate::{Cancel, Entitlement, ExtraHost, Limits, Network, Progress, Puller, Runner, Secret};

/// Everything that the command line, the compose file and the clock have to say about one build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The directory whose files COPY and ADD see.
    pub context: PathBuf,
    pub dockerfile: DockerfileSource,
    /// Names for the result; may be empty.
    pub tags: Vec<Reference>,
    /// Stage to build, by name or index; the last one when absent.
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    /// Labels that win over the Dockerfile's.
    pub labels: BTreeMap<String, String>,
    /// Ignore the cache for every step (results are still recorded).
    pub no_cache: bool,
    /// The platform to build for; the host's when absent.
    pub platform: Option<Platform>,
    /// The platform that RUN executes on.
    pub host_platform: Platform,
    /// Network of RUN steps that do not say otherwise.
    pub network: Network,
    pub extra_hosts: Vec<ExtraHost>,
    /// Size of /dev/shm in RUN steps, in bytes.
    pub shm_size: Option<u64>,
    /// What `RUN --mount=type=secret` finds, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of ssh agents for `RUN --mount=type=ssh`, by id.
    pub ssh: BTreeMap<String, PathBuf>,
    pub allow: BTreeSet<Entitlement>,
    /// Limits of RUN steps.
    pub limits: Limits,
    /// Seconds since 1970 when the build started: `created` of what is built now.
    pub now: i64,
    /// SOURCE_DATE_EPOCH: replaces `now` and clamps the times of files in new layers.
    pub source_date_epoch: Option<i64>,
    /// Where database and scratch files live: the store's root.
    pub root: PathBuf,
    /// Stops the build when raised: its containers are killed and nothing of it stays.
    pub cancel: Cancel,
}

impl BuildOptions {
    /// A build of `context` with no flag given.
    pub fn new(context: PathBuf, root: PathBuf, host_platform: Platform, now: i64) -> Self {
        Self {
            context,
            dockerfile: DockerfileSource::Default,
            tags: Vec::new(),
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            no_cache: false,
            platform: None,
            host_platform,
            network: Network::Default,
            extra_hosts: Vec::new(),
            shm_size: None,
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            allow: BTreeSet::new(),
            limits: Limits::default(),
            now,
            source_date_epoch: None,
            root,
            cancel: Cancel::new(),
        }
    }
}

/// Where the Dockerfile comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DockerfileSource {
    /// `Dockerfile`, or else `dockerfile`, in the context.
    #[default]
    Default,
    /// `-f FILE`.
    Path(PathBuf),
    /// `-f -`, or compose's `dockerfile_inline`.
    Inline(Vec<u8>),
}

/// The siblings that a build is introduced to.
pub struct World<'a> {
    pub store: &'a Store,
    pub progress: &'a dyn Progress,
    pub runner: &'a dyn Runner,
    pub puller: &'a dyn Puller,
    /// Time since the build started; for progress only.
    pub clock: &'a (dyn Fn() -> Duration + Sync),
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// A finished build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Digest of the manifest: the image's identity.
    pub image: Digest,
    /// Digest of the config: what docker calls the image id.
    pub config: Digest,
    /// Steps that were found in the cache.
    pub cached: usize,
    /// Steps that were executed.
    pub executed: usize,
    /// Notes for the user, e.g. a --build-arg that no ARG consumes.
    pub warnings: Vec<String>,
}
