//! Instances as containers: create, start, stop, look at.

use super::super::instance::{self, Place};
use super::super::machine::{Step, failed, health, state};
use super::prepare::sealed;
use super::{AgentWorld, EVIDENCE_LINES};
use crate::clock;
use cutover_core::release::SealedService;
use cutover_release::facts::{Health, State};
use cutover_release::policy;
use cutover_release::step::Standby;
use cutover_release::world::Reading;
use cutover_release::{Done, Instance, InstanceId, Scene, StepError};
use cutover_runtime::container::{
    Container, ExecOptions, ExitStatus, RestartPolicy, SessionIo, Status,
};
use cutover_runtime::merge::{ImageSource, RunOptions, merge};
use cutover_store::Image;
use std::collections::BTreeMap;

impl AgentWorld {
    pub(super) fn place<'a>(
        &'a self,
        gateways: &'a BTreeMap<String, std::net::IpAddr>,
        files: &'a std::path::Path,
    ) -> Step<Place<'a>> {
        let id = clock::random_id().parse().map_err(failed)?;
        Ok(Place { app: &self.app, gateways, files, id, now: clock::now() })
    }

    pub(super) fn create(
        &self,
        image: &Image,
        name: String,
        options: RunOptions,
    ) -> Step<Container> {
        let lease = self.machine.store.lease().map_err(failed)?;
        let lowers = self.machine.store.snapshots().ensure(image, &mut |_| {}).map_err(failed)?;
        let config = &image.config.config;
        let source = ImageSource { name, digest: image.digest.clone(), config, lowers };
        let config = merge(&source, options).map_err(failed)?;
        let container = self.machine.containers.create(config).map_err(failed)?;
        drop(lease);
        Ok(container)
    }

    pub(super) fn start(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
        let sealed = sealed(scene, instance)?;
        self.machine.lay_out_files(&self.app, &instance.id.0, sealed)?;
        let container = match self.machine.container(&self.app, &instance.id)? {
            Some(container) => container,
            None => self.create_instance(scene, instance, sealed)?,
        };
        match container.state().map_err(failed)?.status {
            Status::Running | Status::Restarting => return Ok(Done::default()),
            Status::Paused => {
                container.unpause().map_err(failed)?;
                return Ok(Done::default());
            }
            Status::Created | Status::Exited | Status::Dead => {}
        }
        container
            .start()
            .map_err(|error| failed(error).with_evidence(self.machine.log_tail(&container)))?;
        for hook in &sealed.service.post_start {
            let status = exec(&container, &hook.command, hook.user.clone())?;
            if status.code != 0 {
                let command = hook.command.join(" ");
                let reason = format!("post_start `{command}` ended with {}", status.code);
                return Err(StepError::new(reason).with_evidence(self.machine.log_tail(&container)));
            }
        }
        Ok(Done::default())
    }

    pub(super) fn create_instance(
        &self,
        scene: &Scene<'_>,
        instance: &Instance,
        sealed: &SealedService,
    ) -> Step<Container> {
        let image = self.image(scene, &instance.service, &sealed.image)?;
        let gateways = self.machine.gateways(sealed)?;
        let files = self.machine.files_dir(&self.app, &instance.id.0);
        let place = self.place(&gateways, &files)?;
        let mut options = instance::options(&place, instance, sealed).map_err(StepError::new)?;
        // A job ends and is waited for; brought back by its policy it would never have ended.
        let is_job = |release| policy::is_job(&instance.service, release);
        if scene.to().is_some_and(is_job) {
            options.restart = RestartPolicy::No;
        }
        self.create(&image, sealed.image_name.to_string(), options)
    }

    pub(super) fn stop(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
        let Some(container) = self.machine.container(&self.app, &instance.id)? else {
            return Ok(Done::default());
        };
        let now = container.state().map_err(failed)?;
        if !now.status.is_live() {
            return Ok(Done::default());
        }
        if now.status == Status::Paused {
            container.unpause().map_err(failed)?;
        }
        let mut note = None;
        let hooks = scene.sealed(instance).map(|sealed| sealed.service.pre_stop.as_slice());
        for hook in hooks.unwrap_or_default() {
            let status = exec(&container, &hook.command, hook.user.clone());
            if status.as_ref().map_or(true, |status| status.code != 0) {
                note = Some(format!("pre_stop `{}` failed", hook.command.join(" ")));
            }
        }
        container.stop(None).map_err(failed)?;
        Ok(Done { note })
    }

    pub(super) fn standby(
        &self,
        scene: &Scene<'_>,
        instance: &Instance,
        mode: Standby,
    ) -> Step<Done> {
        if mode == Standby::Stopped {
            return self.stop(scene, instance);
        }
        let Some(container) = self.machine.container(&self.app, &instance.id)? else {
            return Ok(Done::note(format!("`{}` is gone: it cannot wait", instance.id)));
        };
        let status = container.state().map_err(failed)?.status;
        match (mode, status) {
            (Standby::Frozen, Status::Running) => container.pause().map_err(failed)?,
            (Standby::Running, Status::Paused) => container.unpause().map_err(failed)?,
            _ => {}
        }
        Ok(Done::default())
    }

    pub(super) fn remove(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
        let done = self.stop(scene, instance)?;
        if let Some(container) = self.machine.container(&self.app, &instance.id)? {
            container.remove(true, true).map_err(failed)?;
        }
        self.machine.remove_files(&self.app, &instance.id.0);
        Ok(done)
    }

    pub(super) fn reading(&self, id: &InstanceId) -> Reading {
        let Ok(Some(container)) = self.machine.container(&self.app, id) else {
            return Reading::gone();
        };
        let Ok(now) = container.state() else { return Reading::gone() };
        let (state, health) = (state(&now), health(&now));
        let bad = state != State::Running || health == Health::Unhealthy || now.restart_count > 0;
        let evidence = if bad { self.evidence(&container) } else { Vec::new() };
        let restarts = u64::from(now.restart_count);
        Reading { state, health, restarts, requests: 0, errors: 0, evidence }
    }

    /// Exit code, last health output, last log lines.
    pub(super) fn evidence(&self, container: &Container) -> Vec<String> {
        let mut lines = Vec::new();
        if let Ok(now) = container.state() {
            if let Some(exit) = now.exit.filter(|_| !now.status.is_live()) {
                let oom = if exit.oom_killed { ", killed for using too much memory" } else { "" };
                lines.push(format!("ended with exit code {}{oom}", exit.code));
            }
            if let Some(probe) = now.health.as_ref().and_then(|health| health.log.last()) {
                lines.push(format!("healthcheck ended with exit code {}", probe.exit_code));
                let output = probe.output.trim().lines().take(EVIDENCE_LINES);
                lines.extend(output.map(|line| format!("  {line}")));
            }
        }
        lines.extend(self.machine.log_tail(container));
        lines
    }
}

/// Runs a command in a container, its output thrown away.
pub(super) fn exec(
    container: &Container,
    command: &[String],
    user: Option<String>,
) -> Step<ExitStatus> {
    let options = ExecOptions { args: command.to_vec(), user, ..ExecOptions::default() };
    let session = container.exec(&options).map_err(failed)?;
    let ended = session.run(SessionIo {
        stdin: None,
        stdout: &mut std::io::sink(),
        stderr: &mut std::io::sink(),
        forward_signals: false,
        detach_keys: Vec::new(),
    });
    match ended.map_err(failed)? {
        cutover_runtime::container::Ended::Exited(status) => Ok(status),
        cutover_runtime::container::Ended::Detached => Ok(ExitStatus::default()),
    }
}
