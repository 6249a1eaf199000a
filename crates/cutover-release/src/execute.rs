//! [`execute`]: the one loop that acts. It makes no choices: what comes next is in the plan, what
//! a failure means is asked of [`judge`], how to go back of
//! [`revert`](mod@crate::revert).
//!
//! Each step is recorded before it acts and after; the end of one and the start of the next are
//! recorded together, so that a step costs one write. An error of the journal stops the execution
//! where it is: whoever holds the ledger resumes it.

use std::time::Duration;

use crate::facts::Releases;
use crate::journal::{Course, Entry, Failure, Journal, JournalError, Outcome, Progress, StepState};
use crate::judge::{self, Verdict, Watch};
use crate::plan::{Plan, VERSION};
use crate::revert::{rescue, revert};
use crate::step::{Action, Monitor, Step};
use crate::world::{Done, Interrupt, Scene, StepError, World};

/// How often the instances are looked at while they are watched.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// How often a step that brings the old release back is tried.
const REVERT_TRIES: u32 = 3;
const REVERT_PAUSE: Duration = Duration::from_secs(1);

/// A deployment, new or resumed.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    pub plan: &'a Plan,
    pub releases: &'a Releases,
    pub progress: Progress,
    pub course: Course,
}

/// Why an execution stopped without an outcome. The deployment stays active and can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error("the plan has format {found}, this version knows up to {VERSION}")]
    Newer { found: u32 },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Carries the deployment to its end and returns its outcome, which is recorded; `None` when it
/// was told to shut down, and is left as it is for [`resume`](fn@crate::resume).
pub fn execute(
    attempt: Attempt<'_>,
    world: &mut dyn World,
    journal: &mut dyn Journal,
) -> Result<Option<Outcome>, ExecuteError> {
    let Attempt { plan, releases, progress, course } = attempt;
    if plan.version > VERSION {
        return Err(ExecuteError::Newer { found: plan.version });
    }
    let scene = Scene { plan, releases, cancellable: false };
    let mut run = Run { scene, world, journal, progress, done: None };
    let end = match course {
        Course::Forward => run.forward()?,
        Course::Revert(failure) => run.turn_back(failure)?,
    };
    let Some(outcome) = end else {
        run.flush()?;
        return Ok(None);
    };
    run.record(&[Entry::Ended { at: run.world.now(), outcome: &outcome }])?;
    Ok(Some(outcome))
}

impl<'a> Attempt<'a> {
    /// A deployment that has not begun.
    pub fn new(plan: &'a Plan, releases: &'a Releases) -> Self {
        Self { plan, releases, progress: Progress::default(), course: Course::Forward }
    }
}

/// `None`: told to shut down.
type End = Option<Outcome>;

/// How a step ended.
enum Ended {
    Well,
    Badly(StepError),
    Suspended,
    Cancelled,
}

struct Run<'a, 'w> {
    scene: Scene<'a>,
    world: &'w mut dyn World,
    journal: &'w mut dyn Journal,
    progress: Progress,
    /// A step that ended well and is not recorded yet: it goes with the next entry.
    done: Option<(&'a Step, Duration, Option<String>)>,
}

impl<'a> Run<'a, '_> {
    fn forward(&mut self) -> Result<End, JournalError> {
        let plan = self.scene.plan;
        for step in &plan.steps {
            if self.progress.is_past(&step.id) || self.is_moot(step) {
                continue;
            }
            match self.step(step)? {
                Ended::Well => {}
                Ended::Suspended => return Ok(None),
                Ended::Cancelled => return self.turn_back(Failure::because("cancelled")),
                Ended::Badly(error) => {
                    let failure = self.failure(step, &error);
                    match self.verdict(step, &failure) {
                        Verdict::Tolerate => self.fail(step, &error, true)?,
                        Verdict::Pause => {
                            self.fail(step, &error, false)?;
                            let serving = self.serving();
                            return Ok(Some(Outcome::Paused { failure, serving }));
                        }
                        Verdict::Revert => {
                            let at = self.world.now();
                            let error = &error;
                            self.record(&[
                                Entry::Failed { step, at, error, tolerated: false },
                                Entry::Reverting { at, failure: &failure },
                            ])?;
                            return self.turn_back(failure);
                        }
                    }
                }
            }
        }
        let cleaning = &plan.steps[plan.point_of_no_return()..];
        Ok(Some(Outcome::Succeeded { left: self.left(cleaning) }))
    }

