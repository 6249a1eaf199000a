//! Hooks, verification commands and jobs: containers that run to their end.

use super::super::instance::{self, label};
use super::super::machine::{Step, failed};
use super::super::names;
use super::prepare::new_service;
use super::{AgentWorld, POLL};
use cutover_core::release::SealedService;
use cutover_core::service::Verify;
use cutover_release::{Done, Instance, InstanceId, Interrupt, Scene, StepError, World};
use cutover_runtime::container::{Container, Status};
use cutover_store::Image;
use std::time::{Duration, Instant};

impl AgentWorld {
    pub(super) fn run_hook(
        &self,
        scene: &Scene<'_>,
        id: &InstanceId,
        service: &str,
        index: usize,
    ) -> Step<Done> {
        let sealed = new_service(scene, service)?;
        let hook = sealed.service.pre_start.get(index).ok_or_else(|| {
            StepError::new(format!("service `{service}` has no pre_start[{index}]"))
        })?;
        let digest = hook.image.as_ref().and_then(|image| image.digest().cloned());
        let image = self.image(scene, service, &digest.unwrap_or_else(|| sealed.image.clone()))?;
        let what = format!("pre_start `{}`", hook.command.join(" "));
        let run = OneOff { id, sealed, image, command: &hook.command, what };
        self.one_off(scene, run, Some(hook), None)
    }

    pub(super) fn verify_command(
        &self,
        scene: &Scene<'_>,
        id: &InstanceId,
        service: &str,
        index: usize,
    ) -> Step<Done> {
        let sealed = new_service(scene, service)?;
        let Some(Verify::Command(check)) = sealed.service.cutover.verify.get(index) else {
            return Err(StepError::new(format!("service `{service}` has no verify[{index}]")));
        };
        let image = self.image(scene, service, &sealed.image)?;
        let what = format!("verify `{}`", check.command.join(" "));
        let run = OneOff { id, sealed, image, command: &check.command, what };
        self.one_off(scene, run, None, Some(check.timeout))
    }

    /// Runs a container to its end, once: one that is there already is waited for.
    pub(super) fn one_off(
        &self,
        scene: &Scene<'_>,
        run: OneOff<'_>,
        hook: Option<&cutover_core::service::Hook>,
        timeout: Option<Duration>,
    ) -> Step<Done> {
        let container = match self.machine.container(&self.app, run.id)? {
            Some(container) => container,
            None => {
                let gateways = self.machine.gateways(run.sealed)?;
                self.machine.lay_out_files(&self.app, &run.id.0, run.sealed)?;
                let files = self.machine.files_dir(&self.app, &run.id.0);
                let place = self.place(&gateways, &files)?;
                let options = instance::one_off(&place, &run.id.0, run.sealed, run.command, hook)
                    .map_err(StepError::new)?;
                self.create(&run.image, run.sealed.image_name.to_string(), options)?
            }
        };
        if container.state().map_err(failed)?.status == Status::Created {
            container.start().map_err(failed)?;
        }
        let code = match self.await_exit(scene, &container, timeout) {
            Err(error) if error.interrupted && self.interrupt() == Some(Interrupt::Cancel) => {
                // undone means undone: it must not go on behind the revert
                container.remove(true, true).map_err(failed)?;
                self.machine.remove_files(&self.app, &run.id.0);
                return Err(error);
            }
            other => other?,
        };
        let evidence = if code == Some(0) { Vec::new() } else { self.machine.log_tail(&container) };
        // It stays until the deployment's last step: if the agent dies before this success is
        // recorded, the next one finds the result and does not run it a second time.
        let reason = match code {
            Some(0) => return Ok(Done::default()),
            Some(code) => format!("{} ended with exit code {code}", run.what),
            None => {
                let limit = cutover_core::units::format_duration(timeout.unwrap_or_default());
                format!("{} did not end within {limit}", run.what)
            }
        };
        container.remove(true, true).map_err(failed)?;
        self.machine.remove_files(&self.app, &run.id.0);
        Err(StepError::new(reason).with_evidence(evidence))
    }

    /// Ends what only this deployment saw: removes the one-off containers of the app that have ended.
    pub(super) fn collect(&self) -> Step<Done> {
        names::end_preview(&self.machine, &self.app)?;
        for summary in self.machine.containers.list().map_err(failed)? {
            let labels = &summary.config.labels;
            let has = |key: &str, value: &str| labels.get(key).is_some_and(|have| have == value);
            let ours = has(label::APP, &self.app) && has(label::KIND, "one-off");
            if !ours || summary.state.status.is_live() {
                continue;
            }
            let container = self.machine.containers.get(summary.config.id.as_str());
            container.and_then(|found| found.remove(true, true)).map_err(failed)?;
            if let Some(id) = labels.get(label::INSTANCE) {
                self.machine.remove_files(&self.app, id);
            }
        }
        Ok(Done::default())
    }

    /// The exit code; `None` when it took longer than `timeout`.
    pub(super) fn await_exit(
        &self,
        scene: &Scene<'_>,
        container: &Container,
        timeout: Option<Duration>,
    ) -> Step<Option<i32>> {
        let deadline = Deadline::after(timeout);
        loop {
            let now = container.state().map_err(failed)?;
            if !now.status.is_live() {
                return Ok(Some(now.exit_code()));
            }
            if scene.must_stop(self.interrupt()) {
                return Err(StepError::interrupted());
            }
            if deadline.passed() {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    pub(super) fn await_completed(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
        let container = self.require(instance)?;
        match self.await_exit(scene, &container, None)? {
            Some(0) => Ok(Done::default()),
            Some(code) => {
                Err(StepError::new(format!("`{}` ended with exit code {code}", instance.id))
                    .with_evidence(self.evidence(&container)))
            }
            None => Err(StepError::new(format!("`{}` did not end in time", instance.id))
                .with_evidence(self.evidence(&container))),
        }
    }

    pub(super) fn require(&self, instance: &Instance) -> Step<Container> {
        self.machine.container(&self.app, &instance.id)?.ok_or_else(|| {
            StepError::new(format!("the container of instance `{}` is gone", instance.id))
        })
    }
}

pub(super) struct OneOff<'a> {
    id: &'a InstanceId,
    sealed: &'a SealedService,
    image: Image,
    command: &'a [String],
    /// How a message names it.
    what: String,
}

/// A moment that may never come.
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.map(|timeout| Instant::now() + timeout))
    }

    pub(super) fn passed(&self) -> bool {
        self.0.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
