//! One step: its key, the cache, or its execution into a new layer.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, media_type};

use super::{Done, Layer, Solver, files, time};
use crate::cache;
use crate::dockerfile::Instruction;
use crate::explain::Cause;
use crate::op::Op;
use crate::progress::CANCELED;
use crate::{BuildError, Event};

/// What is to be done and how to speak of it.
#[derive(Clone, Debug)]
pub(super) struct Step<'a> {
    pub(super) op: &'a Op,
    /// `COPY --from`.
    pub(super) source: Option<Arc<Done>>,
    /// `RUN --mount=from=`, for each mount.
    pub(super) mounts: Vec<Option<Arc<Done>>>,
    pub(super) instruction: &'a Instruction,
    /// `[2/5] RUN make`.
    pub(super) name: &'a str,
    pub(super) shown: &'a str,
    pub(super) place: Location,
}

/// Why a step failed.
pub(super) enum Failure {
    /// The process of a RUN.
    Exit {
        code: i32,
        output: Vec<String>,
    },
    Other(Box<dyn Error + Send + Sync>),
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(Box::new(error))
    }
}

/// Where a step is: its stage, and its number there.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) stage: String,
    pub(super) index: usize,
    pub(super) position: usize,
}

impl Step<'_> {
    /// A layer that depends on nothing below it.
    pub(super) fn is_linked(&self) -> bool {
        matches!(self.op, Op::Copy(copy) if copy.link)
    }
}

