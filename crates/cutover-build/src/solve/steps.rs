//! One step: its key, the cache, or its execution into a new layer.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, media_type};
use cutover_store::Draft;

use super::{Done, Layer, Solver, files, keys, time};
use crate::cache;
use crate::dockerfile::Instruction;
use crate::op::Op;
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

impl Solver<'_> {
    /// The layer of `step` on top of `done`, and when it was made.
    pub(super) fn step(&self, done: &Done, step: &Step<'_>) -> Result<(Layer, String), BuildError> {
        self.check_cancel()?;
        let selected = match step.op {
            Op::Copy(copy) => Some(self.select(copy, step)?),
            _ => None,
        };
        let mounted = match step.op {
            Op::Run(run) => self.mounted_content(run, step)?,
            _ => None,
        };
        let content = selected.as_ref().map(|selected| &selected.content).or(mounted.as_ref());
        let key = keys::of(&done.top(), step.op, content, self);
        // A step of another stage that does the same is waited for and then found.
        let mut found = true;
        let made = self.steps.get(&key, || {
            if !self.options.no_cache
                && let Some(made) = self.remembered(&key)?
            {
                return Ok(made);
            }
            found = false;
            self.make(done, step, selected, &key)
        })?;
        if found {
            self.cached.fetch_add(1, Ordering::Relaxed);
            let (step, name) = (self.next_step(), step.name);
            self.world.progress.on(Event::Cached { step, name });
        }
        Ok(made)
    }

    /// Executes a step and remembers what it made.
    fn make(
        &self,
        done: &Done,
        step: &Step<'_>,
        selected: Option<files::Selection>,
        key: &Digest,
    ) -> Result<(Layer, String), BuildError> {
        let _slot = self.slots.take();
        self.check_cancel()?;
        let id = self.started(step.name);
        let made = self
            .execute(done, step, selected, id)
            .map_err(|failure| self.explain(step, id, failure))?;
        self.done(id);
        self.executed.fetch_add(1, Ordering::Relaxed);
        let remembered = cache::Step {
            diff_id: made.0.diff_id.clone(),
            chain_id: made.0.chain_id.clone(),
            size: made.0.descriptor.size,
            created: made.1.clone(),
        };
        let written = self.cache.remember(key, &remembered);
        written.map_err(crate::error::boxed("write the build cache"))?;
        Ok(made)
    }

    fn remembered(&self, key: &Digest) -> Result<Option<(Layer, String)>, BuildError> {
        let step = self.cache.step(key).map_err(crate::error::boxed("read the build cache"))?;
        let there = |step: &cache::Step| self.world.store.snapshots().contains(&step.chain_id);
        Ok(step
            .filter(there)
            .map(|step| (to_layer(step.chain_id, step.diff_id, step.size), step.created)))
    }

    fn execute(
        &self,
        done: &Done,
        step: &Step<'_>,
        selected: Option<files::Selection>,
        id: usize,
    ) -> Result<(Layer, String), Failure> {
        let draft = self.world.store.snapshots().draft(&done.chain_ids())?;
        match (step.op, selected) {
            (Op::Run(run), _) => self.run(&draft, run, step, id)?,
            (Op::Copy(copy), Some(selected)) => self.copy(&draft, copy, step, &selected)?,
            (Op::Copy(_), None) => {}
            (Op::Mkdir { path, owner }, _) => self.mkdir(&draft, path, owner)?,
        }
        self.commit(draft)
    }

    fn commit(&self, draft: Draft) -> Result<(Layer, String), Failure> {
        if let Some(epoch) = self.epoch {
            files::clamp_times(&draft.upper, epoch)?;
        }
        let created = time::rfc3339(self.now());
        let layer = draft.commit(&created)?;
        Ok((to_layer(layer.chain_id, layer.diff_id, layer.size), created))
    }

    pub(super) fn now(&self) -> i64 {
        self.epoch.unwrap_or(self.options.now)
    }

    fn explain(&self, step: &Step<'_>, id: usize, failure: Failure) -> BuildError {
        let place = (self.place)(step.instruction.lines);
        if self.cancel.is_raised() {
            self.failed(id, "canceled");
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
fn to_layer(chain_id: Digest, diff_id: Digest, size: u64) -> Layer {
    let descriptor = Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), size);
    Layer { chain_id, diff_id, descriptor }
}
