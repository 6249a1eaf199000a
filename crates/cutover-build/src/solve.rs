//! Doing what is left to do: stages in order, each step from the cache or executed, and the image.

mod base;
mod files;
mod finish;
mod keys;
mod run;
mod steps;
mod time;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Platform};

use crate::cache::{Cache, Files};
use crate::context::{self, Context};
use crate::dockerfile::expand::Variables as _;
use crate::dockerfile::{self, Dockerfile, Instruction, Kind, Lines};
use crate::error::boxed;
use crate::graph::{Base, From, Graph, GraphError};
use crate::op::Op;
use crate::stage::{Shared, Stage, StageError};
use crate::vars;
use crate::{BuildError, BuildOptions, Built, Event, Place, World};

/// Builds the image that a Dockerfile describes.
pub fn build(options: &BuildOptions, world: &World<'_>) -> Result<Built, BuildError> {
    let found = context::find(&options.context, &options.dockerfile)?;
    let source: Arc<str> = String::from_utf8_lossy(&found.bytes).into();
    let at = |lines: Lines| Place {
        file: found.name.as_str().into(),
        start: lines.start,
        end: lines.end,
        source: Arc::clone(&source),
    };
    let wrong =
        |lines, problem: String, hint| BuildError::Dockerfile { place: at(lines), problem, hint };
    let file = dockerfile::parse(&found.bytes)
        .map_err(|error| wrong(error.lines, error.problem, error.hint))?;
    let target = options.platform.clone().unwrap_or_else(|| options.host_platform.clone());
    let shared = shared(options, &file, &target)
        .map_err(|(instruction, problem)| wrong(instruction.lines, problem, None))?;
    let graph = Graph::new(&file, &shared.globals, options.target.as_deref(), &target).map_err(
        |GraphError { lines, problem, hint }| match lines {
            Some(lines) => wrong(lines, problem, hint),
            None => BuildError::Target { problem, file: found.name.as_str().into(), hint },
        },
    )?;
    let epoch = epoch(options, &shared)?;
    let _lease = world.store.lease().map_err(boxed("lock the store"))?;
    let cache = Cache::open(&options.root).map_err(boxed("open the build cache"))?;
    let mut solver = Solver {
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
        context: None,
        stages: BTreeMap::new(),
        images: BTreeMap::new(),
        next_step: 0,
        cached: 0,
        executed: 0,
        warnings: unused_build_args(options, &file),
    };
    solver.all()
}

/// What all stages share; an ARG before FROM may be wrong.
fn shared<'a>(
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
        // A directory, unlike a repository, has no time of its own.
        Some("context") => Ok(None),
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
}

impl Done {
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
    place: &'a dyn Fn(Lines) -> Place,
    /// The Dockerfile on disk, for its `.dockerignore`.
    dockerfile: Option<PathBuf>,
    /// Opened when first needed.
    context: Option<(Context, Files)>,
    stages: BTreeMap<usize, Done>,
    /// Base images by name and platform.
    images: BTreeMap<(String, String), Done>,
    next_step: usize,
    cached: usize,
    executed: usize,
    warnings: Vec<String>,
}

/// Numbers of a stage's steps, for names like `[build 2/5]`.
struct Numbering {
    prefix: String,
    total: usize,
    next: usize,
}

impl Numbering {
    fn name(&mut self, shown: &str) -> String {
        self.next += 1;
        let width = self.total.to_string().len();
        format!("[{}{:width$}/{}] {shown}", self.prefix, self.next, self.total)
    }
}

