//! `cutover build`: Dockerfile to image.

mod cache;
mod call;
pub(crate) mod contexts;
mod interrupt;
mod outputs;
pub(crate) mod platforms;
pub(crate) mod progress;
pub(crate) mod provision;
pub(crate) mod service;
mod steps;
pub(crate) mod travel;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use cutover_build::{
    BuildError, BuildOptions, Built, DockerfileSource, ExtraHost, Network, Progress, RuntimeRunner,
    World, build,
};
use cutover_core::Reference;
use cutover_core::oci::Platform;
use cutover_store::Store;
use fs_err as fs;

use self::progress::Style;
use super::Ctx;
use crate::clock;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::wiring::{PullFailed, RegistryFetcher, RegistryPuller};

/// Build an image from a Dockerfile
#[derive(Debug, Args)]
pub(super) struct Build {
    /// Name of the Dockerfile; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Name for the image
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<Reference>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set a build argument; `KEY` alone takes it from the environment
    #[arg(long, value_name = "KEY=VALUE")]
    build_arg: Vec<String>,
    /// Label the image
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,
    /// Platform to build for; several make an index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,
    /// Network of RUN: `default`, `none` or `host`
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    network: NetworkChoice,
    /// Add a line to /etc/hosts of RUN: `HOST:IP`
    #[arg(long, value_name = "HOST:IP")]
    add_host: Vec<String>,
    /// Size of /dev/shm of RUN
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    #[command(flatten)]
    steps: steps::Steps,
    #[command(flatten)]
    outputs: outputs::Outputs,
    #[command(flatten)]
    travel: travel::Travel,
    /// Write the image's digest to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Print the image's digest only
    #[arg(short, long)]
    quiet: bool,
    /// How to show progress
    #[arg(long, value_name = "STYLE", default_value = "auto", env = progress::VARIABLE)]
    #[arg(hide_env_values = true)]
    progress: Style,
    /// Where a RUN step fails: `fail`, or `shell` for a shell in its container
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    on_error: progress::OnErrorChoice,
    /// What to do: `build`, `check`, `outline` or `targets`; `,format=json` for a document
    #[arg(long, value_name = "METHOD", default_value = "build")]
    call: call::Call,
    /// Check the Dockerfile and build nothing: `--call=check`
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    contexts: contexts::Contexts,
    #[command(flatten)]
    cache: cache::Cache,
    #[command(flatten)]
    provision: provision::Flags,
    /// Files for COPY and ADD: a directory, a tar, a git or HTTP address; `-` is stdin
    #[arg(value_name = "CONTEXT", required_unless_present = "provision")]
    context: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NetworkChoice {
    Default,
    None,
    Host,
}

impl Build {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let store = ctx.store()?;
        let context = self.context.unwrap_or_else(|| ".".to_owned());
        let mut options = options(ctx, &store, PathBuf::from(&context));
        options.dockerfile = match self.file {
            None => DockerfileSource::Default,
            Some(path) if path.as_os_str() == "-" => DockerfileSource::Inline(stdin()?),
            Some(path) => DockerfileSource::Path(path),
        };
        options.tags = self.tag;
        options.target = self.target;
        options.build_args = pairs(&self.build_arg);
        options.labels = pairs(&self.label);
        options.no_cache = self.no_cache;
        options.on_error = self.on_error.checked()?;
        let platforms = platforms::parse(&self.platform)?;
        options.platform = platforms.first().cloned();
        let outputs = self.outputs.plan(&options.tags, platforms.len(), self.quiet)?;
        outputs.apply(&mut options);
        let travel = self.travel.plan()?;
        options.network = match self.network {
            NetworkChoice::Default => Network::Default,
            NetworkChoice::None => Network::None,
            NetworkChoice::Host => Network::Host,
        };
        options.extra_hosts = hosts(&self.add_host)?;
        options.shm_size = self
            .shm_size
            .as_deref()
            .map(cutover_core::units::parse_size)
            .transpose()
            .kind(Kind::Usage)?;
        self.provision.apply(&mut options)?;
        self.steps.apply(&mut options)?;
        self.contexts.apply(&mut options)?;
        let _held = contexts::open(ctx, &store, &mut options, &context, self.quiet)?;
        self.cache.apply(&mut options);
        if self.cache.list_context(ctx, &options)? {
            return Ok(());
        }
        let call = self.call.with_check(self.check);
        if call.method != call::Method::Build {
            return call.answer(ctx, &store, &options);
        }
        travel.apply(ctx.ui, &store, &mut options);
        let style = if self.quiet { Style::Quiet } else { self.progress };
        let built = match platforms.len() {
            0 | 1 => execute(ctx, &store, &options, style)?,
            _ => {
                platforms::build(ctx, &store, &options, (&platforms, &outputs.annotations), style)?
            }
        };
        outputs.deliver(ctx, &store, &options, &built, (&context, self.quiet))?;
        travel.deliver(if self.quiet { ctx.ui.quiet() } else { ctx.ui }, &store, &built)?;
        if let Some(path) = self.iidfile {
            fs::write(path, built.image.as_str())?;
        }
        match style == Style::Quiet {
            true => ctx.ui.data(built.image.as_str()),
            false => Ok(()),
        }
    }
}

/// Options as when no flag is given.
pub(crate) fn options(ctx: &Ctx, store: &Store, context: PathBuf) -> BuildOptions {
    let now = i64::try_from(clock::since_epoch().as_secs()).unwrap_or(i64::MAX);
    let root = store.root().to_owned();
    BuildOptions {
        source_date_epoch: source_date_epoch(ctx),
        ..BuildOptions::new(context, root, cutover_store::host_platform(), now)
    }
}