impl Solver<'_> {
    /// The layer of `step` on top of `done`, and the time that its files have.
    pub(super) fn step(&self, done: &Done, step: &Step<'_>) -> Result<(Layer, i64), BuildError> {
        self.check_cancel()?;
        let (selected, contents) = match step.op {
            Op::Copy(copy) => {
                let selected = self.select(copy, step)?;
                let content = selected.content(step);
                (Some(selected), vec![content])
            }
            Op::Run(run) => (None, self.mounted_content(run, step)?),
            Op::Mkdir { .. } => (None, Vec::new()),
        };
        let (key, inputs) = self.inputs(done, step, &contents).finish();
        let below = if step.is_linked() { time::FIRST } else { done.time };
        let time = self.epoch.unwrap_or_else(|| time::of_layer(below, &key));
        let mut causes = Vec::new();
        // A step of another stage that does the same is waited for and then found.
        let mut found = true;
        let mut make = || {
            let asked = self.is_asked_anew(step);
            if !asked && let Some(layer) = self.remembered(done, step, &key)? {
                return Ok(layer);
            }
            found = false;
            if self.options.explain {
                causes = match asked {
                    true => vec![Cause::Asked],
                    false => self.causes(done, step, &key, &inputs),
                };
            }
            self.make(done, step, selected.as_ref(), (&key, time))
        };
        let made = match step.is_linked() {
            // The same layer on top of others is another one.
            true => make(),
            false => self.steps.get(&key, make),
        };
        if self.options.explain {
            let report = self.report(step, causes);
            self.world.progress.on(Event::Explained { report: &report });
        }
        let layer = made?;
        if found {
            self.cached.fetch_add(1, Ordering::Relaxed);
            self.found(Some(step.place.index), step.name);
        }
        let record = cache::Record {
            stage: step.place.stage.clone(),
            position: step.place.position,
            text: step.instruction.code.clone(),
            key: key.to_string(),
            inputs,
        };
        self.travel.note_step(&key, &layer);
        self.last.add(record, key);
        Ok((layer, time.max(done.time)))
    }

    /// `--no-cache`, `--no-cache-filter`.
    fn is_asked_anew(&self, step: &Step<'_>) -> bool {
        let named = |name: &String| {
            let name = name.to_lowercase();
            name == step.place.stage || name == step.place.index.to_string()
        };
        self.options.no_cache || self.options.no_cache_filter.iter().any(named)
    }

    /// Executes a step and remembers what it made.
    fn make(
        &self,
        done: &Done,
        step: &Step<'_>,
        selected: Option<&files::Selection>,
        (key, time): (&Digest, i64),
    ) -> Result<Layer, BuildError> {
        let _slot = self.slots.take();
        self.check_cancel()?;
        // a build that cannot have them begins anew, and has not begun with this step
        self.materialize(done)?;
        let sources = step.source.iter().chain(step.mounts.iter().flatten());
        sources.map(Arc::as_ref).try_for_each(|source| self.materialize(source))?;
        let id = self.started_in(Some(step.place.index), step.name);
        let layer = self
            .execute(done, step, selected, (id, time))
            .map_err(|failure| self.failure(step, id, failure))?;
        self.done(id);
        self.executed.fetch_add(1, Ordering::Relaxed);
        let remembered = cache::Step {
            diff_id: layer.diff_id.clone(),
            chain_id: layer.chain_id.clone(),
            size: layer.descriptor.size,
        };
        let written = self.cache.remember(key, &remembered, self.options.now);
        written.map_err(crate::error::boxed("write the build cache"))?;
        Ok(layer)
    }

    fn remembered(
        &self,
        done: &Done,
        step: &Step<'_>,
        key: &Digest,
    ) -> Result<Option<Layer>, BuildError> {
        let known = self.cache.step(key).map_err(crate::error::boxed("read the build cache"))?;
        let Some(known) = known else { return Ok(self.imported(done, key)) };
        let chain_id = match step.is_linked() {
            true => cutover_store::chain_id(done.chain_ids().last(), &known.diff_id),
            false => known.chain_id,
        };
        let there = self.world.store.snapshots().contains(&chain_id);
        match there {
            true => Ok(Some(to_layer(chain_id, known.diff_id, known.size))),
            false => Ok(self.imported(done, key).or_else(|| {
                // enough as long as nobody needs its files
                let layer = || to_layer(chain_id, known.diff_id, known.size);
                self.travel.believes_records().then(layer)
            })),
        }
    }

    fn execute(
        &self,
        done: &Done,
        step: &Step<'_>,
        selected: Option<&files::Selection>,
        (id, time): (usize, i64),
    ) -> Result<Layer, Failure> {
        let draft = self.world.store.snapshots().draft(&done.chain_ids())?;
        match (step.op, selected) {
            (Op::Run(run), _) => self.run(&draft, run, step, id)?,
            (Op::Copy(copy), Some(selected)) => {
                self.copy(&draft, copy, (step, selected), time)?;
            }
            (Op::Copy(_), None) => {}
            (Op::Mkdir { path, owner }, _) => self.mkdir(&draft, path, owner, time)?,
        }
        if self.cancel.is_raised() {
            // What was cut short is no layer.
            return Err(Failure::Other(Box::new(BuildError::Interrupted)));
        }
        files::clamp_times(&draft.upper, time)?;
        let layer = draft.commit(&time::rfc3339(self.options.now))?;
        Ok(to_layer(layer.chain_id, layer.diff_id, layer.size))
    }

    fn failure(&self, step: &Step<'_>, id: usize, failure: Failure) -> BuildError {
        let place = (self.place)(step.instruction.lines);
        if self.cancel.is_raised() {
            self.failed(id, CANCELED);
            return BuildError::Interrupted;
        }
        match failure {
            Failure::Exit { code, output } => {
                self.failed(id, &format!("exit code {code}"));
                BuildError::Exit { place, command: step.shown.to_owned(), code, output }
            }
            Failure::Other(source) => {
                self.failed(id, &source.to_string());
                BuildError::Step { place, instruction: step.shown.to_owned(), source }
            }
        }
    }
}

/// A layer that this builder made: not compressed, named by its own digest.
pub(super) fn to_layer(chain_id: Digest, diff_id: Digest, size: u64) -> Layer {
    let descriptor = Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), size);
    Layer { chain_id, diff_id, descriptor }
}
