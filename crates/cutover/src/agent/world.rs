//! The release engine's [`World`]: one `match` over its actions, each a few calls to the runtime,
//! the store and the proxy. Nothing is decided here.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use cutover_core::Digest;
use cutover_core::release::SealedService;
use cutover_core::service::{HttpCheck, HttpHealth, Verify};
use cutover_proxy::control::{ProbeResult, ProbeSpec, ServiceOptions, ServiceSpec, TargetSpec};
use cutover_release::facts::{Health, Routes, State};
use cutover_release::step::Standby;
use cutover_release::world::Reading;
use cutover_release::{Action, Done, Instance, InstanceId, Interrupt, Scene, StepError, World};
use cutover_runtime::container::{Container, ExecOptions, ExitStatus, SessionIo, Status};
use cutover_runtime::merge::{ImageSource, RunOptions, merge};
use cutover_runtime::volume::Volume;
use cutover_store::Image;

use super::instance::{self, Place, label};
use super::machine::{Machine, Step, failed, health, state};
use super::{names, routes, traffic};
use crate::clock;

/// How often the state of a container is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(10);
/// What an instance without any health check must survive to count as started.
const SETTLE: Duration = Duration::from_secs(1);
/// Requests that wait in the proxy while a service is held.
const HOLD_LIMIT: usize = 10_000;
/// Lines of a health check's output that a failure shows.
const EVIDENCE_LINES: usize = 5;

/// Why the deployment thread should stop; shared with the agent's server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stopper(Arc<AtomicU8>);

impl Stopper {
    pub(crate) fn cancel(&self) {
        self.0.store(1, Ordering::SeqCst);
    }

    pub(crate) fn shut_down(&self) {
        self.0.store(2, Ordering::SeqCst);
    }

    fn asked(&self) -> Option<Interrupt> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Interrupt::Cancel),
            _ => Some(Interrupt::Shutdown),
        }
    }
}

/// A machine and the deployment's stopper.
#[derive(Debug)]
pub(crate) struct AgentWorld {
    pub(crate) machine: Arc<Machine>,
    pub(crate) app: String,
    pub(crate) stopper: Stopper,
}

impl World for AgentWorld {
    fn perform(&mut self, scene: &Scene<'_>, action: &Action) -> Result<Done, StepError> {
        match action {
            Action::PrepareImage { service, image } => self.prepare_image(scene, service, image),
            Action::EnsureNetwork { name } => self.ensure_network(scene, name),
            Action::EnsureVolume { name } => self.ensure_volume(scene, name),
            Action::RunHook { id, service, index, .. } => self.run_hook(scene, id, service, *index),
            Action::Start { instance } => self.start(scene, instance),
            Action::AwaitHealthy { instance, timeout } => {
                self.await_healthy(scene, instance, *timeout)
            }
            Action::AwaitCompleted { instance, .. } => self.await_completed(scene, instance),
            Action::Verify { instance } => self.verify(scene, instance),
            Action::VerifyCommand { id, service, index } => {
                self.verify_command(scene, id, service, *index)
            }
            Action::Hold { services, limit, drain } => self.hold(scene, services, *limit, *drain),
            Action::Unhold { services } => self.unhold(services),
            Action::Announce { service, instances } => self.announce(scene, service, instances),
            Action::Switch { generation, release, targets } => {
                self.switch(scene, *generation, *release, targets)
            }
            Action::Drain { service, instances, timeout } => {
                self.drain(service, instances, *timeout)
            }
            Action::Stop { instance } => self.stop(scene, instance),
            Action::Standby { instance, mode } => self.standby(scene, instance, *mode),
            Action::Remove { instance } => self.remove(scene, instance),
            // images are left to the next gc
            Action::Collect { .. } => self.collect(),
            Action::Pause { .. } | Action::Monitor(_) => Ok(Done::default()),
        }
    }

    fn observe(&mut self, instances: &[&Instance]) -> BTreeMap<InstanceId, Reading> {
        let stats = self.machine.proxy().and_then(|mut proxy| proxy.stats(None).map_err(failed));
        let mut counters = BTreeMap::new();
        for service in stats.unwrap_or_default() {
            for target in service.targets {
                counters.insert(target.id, (target.stats.requests, target.stats.errors()));
            }
        }
        let reading = |instance: &&Instance| {
            let mut reading = self.reading(&instance.id);
            if let Some((requests, errors)) = counters.get(&instance.id.0) {
                (reading.requests, reading.errors) = (*requests, *errors);
            }
            (instance.id.clone(), reading)
        };
        instances.iter().map(reading).collect()
    }