    /// Undoes the deployment.
    fn turn_back(&mut self, failure: Failure) -> Result<End, JournalError> {
        if self.progress.reverting.is_none() {
            let at = self.world.now();
            self.record(&[Entry::Reverting { at, failure: &failure }])?;
        }
        let undo = revert(self.scene.plan, &self.progress);
        for (index, step) in undo.steps.iter().enumerate() {
            if self.progress.is_past(&step.id) {
                continue;
            }
            let critical = index < undo.critical;
            let mut ended = self.undo(step, critical)?;
            for _ in 1..REVERT_TRIES {
                if !critical || !matches!(ended, Ended::Badly(_)) {
                    break;
                }
                self.world.wait(REVERT_PAUSE);
                ended = self.undo(step, critical)?;
            }
            match ended {
                Ended::Well => {}
                Ended::Suspended | Ended::Cancelled => return Ok(None),
                Ended::Badly(error) if critical => {
                    let second = Failure::at(step, &error);
                    return self.rescue(failure, second);
                }
                Ended::Badly(_) => {}
            }
        }
        let left = self.left(&undo.steps[undo.critical..]);
        Ok(Some(Outcome::Reverted { failure, left, kept: undo.kept }))
    }

    fn rescue(&mut self, failure: Failure, second: Failure) -> Result<End, JournalError> {
        for step in &rescue(self.scene.plan, &self.progress) {
            if matches!(self.undo(step, false)?, Ended::Suspended) {
                return Ok(None);
            }
        }
        let serving = self.serving();
        Ok(Some(Outcome::Stuck { failure, revert: second, serving }))
    }

    /// One step of a revert. A failure of clean-up is done with; a critical step that failed is
    /// tried again when the revert is resumed.
    fn undo(&mut self, step: &Step, critical: bool) -> Result<Ended, JournalError> {
        self.scene.cancellable = false;
        if self.world.interrupt() == Some(Interrupt::Shutdown) {
            return Ok(Ended::Suspended);
        }
        let at = self.world.now();
        self.record(&[Entry::Started { step, at }])?;
        let result = self.world.perform(&self.scene, &step.action);
        let at = self.world.now();
        match result {
            Ok(done) => {
                self.record(&[Entry::Finished { step, at, note: done.note.as_deref() }])?;
                Ok(Ended::Well)
            }
            Err(error) if error.interrupted => Ok(Ended::Suspended),
            Err(error) => {
                self.record(&[Entry::Failed { step, at, error: &error, tolerated: !critical }])?;
                Ok(Ended::Badly(error))
            }
        }
    }

    /// One step of the plan, recorded before it acts; its success is recorded with what comes next.
    fn step(&mut self, step: &'a Step) -> Result<Ended, JournalError> {
        let plan = self.scene.plan;
        let position = plan.steps.iter().position(|other| other.id == step.id);
        self.scene.cancellable = position < Some(plan.point_of_no_return());
        if let Some(ended) = self.interrupted() {
            return Ok(ended);
        }
        let since = self.progress.steps.get(&step.id).map(|record| record.started);
        let at = self.world.now();
        self.record(&[Entry::Started { step, at }])?;
        let result = match &step.action {
            Action::Pause { duration } => {
                self.world.wait(*duration);
                Ok(Done::default())
            }
            Action::Monitor(monitor) => self.watch(monitor, since.unwrap_or(at)),
            action => self.world.perform(&self.scene, action),
        };
        match result {
            Ok(done) => {
                self.done = Some((step, self.world.now(), done.note));
                Ok(Ended::Well)
            }
            Err(error) if error.interrupted => {
                // Told to stop, and then told nothing: it is as good as a shutdown.
                Ok(self.interrupted().unwrap_or(Ended::Suspended))
            }
            Err(error) => Ok(Ended::Badly(error)),
        }
    }

