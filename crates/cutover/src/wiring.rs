//! Where siblings meet: opening the store, the containers and the ledger of one root, and the small
//! pieces of glue that need two crates at once.

use std::collections::BTreeSet;
use std::io::Write;

use cutover_build::{FetchRequest, Fetched, Fetcher, PullError, Puller};
use cutover_core::oci::Platform;
use cutover_core::{Digest, Reference};
use cutover_runtime::container::Containers;
use cutover_runtime::net::Networks;
use cutover_store::{Image, InUse, Keep, Store};

use crate::cli::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::paths::Paths;

impl Ctx {
    pub(crate) fn store(&self) -> Outcome<Store> {
        store(&self.paths)
    }

    pub(crate) fn containers(&self) -> Outcome<Containers> {
        containers(&self.paths)
    }

    pub(crate) fn networks(&self) -> Outcome<Networks> {
        networks(&self.paths)
    }

    /// The image that `name` means, or a failure that says what to do.
    pub(crate) fn image(&self, store: &Store, name: &str) -> Outcome<Image> {
        store.images().resolve(name)?.ok_or_else(|| {
            Failure::msg(Kind::NotFound, format!("no such image: `{name}`"))
                .hint("see `cutover images`")
        })
    }
}

pub(crate) fn store(paths: &Paths) -> Outcome<Store> {
    Store::open(&paths.root).map_err(|error| {
        let denied = format!("{:#}", anyhow::Error::new(error));
        let failure = Failure::msg(Kind::Internal, denied.clone());
        match denied.contains("ermission denied") {
            true => failure.hint("run as root, or choose another directory with `--root DIR`"),
            false => failure,
        }
    })
}

pub(crate) fn containers(paths: &Paths) -> Outcome<Containers> {
    Containers::open(&paths.root, &paths.run).or_fail(Kind::Internal, "open the containers")
}

pub(crate) fn networks(paths: &Paths) -> Outcome<Networks> {
    Networks::open(&paths.root, &paths.run).or_fail(Kind::Internal, "open the networks")
}

/// What a collection must spare: images of containers and of kept releases.
pub(crate) fn keep(paths: &Paths) -> Outcome<Keep> {
    let mut keep = Keep::default();
    for summary in containers(paths)?.list()? {
        keep.images.insert(summary.config.image.digest);
    }
    keep.images.extend(release_images(paths)?);
    keep.chains = cutover_build::kept_chains(&paths.root)?;
    Ok(keep)
}

/// The images of every release in the ledger: rollback must find them.
pub(crate) fn release_images(paths: &Paths) -> Outcome<BTreeSet<Digest>> {
    let mut images = BTreeSet::new();
    let Some(ledger) = crate::agent::ledger::open_existing(paths)? else { return Ok(images) };
    for app in ledger.apps()? {
        for release in ledger.releases(&app.name)?.into_values() {
            for sealed in release.services.values() {
                images.insert(sealed.image.clone());
                let hooks = sealed.service.pre_start.iter();
                images.extend(hooks.filter_map(|hook| hook.image.as_ref()?.digest().cloned()));
            }
        }
    }
    Ok(images)
}

/// The container that uses an image, a running one first.
pub(crate) fn in_use(paths: &Paths, image: &Digest) -> Option<InUse> {
    let all = containers(paths).ok()?.list().ok()?;
    let users = all.into_iter().filter(|summary| summary.config.image.digest == *image);
    let user = users.max_by_key(|summary| summary.state.status.is_live())?;
    Some(InUse { container: user.config.name, running: user.state.status.is_live() })
}

/// A registry's refusal on its way through a build: with the hint that the build knows nothing of.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(crate) struct PullFailed {
    source: anyhow::Error,
    pub(crate) hint: Option<String>,
}

impl PullFailed {
    /// The one that a build failed for, if it is what it failed for.
    pub(crate) fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let chain = std::iter::successors(Some(error), |error| error.source());
        chain.filter_map(|error| error.downcast_ref()).next()
    }
}

/// Pulls base images for builds.
#[derive(Debug)]
pub(crate) struct RegistryPuller<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) store: &'a Store,
}

impl Puller for RegistryPuller<'_> {
    fn pull(&self, reference: &Reference, platform: &Platform) -> Result<Image, PullError> {
        crate::pull::pull(self.ctx, self.store, reference, Some(platform)).map_err(|failure| {
            let source = failure.error.unwrap_or_else(|| anyhow::Error::msg("pull failed"));
            let source = PullFailed { source, hint: failure.hint };
            PullError { reference: reference.clone(), source: source.into() }
        })
    }
}

/// Gets files over HTTP for builds.
#[derive(Debug)]
pub(crate) struct RegistryFetcher;

impl Fetcher for RegistryFetcher {
    fn fetch(
        &self,
        request: &FetchRequest<'_>,
        to: &mut (dyn Write + Send),
    ) -> Result<Fetched, Box<dyn std::error::Error + Send + Sync>> {
        let ask = cutover_registry::Fetch {
            url: request.url,
            authorization: request.authorization,
            etag: request.etag,
            max: request.max,
            proxies: crate::transfer::proxies(),
            tls: cutover_registry::Tls::default(),
            limits: cutover_registry::Limits::default(),
        };
        let fetched = cutover_registry::fetch(&ask, to)?;
        let seconds = |text: String| {
            let time = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
            Some(time.timestamp().as_second())
        };
        Ok(Fetched {
            unchanged: fetched.unchanged,
            etag: fetched.etag,
            last_modified: fetched.last_modified.and_then(seconds),
        })
    }
}

/// What a `git` that we start needs of the caller's environment: where it is, and proxies.
#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
pub(crate) fn caller_environment() -> Vec<(String, String)> {
    const NAMES: [&str; 9] = [
        "PATH",
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ];
    let value = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    NAMES.into_iter().filter_map(value).collect()
}
