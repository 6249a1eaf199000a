//! [`LastBuild`]: what the steps were made of last time, and this time.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cutover_core::Digest;
use cutover_core::oci::Platform;

use super::steps::Step;
use super::{Done, Origin, Solver};
use crate::cache::{Cache, Record};
use crate::error::boxed;
use crate::explain::{self, Cause};
use crate::inputs::Input;
use crate::{BuildError, BuildOptions, DockerfileSource, StepReport, platform};

/// Records of one Dockerfile in one context.
#[derive(Debug)]
pub(super) struct LastBuild {
    pub(super) salt: String,
    project: String,
    records: Vec<Record>,
    /// Of this build.
    new: Mutex<Vec<Record>>,
    /// Keys of steps that were found or made.
    used: Mutex<Vec<Digest>>,
}

impl LastBuild {
    pub(super) fn load(
        cache: &Cache,
        options: &BuildOptions,
        target: &Platform,
        dockerfile: Option<&Path>,
    ) -> Result<Self, BuildError> {
        let failed = || boxed("read the build cache");
        let absolute = |path: &Path| {
            let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            path.to_string_lossy().into_owned()
        };
        let file = match (&options.dockerfile, dockerfile) {
            (DockerfileSource::Inline(_), _) | (_, None) => "-".to_owned(),
            (_, Some(path)) => absolute(path),
        };
        let context = absolute(&options.context);
        let project = format!("{context}\n{file}\n{}", platform::format(target));
        let records = cache.records(&project).map_err(failed())?;
        let salt = cache.salt().map_err(failed())?;
        let (new, used) = (Mutex::default(), Mutex::default());
        Ok(Self { salt, project, records, new, used })
    }

    pub(super) fn add(&self, record: Record, key: Digest) {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    /// Writes what is not as it was.
    pub(super) fn save(&self, cache: &Cache, at: i64) -> Result<(), rusqlite::Error> {
        cache.used(&self.used.lock().unwrap_or_else(PoisonError::into_inner), at)?;
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        let changed: Vec<Record> =
            new.iter().filter(|record| !self.records.contains(record)).cloned().collect();
        match changed.is_empty() {
            true => Ok(()),
            false => cache.save_records(&self.project, &changed, at),
        }
    }

    /// The record of the same step, by its text or else by its place.
    fn same(&self, step: &Step<'_>, texts: &[&str]) -> Option<&Record> {
        let (place, text) = (&step.place, step.instruction.code.as_str());
        let of_stage = || self.records.iter().filter(|record| record.stage == place.stage);
        let by_text = of_stage()
            .filter(|record| record.text == text)
            .min_by_key(|record| record.position.abs_diff(place.position));
        // What stood here and still stands elsewhere is another step.
        let by_place = || {
            of_stage().find(|record| {
                record.position == place.position
                    && keyword(&record.text) == keyword(text)
                    && !texts.contains(&record.text.as_str())
            })
        };
        let elsewhere = || self.records.iter().find(|record| record.text == text);
        by_text.or_else(by_place).or_else(elsewhere)
    }
}

fn keyword(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_uppercase()
}

impl Solver<'_> {
    /// Why a step is not found: its inputs beside those of the last time.
    pub(super) fn causes(
        &self,
        done: &Done,
        step: &Step<'_>,
        key: &Digest,
        inputs: &[Input],
    ) -> Vec<Cause> {
        let instructions = &self.file.stages[step.place.index].instructions;
        let texts: Vec<&str> = instructions.iter().map(|one| one.code.as_str()).collect();
        let same = self.last.same(step, &texts).cloned();
        let elsewhere = || self.cache.record_elsewhere(&step.instruction.code).ok().flatten();
        let Some(last) = same.or_else(elsewhere) else { return vec![Cause::NeverBuilt] };
        if last.key == key.as_str() {
            return vec![if step.is_linked() { Cause::NewBase } else { Cause::Removed }];
        }
        let line = match done.origin {
            Origin::Step(line) => line,
            _ => self.file.stages[step.place.index].lines.start,
        };
        let causes =
            explain::changes(&last.inputs, inputs, line, &|digest| self.cache.listing(digest));
        // Records of another version of this program have other inputs.
        if causes.is_empty() { vec![Cause::NeverBuilt] } else { causes }
    }

    pub(super) fn report(&self, step: &Step<'_>, causes: Vec<Cause>) -> StepReport {
        let place = (self.place)(step.instruction.lines);
        StepReport {
            file: place.file.to_string(),
            line: place.start,
            name: step.name.to_owned(),
            hit: causes.is_empty(),
            causes,
        }
    }
}