    /// A cancelled deployment is undone as long as it can be.
    fn interrupted(&self) -> Option<Ended> {
        match self.world.interrupt()? {
            Interrupt::Shutdown => Some(Ended::Suspended),
            Interrupt::Cancel if self.scene.cancellable => Some(Ended::Cancelled),
            Interrupt::Cancel => None,
        }
    }

    /// Looks at the new instances until the window has passed; once at least, also when the window
    /// passed while nobody executed.
    fn watch(&mut self, monitor: &Monitor, since: Duration) -> Result<Done, StepError> {
        let plan = self.scene.plan;
        let instances = Watch::instances(monitor);
        let first = self.world.observe(&instances);
        let watch = Watch::new(plan, monitor, &self.progress, first);
        loop {
            if self.interrupted().is_some() {
                return Err(StepError::interrupted());
            }
            if let Some(failure) = watch.on(&self.world.observe(&instances)) {
                let error = StepError::new(failure.reason).with_evidence(failure.evidence);
                return Err(StepError { service: failure.service, ..error });
            }
            let passed = self.world.now().saturating_sub(since);
            let left = monitor.window.saturating_sub(passed);
            if left.is_zero() {
                return Ok(Done::default());
            }
            self.world.wait(left.min(WATCH_INTERVAL));
        }
    }

    fn failure(&self, step: &Step, error: &StepError) -> Failure {
        let failure = Failure::at(step, error);
        Failure { service: failure.service.or_else(|| error.service.clone()), ..failure }
    }

    fn verdict(&self, step: &Step, failure: &Failure) -> Verdict {
        match &step.action {
            Action::Monitor(_) => judge::on_watch(self.scene.plan, &self.progress, failure),
            _ => judge::on_failure(self.scene.plan, &self.progress, step),
        }
    }

    /// It is about a new instance that already failed.
    fn is_moot(&self, step: &Step) -> bool {
        let failed = judge::failed_instances(self.scene.plan, &self.progress);
        let about = step.action.instance();
        about.is_some_and(|instance| failed.contains(&instance.id))
    }

    fn fail(
        &mut self,
        step: &Step,
        error: &StepError,
        tolerated: bool,
    ) -> Result<(), JournalError> {
        let at = self.world.now();
        self.record(&[Entry::Failed { step, at, error, tolerated }])
    }

    /// What failed among `steps` and was gone on from.
    fn left(&self, steps: &[Step]) -> Vec<Failure> {
        let failed = steps.iter().filter_map(|step| {
            let record = self.progress.steps.get(&step.id)?;
            let error = record.error.as_ref().filter(|_| record.state == StepState::Tolerated)?;
            Some(Failure::at(step, error))
        });
        failed.collect()
    }

    /// The release that serves now, as far as the journal knows.
    fn serving(&self) -> Option<u64> {
        let plan = self.scene.plan;
        let back = revert(plan, &self.progress);
        let is_switch = |step: &&Step| matches!(step.action, Action::Switch { .. });
        let is_past = |step: &Step| self.progress.is_past(&step.id);
        let forth = plan.switch_at().is_some_and(|at| is_past(&plan.steps[at]));
        let went_back = back.steps.iter().find(is_switch).is_some_and(is_past);
        if forth && !went_back { plan.to } else { plan.from }
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.record(&[])
    }

    /// Records what is due and `entries`, together.
    fn record(&mut self, entries: &[Entry<'_>]) -> Result<(), JournalError> {
        let due = self.done.take();
        let due = due.as_ref().map(|(step, at, note)| Entry::Finished {
            step,
            at: *at,
            note: note.as_deref(),
        });
        let all: Vec<Entry<'_>> = due.into_iter().chain(entries.iter().copied()).collect();
        if all.is_empty() {
            return Ok(());
        }
        self.journal.record(&all)?;
        all.iter().for_each(|entry| self.progress.apply(entry));
        Ok(())
    }
}
