//! Doing what is left to do: stages at the same time, each step from the cache or executed, and the
//! image.
//!
//! A [`Solver`] is shared by the threads of all stages. What several of them may want (a stage, a
//! base image, a context, a step with the same key) is in [`flights::Flights`]: one makes it, the
//! others wait. Nobody waits for a later stage, so nobody waits for himself.

mod base;
mod created;
mod elsewhere;
mod files;
mod finish;
mod flights;
mod keys;
mod last;
mod mask;
mod mounts;
mod provision;
mod run;
mod shell;
mod slots;
mod stages;
mod steps;
mod stubs;
mod time;
mod travel;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Platform};

use self::flights::Flights;
use self::last::LastBuild;
use self::slots::Slots;
use self::travel::{Travel, Trust};
use crate::cache::{Cache, Files};
use crate::context::{Context, Material};
use crate::dockerfile::expand::Variables as _;
use crate::dockerfile::{self, Dockerfile, Instruction, Kind, Lines};
use crate::error::boxed;
use crate::graph::{Graph, GraphError};
use crate::remote::Download;
use crate::stage::{Shared, Stage};
use crate::vars;
use crate::{BuildError, BuildOptions, Built, Cancel, DockerfileSource, Event, Place, World};

/// Builds the image that a Dockerfile describes. When a layer that an imported cache promises cannot
/// be had, begins anew without: what was done until then is in the cache.
pub fn build(options: &BuildOptions, world: &World<'_>) -> Result<Built, BuildError> {
    let (mut trust, mut warnings) = (Trust::Records, Vec::new());
    loop {
        let travel = Travel::new(trust);
        let result = attempt(options, world, &travel);
        match (result, travel.lost()) {
            (Err(_), Some(lost)) if lost.next < trust && !options.cancel.is_raised() => {
                trust = lost.next;
                warnings.extend(lost.warning);
            }
            (result, _) => {
                return result.map(|mut built| {
                    built.warnings.extend(warnings);
                    built
                });
            }
        }
    }
}

fn attempt(
    options: &BuildOptions,
    world: &World<'_>,
    travel: &Travel,
) -> Result<Built, BuildError> {
    let found = crate::provision::written(options)?;
    let source: Arc<str> = String::from_utf8_lossy(&found.bytes).into();
    let at = |lines: Lines| Place {
        file: found.name.as_str().into(),
        start: lines.start,
        end: lines.end,
        source: Arc::clone(&source),
    };
    let wrong =
        |lines, problem: String, hint| BuildError::Dockerfile { place: at(lines), problem, hint };
    let parsed = match &options.dockerfile {
        DockerfileSource::Provision(steps) => steps.parse(&source, options),
        _ => dockerfile::parse(&found.bytes),
    };
    let file = parsed.map_err(|error| wrong(error.lines, error.problem, error.hint))?;
    let target = options.platform.clone().unwrap_or_else(|| options.host_platform.clone());
    let shared = shared(options, &file, &target)
        .map_err(|(instruction, problem)| wrong(instruction.lines, problem, None))?;
    let graph =
        Graph::new(&file, &shared.globals, options.target.as_deref(), &target, &options.contexts)
            .map_err(|GraphError { lines, problem, hint }| match lines {
            Some(lines) => wrong(lines, problem, hint),
            None => BuildError::Target { problem, file: found.name.as_str().into(), hint },
        })?;
    let epoch = epoch(options, &shared)?;
    let _lease = world.store.lease().map_err(boxed("lock the store"))?;
    if let Err(error) = world.store.sweep() {
        // The next build tries again.
        tracing::warn!(%error, "cannot remove what killed builds left");
    }
    let cache = Cache::open(&options.root).map_err(boxed("open the build cache"))?;
    let last = LastBuild::load(&cache, options, &target, found.path.as_deref())?;
    let solver = Solver {
        options,
        world,
        file: &file,
        graph: &graph,
        shared: &shared,
        cache,
        target,
        epoch,
        place: &at,
        dockerfile: found.path.clone(),
        cancel: options.cancel.below(),
        slots: Slots::new(),
        contexts: Flights::default(),
        stages: Flights::default(),
        images: Flights::default(),
        downloads: Flights::default(),
        steps: Flights::default(),
        arrivals: Flights::default(),
        travel,
        last,
        last_step: AtomicUsize::new(0),
        cached: AtomicUsize::new(0),
        executed: AtomicUsize::new(0),
        warnings: Mutex::new(unused_build_args(options, &file)),
    };
    solver.all()
}

/// What all stages share; an ARG before FROM may be wrong.
pub(crate) fn shared<'a>(
    options: &BuildOptions,
    file: &'a Dockerfile,
    target: &Platform,
) -> Result<Shared, (&'a Instruction, String)> {
    let mut build_args = options.build_args.clone();
    if let Some(epoch) = options.source_date_epoch {
        build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| epoch.to_string());
    }
    let named = options.target.as_deref();
    let last = file.stages.last().and_then(|stage| stage.name.as_deref());
    let automatic = vars::automatic(&options.host_platform, target, named.or(last), &build_args);
    let globals = vars::global(automatic, &file.global_args, file.escape, &build_args)
        .map_err(|(instruction, error)| (instruction, error.to_string()))?;
    let proxies = vars::proxies(&build_args);
    Ok(Shared { escape: file.escape, globals, build_args, proxies })
}