    fn wait(&mut self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() && self.interrupt().is_none() {
            let nap = left.min(Duration::from_millis(50));
            std::thread::sleep(nap);
            left -= nap;
        }
    }

    fn now(&self) -> Duration {
        clock::since_epoch()
    }

    fn interrupt(&self) -> Option<Interrupt> {
        self.stopper.asked()
    }
}

// === preparing ===

impl AgentWorld {
    fn prepare_image(&self, scene: &Scene<'_>, service: &str, digest: &Digest) -> Step<Done> {
        let image = self.image(scene, service, digest)?;
        let images = self.machine.store.snapshots();
        images.ensure(&image, &mut |_| {}).map_err(failed)?;
        Ok(Done::default())
    }

    fn image(&self, scene: &Scene<'_>, service: &str, digest: &Digest) -> Step<Image> {
        match self.machine.store.images().resolve(digest.as_str()).map_err(failed)? {
            Some(image) => Ok(image),
            None => {
                let sealed = new_service(scene, service)?;
                let reference = sealed.image_name.at(digest.clone());
                super::pull(&self.machine, &reference).map_err(|error| {
                    failed(error.context(format!(
                        "image {} of service `{service}` is not on this machine",
                        digest.short()
                    )))
                })
            }
        }
    }

    fn ensure_network(&self, scene: &Scene<'_>, name: &str) -> Step<Done> {
        let services = scene.to().into_iter().flat_map(|release| release.services.values());
        let mut used = services.flat_map(|sealed| sealed.service.networks.values());
        let wanted = used.find(|used| used.network.name == name).map(|used| &used.network);
        let wanted =
            wanted.ok_or_else(|| StepError::new(format!("the release has no network `{name}`")))?;
        self.machine.ensure_network(wanted)?;
        Ok(Done::default())
    }

    fn ensure_volume(&self, scene: &Scene<'_>, name: &str) -> Step<Done> {
        let volumes = self.machine.containers.volumes();
        let services = scene.to().into_iter().flat_map(|release| release.services.values());
        let mut owned = services.flat_map(|sealed| sealed.service.owned_volumes());
        let wanted = owned.find(|volume| volume.name == name);
        if wanted.is_some_and(|volume| volume.external) && volumes.get(name).is_err() {
            return Err(StepError::new(format!("external volume `{name}` does not exist")));
        }
        let mut record = Volume::named(name, clock::now());
        record.labels.insert(label::APP.to_owned(), self.app.clone());
        volumes.create(&record).map_err(failed)?;
        Ok(Done::default())
    }
}

fn new_service<'a>(scene: &Scene<'a>, service: &str) -> Step<&'a SealedService> {
    scene
        .new_service(service)
        .ok_or_else(|| StepError::new(format!("the release has no service `{service}`")))
}

fn sealed<'a>(scene: &Scene<'a>, instance: &Instance) -> Step<&'a SealedService> {
    scene.sealed(instance).ok_or_else(|| {
        StepError::new(format!("no kept release describes instance `{}`", instance.id))
    })
}

// === containers ===

