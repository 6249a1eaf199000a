//! What a build is asked to do and what it is given to do it with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use cutover_core::oci::Platform;
use cutover_core::{Digest, Reference};
use cutover_store::Store;

use crate::attest::Material;
use crate::provision::Provisioning;
use crate::travel::{CacheImport, Records};
use crate::{
    Cancel, Contexts, Entitlement, ExtraHost, Fetcher, Limits, Network, Progress, Puller, Runner,
    Secret,
};

/// Everything that the command line, the compose file and the clock have to say about one build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The directory whose files COPY and ADD see.
    pub context: PathBuf,
    pub dockerfile: DockerfileSource,
    /// Set by [`crate::prepare`] when the context is not a directory of the user's.
    pub fetched: Option<FetchedContext>,
    /// `--build-context`.
    pub contexts: Contexts,
    /// `PATH` and proxies of the caller, for git.
    pub environment: Vec<(String, String)>,
    /// Names for the result; may be empty.
    pub tags: Vec<Reference>,
    /// Stage to build, by name or index; the last one when absent.
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    /// Labels that win over the Dockerfile's.
    pub labels: BTreeMap<String, String>,
    /// Of the image's manifest.
    pub annotations: BTreeMap<String, String>,
    /// Ignore the cache for every step (results are still recorded).
    pub no_cache: bool,
    /// Ignore it for the steps of these stages, by name or index.
    pub no_cache_filter: Vec<String>,
    /// Caches of other machines, in the order in which they are asked.
    pub cache_from: Vec<CacheImport>,
    /// Whether the image's config has the records of its steps.
    pub inline_cache: bool,
    /// Ask the registry for base images even if the store has them.
    pub pull: bool,
    /// Say of each step whether it was found, and if not why.
    pub explain: bool,
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
    /// Seconds since 1970 when the build started: for the cache, never for what is built.
    pub now: i64,
    /// SOURCE_DATE_EPOCH: `created` of the image and the time of files in new layers.
    pub source_date_epoch: Option<i64>,
    /// What to do where a RUN step fails.
    pub on_error: OnError,
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
            fetched: None,
            contexts: Contexts::default(),
            environment: Vec::new(),
            tags: Vec::new(),
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            cache_from: Vec::new(),
            inline_cache: false,
            pull: false,
            explain: false,
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
            on_error: OnError::Fail,
            root,
            cancel: Cancel::new(),
        }
    }
}

/// What to do where a RUN step fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    #[default]
    Fail,
    /// Open a shell in its container first; needs a terminal.
    Shell,
}

/// What is known of a context that was fetched or unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchedContext {
    /// Of the commit or the file: what `SOURCE_DATE_EPOCH=context` means.
    pub time: Option<i64>,
    /// Owners are an archive's, and count.
    pub owners: bool,
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
    /// There is none: `--from IMAGE --provision TOOL=FILE`.
    Provision(Provisioning),
}

/// The siblings that a build is introduced to.
pub struct World<'a> {
    pub store: &'a Store,
    pub progress: &'a dyn Progress,
    pub runner: &'a dyn Runner,
    pub puller: &'a dyn Puller,
    pub fetcher: &'a dyn Fetcher,
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
    /// The steps, for machines that do not have them.
    pub records: Records,
    /// What came from outside.
    pub materials: Vec<Material>,
}
