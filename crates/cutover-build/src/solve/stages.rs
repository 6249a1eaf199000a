//! The stages of a build, at the same time: each waits for another only at the instruction that
//! needs it.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Done, Origin, Solver, steps};
use crate::dockerfile::{self, Instruction, Kind};
use crate::error::boxed;
use crate::graph::{Base, From};
use crate::op::Op;
use crate::stage::{Stage, StageError};
use crate::{BuildError, Built, Event, StageShape};

/// Threads at most; a stage that waits for another keeps its own.
const MAX_THREADS: usize = 16;

/// Numbers of a stage's steps, for names like `[build 2/5]`.
pub(super) struct Numbering {
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
    pub(super) fn all(&self) -> Result<Built, BuildError> {
        self.check_allowed()?;
        self.world.progress.on(Event::Planned { stages: &self.shapes() });
        let result = self.needed_stages();
        self.save()?;
        result?;
        let done = self.stage(self.graph.target)?;
        self.finish(&done)
    }

    /// The needed stages, as they can be known before base images are.
    fn shapes(&self) -> Vec<StageShape> {
        let shape = |index: &usize| {
            let name = self.file.stages[*index].name.clone();
            let replaced = self.graph.nodes[*index].replaced;
            StageShape {
                index: *index,
                name: name.unwrap_or_else(|| format!("stage-{index}")),
                steps: if replaced { 1 } else { self.numbering(*index).total },
            }
        };
        self.graph.needed.iter().map(shape).collect()
    }

    /// Keeps what was learnt, of a failed build too.
    fn save(&self) -> Result<(), BuildError> {
        for opened in self.contexts.made() {
            if let Some(files) = &opened.files {
                files.save(&self.cache).map_err(boxed("write the build cache"))?;
            }
        }
        self.last.save(&self.cache, self.options.now).map_err(boxed("write the build cache"))
    }

    /// Builds all needed stages; the first failure stops the others and is the one to report.
    /// Stages are begun in the order of the file and wait for earlier ones only: those have begun.
    fn needed_stages(&self) -> Result<(), BuildError> {
        let needed = &self.graph.needed;
        let todo = Mutex::new(needed.iter().copied());
        let first = Mutex::new(None);
        let work = || {
            loop {
                let next = todo.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(index) = next else { return };
                if let Err(error) = self.stage(index) {
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    // Before the flag is up nobody stops for no reason of his own.
                    first.get_or_insert(error);
                    self.cancel.raise();
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..needed.len().min(MAX_THREADS) {
                scope.spawn(work);
            }
            work();
        });
        match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            _ if self.options.cancel.is_raised() => Err(BuildError::Interrupted),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The stage `index`, built here unless somebody builds it already.
    pub(super) fn stage(&self, index: usize) -> Result<Arc<Done>, BuildError> {
        self.stages.get(&index, || self.build_stage(index).map(Arc::new))
    }

    fn build_stage(&self, index: usize) -> Result<Done, BuildError> {
        let written = &self.file.stages[index];
        let mut numbering = self.numbering(index);
        let mut done = self.base(index, &mut numbering)?;
        let triggers = done.stage.take_triggers();
        if self.graph.nodes[index].replaced {
            return Ok(done);
        }
        numbering.total += triggers.len();
        for trigger in &triggers {
            let instruction =
                dockerfile::parse_trigger(trigger, written.lines).map_err(|error| {
                    let problem = format!("ONBUILD {trigger}: {}", error.problem);
                    self.wrong(error.lines, problem, error.hint)
                })?;
            self.instruction(index, &mut done, &instruction, &mut numbering)?;
        }
        for instruction in &written.instructions {
            self.instruction(index, &mut done, instruction, &mut numbering)?;
        }
        Ok(done)
    }

    fn numbering(&self, index: usize) -> Numbering {
        let stage = &self.file.stages[index];
        let acts = |instruction: &&Instruction| {
            matches!(
                instruction.kind,
                Kind::Add(_)
                    | Kind::Copy(_)
                    | Kind::Provision(..)
                    | Kind::Run(_)
                    | Kind::Workdir(_)
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

    fn base(&self, index: usize, numbering: &mut Numbering) -> Result<Done, BuildError> {
        let node = &self.graph.nodes[index];
        let platform = node.platform.clone().unwrap_or_else(|| self.target.clone());
        match &node.base {
            Base::Scratch => Ok(Done::scratch(&platform)),
            Base::Stage(base) => {
                let base = self.stage(*base)?;
                Ok(Done { stage: Stage::from_stage(&base.stage), ..Done::clone(&base) })
            }
            Base::Image(name) => {
                let explicit = node.platform.is_some() || self.options.platform.is_some();
                let lines = self.file.stages[index].lines;
                let step = numbering.name(&format!("FROM {name}"));
                let done = self.image(name, &platform, explicit, lines, (Some(index), &step))?;
                Ok(Done::clone(&done))
            }
        }
    }

    /// Applies one instruction, with what it does to the files.
    fn instruction(
        &self,
        index: usize,
        done: &mut Done,
        instruction: &Instruction,
        numbering: &mut Numbering,
    ) -> Result<(), BuildError> {
        self.check_provision(instruction)?;
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
        let mounts = match &op {
            Op::Run(run) => self.mount_sources(index, instruction, run)?,
            _ => Vec::new(),
        };
        let name = numbering.name(&shown);
        let (name, shown) = (name.as_str(), shown.as_str());
        let stage = self.file.stages[index].name.clone().unwrap_or_else(|| index.to_string());
        let place = steps::Location { stage, index, position: numbering.next };
        let step = steps::Step { op: &op, source, mounts, instruction, name, shown, place };
        let (layer, time) = self.step(done, &step)?;
        done.layers.push(layer);
        done.time = time;
        done.origin = Origin::Step(instruction.lines.start);
        Ok(())
    }

    /// The stage or image that a `COPY --from` takes from.
    fn source(&self, index: usize, instruction: &Instruction) -> Result<Arc<Done>, BuildError> {
        let from = self
            .graph
            .copies_from(instruction)
            .map_err(|error| self.wrong(instruction.lines, error.problem, error.hint))?;
        self.files_of(index, from, instruction)
    }

    /// A finished stage, or an image.
    pub(super) fn files_of(
        &self,
        index: usize,
        from: Option<From>,
        instruction: &Instruction,
    ) -> Result<Arc<Done>, BuildError> {
        match from {
            Some(From::Stage(source)) if source < index => self.stage(source),
            Some(From::Image(name)) => {
                let explicit = self.options.platform.is_some();
                let shown = format!("FROM {name}");
                self.image(&name, &self.target, explicit, instruction.lines, (None, &shown))
            }
            // ONBUILD triggers are not in the graph: a later stage can only be named by them.
            _ => {
                let problem = "cannot use files of a stage that is not defined before this one";
                Err(self.wrong(instruction.lines, problem.to_owned(), None))
            }
        }
    }
}