impl Solver<'_> {
    fn all(&mut self) -> Result<Built, BuildError> {
        for &index in &self.graph.needed {
            self.stage(index)?;
        }
        if let Some((_, files)) = &self.context {
            files.save(&self.cache).map_err(boxed("write the build cache"))?;
        }
        let done = self.stages.remove(&self.graph.target);
        self.finish(done.expect("the target is among the needed stages"))
    }

    fn wrong(&self, lines: Lines, problem: String, hint: Option<String>) -> BuildError {
        BuildError::Dockerfile { place: (self.place)(lines), problem, hint }
    }

    /// Builds the stage `index`, and what it needs, unless that was done.
    fn stage(&mut self, index: usize) -> Result<(), BuildError> {
        if self.stages.contains_key(&index) {
            return Ok(());
        }
        let file = self.file;
        let written = &file.stages[index];
        let mut numbering = self.numbering(index);
        let mut done = self.base(index, &mut numbering)?;
        let triggers = done.stage.take_triggers();
        numbering.total += triggers.len();
        for trigger in &triggers {
            let instruction =
                dockerfile::parse_trigger(trigger, written.lines).map_err(|error| {
                    self.wrong(
                        error.lines,
                        format!("ONBUILD {trigger}: {}", error.problem),
                        error.hint,
                    )
                })?;
            self.instruction(index, &mut done, &instruction, &mut numbering)?;
        }
        for instruction in &written.instructions {
            self.instruction(index, &mut done, instruction, &mut numbering)?;
        }
        self.stages.insert(index, done);
        Ok(())
    }

    fn numbering(&self, index: usize) -> Numbering {
        let stage = &self.file.stages[index];
        let acts = |instruction: &&Instruction| {
            matches!(
                instruction.kind,
                Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) | Kind::Workdir(_)
            )
        };
        let from_image = matches!(self.graph.nodes[index].base, Base::Image(_));
        let total = stage.instructions.iter().filter(acts).count() + usize::from(from_image);
        let prefix = match (&stage.name, self.file.stages.len()) {
            (Some(name), 2..) => format!("{name} "),
            (None, 2..) => format!("stage-{index} "),
            _ => String::new(),
        };
        Numbering { prefix, total, next: 0 }
    }

    fn base(&mut self, index: usize, numbering: &mut Numbering) -> Result<Done, BuildError> {
        let node = &self.graph.nodes[index];
        let platform = node.platform.clone().unwrap_or_else(|| self.target.clone());
        match &node.base {
            Base::Scratch => Ok(Done { stage: Stage::scratch(&platform), layers: Vec::new() }),
            Base::Stage(base) => {
                self.stage(*base)?;
                let base = &self.stages[base];
                Ok(Done { stage: Stage::from_stage(&base.stage), layers: base.layers.clone() })
            }
            Base::Image(name) => {
                let explicit = node.platform.is_some() || self.options.platform.is_some();
                let lines = self.file.stages[index].lines;
                let step = numbering.name(&format!("FROM {name}"));
                self.image(name, &platform, explicit, lines, &step)
            }
        }
    }

    /// Applies one instruction, with what it does to the files.
    fn instruction(
        &mut self,
        index: usize,
        done: &mut Done,
        instruction: &Instruction,
        numbering: &mut Numbering,
    ) -> Result<(), BuildError> {
        let shown = done.stage.shown(&instruction.code, self.shared);
        let op = done.stage.apply(instruction, self.shared).map_err(|error| match error {
            StageError::Expand(error) => self.wrong(instruction.lines, error.to_string(), None),
            StageError::Invalid(problem) => self.wrong(instruction.lines, problem, None),
        })?;
        let Some(op) = op else { return Ok(()) };
        let source = match &op {
            Op::Copy(copy) if copy.from.is_some() => Some(self.source(index, instruction)?),
            _ => None,
        };
        let name = numbering.name(&shown);
        let step = steps::Step { op: &op, source, instruction, name: &name, shown: &shown };
        let (layer, created) = self.step(done, &step)?;
        done.layers.push(layer);
        if let Some(line) = done.stage.image.history.last_mut() {
            line.created = Some(created);
        }
        Ok(())
    }

    /// The stage or image that a `COPY --from` takes from.
    fn source(&mut self, index: usize, instruction: &Instruction) -> Result<Done, BuildError> {
        let from = self
            .graph
            .copies_from(instruction)
            .map_err(|error| self.wrong(instruction.lines, error.problem, error.hint))?;
        match from {
            Some(From::Stage(source)) if source < index => {
                self.stage(source)?;
                Ok(self.stages[&source].clone())
            }
            Some(From::Image(name)) => {
                let platform = self.target.clone();
                let explicit = self.options.platform.is_some();
                let shown = format!("FROM {name}");
                self.image(&name, &platform, explicit, instruction.lines, &shown)
            }
            // ONBUILD triggers are not in the graph: a later stage can only be named by them.
            _ => {
                let problem = "cannot copy from a stage that is not defined before this one";
                Err(self.wrong(instruction.lines, problem.to_owned(), None))
            }
        }
    }

    fn started(&mut self, name: &str) -> usize {
        self.next_step += 1;
        let (step, at) = (self.next_step, (self.world.clock)());
        self.world.progress.on(Event::Started { step, name, at });
        step
    }

    fn done(&self, step: usize) {
        let at = (self.world.clock)();
        self.world.progress.on(Event::Done { step, at });
    }
}
