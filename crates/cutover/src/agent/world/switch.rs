//! What the proxy is told: hold, announce, switch, drain.

use super::super::machine::{Step, failed};
use super::super::{names, routes, traffic};
use super::one_off::Deadline;
use super::{AgentWorld, HOLD_LIMIT, POLL};
use cutover_core::release::SealedService;
use cutover_proxy::control::{ServiceOptions, ServiceSpec, TargetSpec};
use cutover_release::facts::Routes;
use cutover_release::{
    Action, Done, Instance, InstanceId, Scene, Step as PlanStep, StepError, World,
};
use std::collections::BTreeMap;
use std::time::Duration;

impl AgentWorld {
    pub(super) fn key(&self, service: &str) -> String {
        format!("{}/{service}", self.app)
    }

    /// Waits until the held services have no request in flight, at most `drain`.
    pub(super) fn await_quiet(
        &self,
        scene: &Scene<'_>,
        held: &[String],
        drain: Duration,
    ) -> Step<Done> {
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

    pub(super) fn hold(
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

    pub(super) fn unhold(&self, services: &[String]) -> Step<Done> {
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

    pub(super) fn announce(
        &self,
        scene: &Scene<'_>,
        service: &str,
        instances: &[Instance],
    ) -> Step<Done> {
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

    pub(super) fn switch(
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

    pub(super) fn service_spec(
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
            options: connecting(instances.len()),
        })
    }

    /// `instance` is well: what starts after it, and what is asked of the new release before the
    /// switch, finds it and the others of the new release under their names.
    pub(super) fn preview(&self, scene: &Scene<'_>, instance: &Instance) -> Step {
        let plan = scene.plan;
        let before = &plan.steps[..plan.switch_at().unwrap_or(0)];
        let is_this = |step: &PlanStep| match &step.action {
            Action::AwaitHealthy { instance: one, .. } => one == instance,
            _ => false,
        };
        let Some(at) = before.iter().position(is_this) else { return Ok(()) };
        if plan.from.is_none() || !before[at..].iter().any(|step| may_ask(step, instance)) {
            return Ok(());
        }
        let mut well: BTreeMap<&str, Vec<InstanceId>> = BTreeMap::new();
        for step in &before[..=at] {
            if let Action::AwaitHealthy { instance, .. } = &step.action {
                well.entry(&instance.service).or_default().push(instance.id.clone());
            }
        }
        let named = well.into_iter().filter_map(|(service, ids)| {
            let sealed = scene.new_service(service)?;
            Some((&sealed.service, ids))
        });
        let starts = |id: &InstanceId| {
            before.iter().any(|step| {
                matches!(&step.action, Action::AwaitHealthy { instance, .. } if instance.id == *id)
            })
        };
        names::preview(&self.machine, &self.app, &named.collect(), &starts)
    }

    /// The sealed service and the instances behind each name.
    pub(super) fn named<'a>(&self, scene: &Scene<'a>, routes: &Routes) -> Step<names::Named<'a>> {
        let mut named = Vec::new();
        for (service, ids) in &routes.targets {
            let sealed = scene.new_service(service).or_else(|| scene.from()?.services.get(service));
            if let Some(sealed) = sealed {
                named.push((&sealed.service, ids.iter().cloned().collect()));
            }
        }
        Ok(named)
    }

    pub(super) fn drain(
        &self,
        service: &str,
        instances: &[Instance],
        timeout: Duration,
    ) -> Step<Done> {
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

/// Whether something runs in this step that may look for `instance` by name and is new itself.
fn may_ask(step: &PlanStep, instance: &Instance) -> bool {
    match &step.action {
        Action::Start { instance: other } | Action::Verify { instance: other } => {
            other.service != instance.service
        }
        Action::RunHook { .. } | Action::VerifyCommand { .. } => true,
        _ => false,
    }
}

/// How patient the proxy is with a target that does not answer at all: its container may be gone, and
/// its address with it. Where there is another target to go to it is worth going there soon; long
/// enough for one packet that was lost (the kernel sends it again after a second).
fn connecting(targets: usize) -> ServiceOptions {
    let mut options = ServiceOptions::default();
    if targets > 1 {
        options.connect_timeout = Duration::from_secs(2);
    }
    options
}