impl AgentWorld {
    fn place<'a>(
        &'a self,
        gateways: &'a BTreeMap<String, std::net::IpAddr>,
        files: &'a std::path::Path,
    ) -> Step<Place<'a>> {
        let id = clock::random_id().parse().map_err(failed)?;
        Ok(Place { app: &self.app, gateways, files, id, now: clock::now() })
    }

    fn create(&self, image: &Image, name: String, options: RunOptions) -> Step<Container> {
        let lease = self.machine.store.lease().map_err(failed)?;
        let lowers = self.machine.store.snapshots().ensure(image, &mut |_| {}).map_err(failed)?;
        let config = &image.config.config;
        let source = ImageSource { name, digest: image.digest.clone(), config, lowers };
        let config = merge(&source, options).map_err(failed)?;
        let container = self.machine.containers.create(config).map_err(failed)?;
        drop(lease);
        Ok(container)
    }

    fn start(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
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

    fn create_instance(
        &self,
        scene: &Scene<'_>,
        instance: &Instance,
        sealed: &SealedService,
    ) -> Step<Container> {
        let image = self.image(scene, &instance.service, &sealed.image)?;
        let gateways = self.machine.gateways(sealed)?;
        let files = self.machine.files_dir(&self.app, &instance.id.0);
        let place = self.place(&gateways, &files)?;
        let options = instance::options(&place, instance, sealed).map_err(StepError::new)?;
        self.create(&image, sealed.image_name.to_string(), options)
    }

    fn stop(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
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

    fn standby(&self, scene: &Scene<'_>, instance: &Instance, mode: Standby) -> Step<Done> {
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

    fn remove(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
        let done = self.stop(scene, instance)?;
        if let Some(container) = self.machine.container(&self.app, &instance.id)? {
            container.remove(true, true).map_err(failed)?;
        }
        self.machine.remove_files(&self.app, &instance.id.0);
        Ok(done)
    }

    fn reading(&self, id: &InstanceId) -> Reading {
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
    fn evidence(&self, container: &Container) -> Vec<String> {
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
fn exec(container: &Container, command: &[String], user: Option<String>) -> Step<ExitStatus> {
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

// === one-off containers ===

impl AgentWorld {
    fn run_hook(
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

    fn verify_command(
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
    fn one_off(
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

    /// Removes the one-off containers of the app that have ended.
    fn collect(&self) -> Step<Done> {
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
    fn await_exit(
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

    fn await_completed(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
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

    fn require(&self, instance: &Instance) -> Step<Container> {
        self.machine.container(&self.app, &instance.id)?.ok_or_else(|| {
            StepError::new(format!("the container of instance `{}` is gone", instance.id))
        })
    }
}

struct OneOff<'a> {
    id: &'a InstanceId,
    sealed: &'a SealedService,
    image: Image,
    command: &'a [String],
    /// How a message names it.
    what: String,
}

/// A moment that may never come.
struct Deadline(Option<Instant>);

impl Deadline {
    fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.map(|timeout| Instant::now() + timeout))
    }

    fn passed(&self) -> bool {
        self.0.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

// === proving ===

impl AgentWorld {
    fn await_healthy(
        &self,
        scene: &Scene<'_>,
        instance: &Instance,
        timeout: Duration,
    ) -> Step<Done> {
        let sealed = sealed(scene, instance)?;
        let container = self.require(instance)?;
        let timeout = timeout + image_patience(&container, sealed);
        let deadline = Deadline::after(Some(timeout));
        let settled = Deadline::after(Some(SETTLE));
        loop {
            let now = container.state().map_err(failed)?;
            if now.status != Status::Running {
                let word = now.status.as_str();
                return Err(StepError::new(format!("instance `{}` is {word}", instance.id))
                    .with_evidence(self.evidence(&container)));
            }
            let checked = container.config().healthcheck.is_some();
            let answer = match (checked, health(&now)) {
                (true, Health::Unhealthy) => {
                    return Err(StepError::new(format!("instance `{}` is unhealthy", instance.id))
                        .with_evidence(self.evidence(&container)));
                }
                (true, Health::Unknown) => Err("its healthcheck is still starting".to_owned()),
                _ if !sealed.service.cutover.routes.is_empty() => {
                    self.probe_health(instance, sealed)
                }
                (true, Health::Healthy) => Ok(()),
                (false, _) if settled.passed() => Ok(()),
                (false, _) => Err("it has only just started".to_owned()),
            };
            // The address is leased to this container alone, and it still runs: it is the one
            // that answered.
            let last = match answer {
                Ok(()) if container.state().map_err(failed)?.pid == now.pid => {
                    return Ok(Done::default());
                }
                Ok(()) => "it was restarted while it was probed".to_owned(),
                Err(why) => why,
            };
            if scene.must_stop(self.interrupt()) {
                return Err(StepError::interrupted());
            }
            if deadline.passed() {
                let limit = cutover_core::units::format_duration(timeout);
                let reason =
                    format!("instance `{}` is not healthy after {limit}: {last}", instance.id);
                return Err(StepError::new(reason).with_evidence(self.evidence(&container)));
            }
            std::thread::sleep(POLL);
        }
    }

    /// One probe of the instance's own address; why it failed, if it did.
    fn probe_health(&self, instance: &Instance, sealed: &SealedService) -> Result<(), String> {
        let target = self.machine.target(&self.app, instance, sealed);
        let mut target = target.map_err(|error| error.reason)?;
        let Some(health) = &sealed.service.cutover.health else {
            let timeout = Duration::from_secs(1);
            return match TcpStream::connect_timeout(&target, timeout) {
                Ok(_open) => Ok(()),
                Err(error) => Err(format!("connecting to {target} failed: {error}")),
            };
        };
        target.set_port(health.port.unwrap_or(target.port()));
        let check = health_check(health, sealed);
        let result = self.probe(instance, target, check).map_err(|error| error.reason)?;
        match result.passed {
            true => Ok(()),
            false => Err(result.reason.unwrap_or_else(|| "the probe failed".to_owned())),
        }
    }

    fn probe(&self, instance: &Instance, addr: SocketAddr, check: HttpCheck) -> Step<ProbeResult> {
        let spec = ProbeSpec {
            addr,
            id: instance.id.0.clone(),
            options: ServiceOptions::default(),
            checks: vec![check],
        };
        let mut results = self.machine.proxy()?.probe(spec).map_err(failed)?;
        results.pop().ok_or_else(|| StepError::new("the proxy sent no result"))
    }

    fn verify(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
        let sealed = sealed(scene, instance)?;
        let addr = self.machine.target(&self.app, instance, sealed)?;
        let container = self.require(instance)?;
        let checks = sealed.service.cutover.verify.iter().filter_map(|verify| match verify {
            Verify::Http(check) => Some(check),
            Verify::Command(_) => None,
        });
        for check in checks {
            let mut check = check.clone();
            check.host = check.host.or_else(|| first_host(sealed));
            let mut attempt = 0;
            loop {
                let result = self.probe(instance, addr, check.clone())?;
                if result.passed {
                    break;
                }
                if attempt >= check.retries || scene.must_stop(self.interrupt()) {
                    let mut evidence = answer(&check, &result);
                    evidence.extend(self.machine.log_tail(&container));
                    let reason = result.reason.unwrap_or_else(|| "verification failed".to_owned());
                    return Err(StepError::new(reason).with_evidence(evidence));
                }
                attempt += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        Ok(Done::default())
    }
}

/// The plan knows the file's health check; an image's own may ask for more time to start.
fn image_patience(container: &Container, sealed: &SealedService) -> Duration {
    match (&sealed.service.healthcheck, &container.config().healthcheck) {
        (None, Some(check)) => Duration::from_nanos(check.start_period),
        _ => Duration::ZERO,
    }
}

/// The response as a human wants to see it.
fn answer(check: &HttpCheck, result: &ProbeResult) -> Vec<String> {
    let mut lines = vec![format!("> {} {}", check.method, check.path)];
    if result.status != 0 {
        lines.push(format!("< {}", result.status));
        lines.extend(result.headers.iter().map(|(name, value)| format!("< {name}: {value}")));
    }
    lines.extend(result.body.lines().take(10).map(|line| format!("  {line}")));
    lines
}

fn first_host(sealed: &SealedService) -> Option<String> {
    let hosts = sealed.service.cutover.routes.iter().filter_map(|route| route.host.clone());
    hosts.map(|host| host.trim_start_matches("*.").to_owned()).next()
}

fn health_check(health: &HttpHealth, sealed: &SealedService) -> HttpCheck {
    HttpCheck {
        path: health.path.clone(),
        status: health.status.clone(),
        timeout: health.timeout,
        host: health.host.clone().or_else(|| first_host(sealed)),
        ..HttpCheck::default()
    }
}

// === traffic ===

impl AgentWorld {
    fn key(&self, service: &str) -> String {
        format!("{}/{service}", self.app)
    }

    /// Waits until the held services have no request in flight, at most `drain`.
    fn await_quiet(&self, scene: &Scene<'_>, held: &[String], drain: Duration) -> Step<Done> {
        let deadline = Deadline::after(Some(drain));
        let mut proxy = self.machine.proxy()?;
        loop {
            let stats = proxy.stats(None).map_err(failed)?;
            let held = stats.iter().filter(|service| held.contains(&service.service));
            let busy: u64 =
                held.flat_map(|service| &service.targets).map(|target| target.in_flight).sum();
            if busy == 0 {
                return Ok(Done::default());
            }
            if deadline.passed() {
                let limit = cutover_core::units::format_duration(drain);
                return Ok(Done::note(format!("{busy} requests are still open after {limit}")));
            }
            if scene.must_stop(self.interrupt()) {
                return Err(StepError::interrupted());
            }
            std::thread::sleep(POLL);
        }
    }

    fn hold(
        &self,
        scene: &Scene<'_>,
        services: &[String],
        limit: Duration,
        drain: Duration,
    ) -> Step<Done> {
        let mut proxy = self.machine.proxy()?;
        let listing = proxy.list().map_err(failed)?;
        let mut held = Vec::new();
        for service in services {
            let key = self.key(service);
            let Some(known) = listing.services.iter().find(|known| known.service == key) else {
                continue;
            };
            proxy.hold(&key, known.generation, limit, HOLD_LIMIT).map_err(failed)?;
            held.push(key);
        }
        self.await_quiet(scene, &held, drain)
    }

    fn unhold(&self, services: &[String]) -> Step<Done> {
        let mut proxy = self.machine.proxy()?;
        let listing = proxy.list().map_err(failed)?;
        for service in services {
            let key = self.key(service);
            if let Some(known) = listing.services.iter().find(|known| known.service == key) {
                proxy.release(&key, known.generation).map_err(failed)?;
            }
        }
        Ok(Done::default())
    }

    fn announce(&self, scene: &Scene<'_>, service: &str, instances: &[Instance]) -> Step<Done> {
        let old = || scene.from()?.services.get(service);
        let sealed = scene.new_service(service).or_else(old).ok_or_else(|| {
            StepError::new(format!("no release of this deployment has service `{service}`"))
        })?;
        let ids: Vec<InstanceId> = instances.iter().map(|instance| instance.id.clone()).collect();
        names::announce(&self.machine, &self.app, &sealed.service, &ids)?;
        let root = &self.machine.paths.root;
        let mut routes = routes::load(root, &self.app).map_err(failed)?;
        routes.targets.insert(service.to_owned(), ids.into_iter().collect());
        routes::save(root, &self.app, &routes).map_err(failed)?;
        Ok(Done::default())
    }

    fn switch(
        &self,
        scene: &Scene<'_>,
        generation: u64,
        release: Option<u64>,
        targets: &BTreeMap<String, Vec<Instance>>,
    ) -> Step<Done> {
        let mut specs = Vec::new();
        let release = release.and_then(|number| scene.releases.get(&number));
        for (service, instances) in targets {
            let sealed = release.and_then(|release| release.services.get(service));
            let Some(sealed) = sealed.filter(|sealed| !sealed.service.cutover.routes.is_empty())
            else {
                continue;
            };
            specs.push(self.service_spec(sealed, generation, instances)?);
        }
        let routes = Routes {
            generation,
            targets: targets
                .iter()
                .map(|(service, instances)| {
                    let ids = instances.iter().map(|instance| instance.id.clone());
                    (service.clone(), ids.collect())
                })
                .collect(),
        };
        let named = self.named(scene, &routes)?;
        let mut proxy = self.machine.proxy()?;
        traffic::set_app(&mut proxy, &self.app, generation, specs)?;
        names::publish(&self.machine, &self.app, &named)?;
        routes::save(&self.machine.paths.root, &self.app, &routes).map_err(failed)?;
        Ok(Done::default())
    }

    fn service_spec(
        &self,
        sealed: &SealedService,
        generation: u64,
        instances: &[Instance],
    ) -> Step<ServiceSpec> {
        let mut targets = Vec::new();
        for instance in instances {
            // One that never started is tolerated when others serve; it has no address to send to.
            let Ok(addr) = self.machine.target(&self.app, instance, sealed) else { continue };
            targets.push(TargetSpec {
                id: instance.id.0.clone(),
                addr,
                release: instance.release,
                proven: self.probe_health(instance, sealed).is_ok(),
            });
        }
        if !instances.is_empty() && !targets.iter().any(|target| target.proven) {
            let service = &sealed.service.name;
            return Err(StepError::new(format!("no instance of `{service}` answers any more")));
        }
        Ok(ServiceSpec {
            service: self.key(&sealed.service.name),
            generation,
            routes: sealed.service.cutover.routes.clone(),
            targets,
            health: sealed.service.cutover.health.clone(),
            options: ServiceOptions::default(),
        })
    }

    /// The sealed service and the instances behind each name.
    fn named<'a>(&self, scene: &Scene<'a>, routes: &Routes) -> Step<names::Named<'a>> {
        let mut named = Vec::new();
        for (service, ids) in &routes.targets {
            let sealed = scene.new_service(service).or_else(|| scene.from()?.services.get(service));
            if let Some(sealed) = sealed {
                named.push((&sealed.service, ids.iter().cloned().collect()));
            }
        }
        Ok(named)
    }

    fn drain(&self, service: &str, instances: &[Instance], timeout: Duration) -> Step<Done> {
        let ids: Vec<String> = instances.iter().map(|instance| instance.id.0.clone()).collect();
        if ids.is_empty() {
            return Ok(Done::default());
        }
        let key = self.key(service);
        let mut proxy = self.machine.proxy()?;
        let (_drained, cut) = proxy.drain(&key, &ids, timeout).map_err(failed)?;
        let requests: u64 = cut.iter().map(|cut| cut.requests).sum();
        match requests {
            0 => Ok(Done::default()),
            count => {
                let limit = cutover_core::units::format_duration(timeout);
                Ok(Done::note(format!("cut {count} requests that were still open after {limit}")))
            }
        }
    }
}