#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
fn source_date_epoch(ctx: &Ctx) -> Option<i64> {
    let text = std::env::var("SOURCE_DATE_EPOCH").ok()?;
    let epoch = text.parse().ok();
    if epoch.is_none() {
        ctx.ui.warn(format!("SOURCE_DATE_EPOCH `{text}` is not a number of seconds: ignored"));
    }
    epoch
}

/// Builds, showing progress on stderr.
pub(crate) fn execute(
    ctx: &Ctx,
    store: &Store,
    options: &BuildOptions,
    style: Style,
) -> Outcome<Built> {
    let checked = call::refuse(ctx, store, options)?;
    let start = Instant::now();
    let clock = move || start.elapsed();
    let shown = progress::Shown::open(ctx, style, start)?;
    let explainer = cache::Explainer::new(&shown);
    let interrupt = interrupt::Interrupt::listen()?;
    let options = &BuildOptions { cancel: interrupt.cancel(), ..options.clone() };
    let progress: &dyn Progress = &explainer;
    let networks = ctx.networks()?;
    let runner = RuntimeRunner::new(&ctx.paths.root, &ctx.paths.run, networks);
    let mute = Ctx { paths: ctx.paths.clone(), ui: ctx.ui.quiet() };
    let ctx_of_pulls = if shown.is_alone() { &mute } else { ctx };
    let puller = RegistryPuller { ctx: ctx_of_pulls, store };
    let (clock, fetcher) = (&clock, &RegistryFetcher);
    let world = World { store, progress, runner: &runner, puller: &puller, fetcher, clock };
    let built = build(options, &world);
    let explained = explainer.reports();
    let found = (!style.is_silent()).then(|| call::checked(store, options, checked)).flatten();
    shown.finish(found.as_ref(), start.elapsed());
    if style != Style::Rawjson {
        found.iter().for_each(|report| call::show_warnings(ctx, report));
    }
    cache::say(ctx, explained);
    let built = built.map_err(|error| failure(ctx, error))?;
    for warning in &built.warnings {
        ctx.ui.warn(warning);
    }
    Ok(built)
}

/// The error with the last lines of the step's output, which may be far above or were not shown,
/// and the Dockerfile around it.
fn failure(ctx: &Ctx, error: BuildError) -> Failure {
    if !error.output().is_empty() {
        ctx.ui.say("------");
        error.output().iter().for_each(|line| ctx.ui.say(line));
        ctx.ui.say("------");
    }
    if let Some(excerpt) = error.excerpt() {
        ctx.ui.say(excerpt.trim_end());
    }
    let pull = PullFailed::behind(&error);
    let hint = error.hint().map(str::to_owned).or_else(|| pull?.hint.clone());
    let kind = match error {
        _ if pull.is_some() => Kind::Remote,
        BuildError::NoDockerfile { .. } | BuildError::NoContext { .. } => Kind::Config,
        BuildError::ReadDockerfile { ref source, .. }
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Kind::Config
        }
        BuildError::Dockerfile { .. } | BuildError::Ignore { .. } | BuildError::Target { .. } => {
            Kind::Config
        }
        BuildError::Interrupted => Kind::Exit(interrupt::STATUS),
        _ => Kind::Build,
    };
    Failure { hint, ..Failure::new(kind, error) }
}

fn stdin() -> Outcome<Vec<u8>> {
    const LIMIT: u64 = 16 << 20;
    let mut bytes = Vec::new();
    std::io::stdin().take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "`KEY` alone takes the caller's value")]
fn pairs(lines: &[String]) -> BTreeMap<String, String> {
    let pairs = lines.iter().filter_map(|line| match line.split_once('=') {
        Some((key, value)) => Some((key.to_owned(), value.to_owned())),
        None => std::env::var(line).ok().map(|value| (line.clone(), value)),
    });
    pairs.collect()
}

fn hosts(lines: &[String]) -> Outcome<Vec<ExtraHost>> {
    let mut hosts = Vec::new();
    for (name, address) in super::options::extra_hosts(lines)? {
        let address = address.ok_or_else(|| {
            Failure::msg(Kind::Usage, format!("`{name}`: `host-gateway` is not known in a build"))
        })?;
        hosts.push(ExtraHost { name, address });
    }
    Ok(hosts)
}

/// `os/arch[/variant]`.
pub(crate) fn platform(text: &str) -> Outcome<Platform> {
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(os), Some(arch), variant, None) if !os.is_empty() && !arch.is_empty() => {
            Ok(Platform { variant: variant.map(str::to_owned), ..Platform::new(os, arch) })
        }
        _ => Err(Failure::msg(Kind::Usage, format!("`{text}` is not a platform"))
            .hint("write `os/architecture[/variant]`, e.g. `linux/amd64`")),
    }
}

/// Builds a service's image for `deploy`: what is cached is not worth more than a line.
pub(crate) fn execute_for_service(
    ctx: &Ctx,
    store: &Store,
    options: &BuildOptions,
    service: &str,
) -> Outcome<Built> {
    ctx.ui.say(format!("building `{service}`"));
    let built = execute(ctx, store, options, Style::of_environment())?;
    let steps = built.cached + built.executed;
    let digest = built.image.short();
    ctx.ui.say(format!("built `{service}`: {digest}, {} of {steps} steps cached", built.cached));
    Ok(built)
}