/// SOURCE_DATE_EPOCH: as a build argument, as a global ARG, or of the caller's environment.
fn epoch(options: &BuildOptions, shared: &Shared) -> Result<Option<i64>, BuildError> {
    match shared
        .globals
        .get("SOURCE_DATE_EPOCH")
        .or_else(|| shared.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str))
    {
        None | Some("") => Ok(options.source_date_epoch),
        Some("context") => Ok(match options.fetched {
            Some(fetched) => fetched.time,
            None => created::of_context(&options.context),
        }),
        Some(text) => match text.parse() {
            Ok(epoch) => Ok(Some(epoch)),
            Err(_) => Err(BuildError::Epoch { text: text.to_owned() }),
        },
    }
}

/// Build arguments that no ARG of the file takes.
fn unused_build_args(options: &BuildOptions, file: &Dockerfile) -> Vec<String> {
    let stages = file.stages.iter().flat_map(|stage| &stage.instructions);
    let declared: Vec<&str> = stages
        .chain(&file.global_args)
        .filter_map(|instruction| match &instruction.kind {
            Kind::Arg(args) => Some(args.iter().map(|arg| arg.name.as_str())),
            _ => None,
        })
        .flatten()
        .collect();
    let unused = |name: &&String| !declared.contains(&name.as_str()) && !vars::is_predefined(name);
    let names: Vec<_> =
        options.build_args.keys().filter(unused).map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => Vec::new(),
        false => vec![format!("build arguments that no ARG takes: {}", names.join(", "))],
    }
}

/// One layer of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layer {
    chain_id: Digest,
    diff_id: Digest,
    /// As the manifest will name it.
    descriptor: Descriptor,
}

/// A finished stage, or the part of it that is done.
#[derive(Clone, Debug)]
struct Done {
    stage: Stage,
    /// Lowest first.
    layers: Vec<Layer>,
    /// The time that files of the topmost layer have.
    time: i64,
    /// History lines of the base image.
    inherited: usize,
    /// `created` of the base image.
    created: Option<String>,
    origin: Origin,
}

/// What the files of a stage are at first, and after each step: for explaining.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Scratch,
    Image {
        name: String,
        digest: String,
    },
    /// A step, by its line.
    Step(usize),
}

impl Done {
    fn scratch(platform: &Platform) -> Self {
        Self {
            stage: Stage::scratch(platform),
            layers: Vec::new(),
            time: time::FIRST,
            inherited: 0,
            created: None,
            origin: Origin::Scratch,
        }
    }

    fn chain_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.chain_id.clone()).collect()
    }

    /// The identity of the files: the top layer's chain, or that of nothing.
    fn top(&self) -> String {
        self.layers.last().map_or_else(|| "scratch".to_owned(), |layer| layer.chain_id.to_string())
    }
}

struct Solver<'a> {
    options: &'a BuildOptions,
    world: &'a World<'a>,
    file: &'a Dockerfile,
    graph: &'a Graph,
    shared: &'a Shared,
    cache: Cache,
    target: Platform,
    /// SOURCE_DATE_EPOCH.
    epoch: Option<i64>,
    place: &'a (dyn Fn(Lines) -> Place + Sync),
    /// The Dockerfile on disk, for its `.dockerignore`.
    dockerfile: Option<PathBuf>,
    /// Raised by the first failure, and by the user.
    cancel: Cancel,
    slots: Slots,
    /// Opened when first needed. The main one is ``.
    contexts: Flights<String, Arc<Opened>>,
    stages: Flights<usize, Arc<Done>>,
    /// Base images by name and platform.
    images: Flights<(String, String), Arc<Done>>,
    /// Files over HTTP, by address.
    downloads: Flights<String, Download>,
    /// What this build has found or made, by key.
    steps: Flights<Digest, Layer>,
    /// Layers of imported caches that are here by now, by chain id.
    arrivals: Flights<Digest, ()>,
    travel: &'a Travel,
    last: LastBuild,
    last_step: AtomicUsize,
    cached: AtomicUsize,
    executed: AtomicUsize,
    warnings: Mutex<Vec<String>>,
}

/// A context with what is known of its files.
#[derive(Debug)]
struct Opened {
    root: PathBuf,
    context: Context,
    /// Absent for what is here for this build only.
    files: Option<Files>,
    /// Whether owners of the files count.
    owners: bool,
    _material: Option<Material>,
}

impl Solver<'_> {
    fn wrong(&self, lines: Lines, problem: String, hint: Option<String>) -> BuildError {
        BuildError::Dockerfile { place: (self.place)(lines), problem, hint }
    }

    /// Stops who asks before he begins something new.
    fn check_cancel(&self) -> Result<(), BuildError> {
        match self.cancel.is_raised() {
            true => Err(BuildError::Interrupted),
            false => Ok(()),
        }
    }

    fn next_step(&self) -> usize {
        self.last_step.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Begins what belongs to no stage.
    fn started(&self, name: &str) -> usize {
        self.started_in(None, name)
    }

    fn started_in(&self, stage: Option<usize>, name: &str) -> usize {
        let (step, at) = (self.next_step(), (self.world.clock)());
        self.world.progress.on(Event::Started { step, name, stage, at });
        step
    }

    /// Says that a step was found.
    fn found(&self, stage: Option<usize>, name: &str) {
        let (step, at) = (self.next_step(), (self.world.clock)());
        self.world.progress.on(Event::Cached { step, name, stage, at });
    }

    fn done(&self, step: usize) {
        let at = (self.world.clock)();
        self.world.progress.on(Event::Done { step, at });
    }

    fn failed(&self, step: usize, error: &str) {
        let at = (self.world.clock)();
        self.world.progress.on(Event::Failed { step, error, at });
    }
}
