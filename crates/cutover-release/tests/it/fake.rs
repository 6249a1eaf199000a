//! [`FakeWorld`]: a machine made of maps, with faults on order. It keeps its own idea of who
//! answers requests and notes every moment in which nobody does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_core::Digest;
use cutover_release::facts::{Health, InstanceFact, Observed, Routes, State};
use cutover_release::policy::{is_job, is_routed, needs};
use cutover_release::step::Standby;
use cutover_release::world::Reading;
use cutover_release::{
    Action, Done, Instance, InstanceId, Interrupt, Releases, Scene, StepError, StepId, World,
};

/// When a fault strikes, relative to the action's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// What the machine does wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The action whose step is called so fails, this often.
    Fail { step: String, reason: String, times: u32, when: When },
    /// The executor is told to shut down at the n-th action from here.
    Die { at: usize, when: When },
    /// The user cancels when the action of this name is about to be performed.
    Cancel { step: String },
    /// This instance ends when the action of this name has been performed.
    Kill { instance: InstanceId, step: String },
}

#[derive(Clone, Debug)]
pub(crate) struct FakeInstance {
    pub(crate) instance: Instance,
    pub(crate) state: State,
    pub(crate) health: Health,
    pub(crate) tainted: bool,
    requests: u64,
    errors: u64,
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeWorld {
    pub(crate) clock: Duration,
    pub(crate) instances: BTreeMap<InstanceId, FakeInstance>,
    pub(crate) routes: Routes,
    /// What the proxy routes to; names are in `routes`.
    pub(crate) routed: BTreeMap<String, BTreeSet<InstanceId>>,
    pub(crate) serving: Option<u64>,
    pub(crate) held: BTreeSet<String>,
    pub(crate) drained: BTreeSet<InstanceId>,
    pub(crate) volumes: BTreeSet<String>,
    pub(crate) networks: BTreeSet<String>,
    /// Containers of hooks and verify commands that ran to their end.
    pub(crate) one_offs: BTreeSet<InstanceId>,
    /// How often each hook command really ran.
    pub(crate) hook_runs: BTreeMap<String, u32>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) interrupt: Option<Interrupt>,
    /// Share of 5xx in percent, by the release number an instance was started for.
    pub(crate) errors: BTreeMap<u64, u64>,
    /// Moments in which somebody was turned away, and other things that must not be.
    pub(crate) complaints: Vec<String>,
    /// Do not complain of silence: something was broken from outside.
    pub(crate) broken: bool,
    pub(crate) performed: Vec<StepId>,
    mixed: bool,
    specs: BTreeMap<(u64, String), Digest>,
}

impl World for FakeWorld {
    fn perform(&mut self, scene: &Scene<'_>, action: &Action) -> Result<Done, StepError> {
        self.clock += Duration::from_millis(10);
        let id = action.id();
        self.cancel(&id);
        self.die(When::Before)?;
        if scene.must_stop(self.interrupt) {
            return Err(StepError::interrupted());
        }
        self.fail(&id, When::Before)?;
        let result = self.act(scene, action);
        // A rescue serves whatever is left, of both releases.
        self.mixed |= self.routes.generation == scene.plan.found.generation + 3;
        self.performed.push(id.clone());
        self.kill(&id);
        self.watch_requests(scene.releases, &id);
        self.fail(&id, When::After)?;
        self.die(When::After)?;
        result
    }

    fn observe(&mut self, instances: &[&Instance]) -> BTreeMap<InstanceId, Reading> {
        self.serve_requests();
        let reading = |one: &&Instance| {
            let reading = match self.instances.get(&one.id) {
                None => Reading::gone(),
                Some(found) => Reading {
                    state: found.state,
                    health: found.health,
                    restarts: 0,
                    requests: found.requests,
                    errors: found.errors,
                    evidence: Vec::new(),
                },
            };
            (one.id.clone(), reading)
        };
        instances.iter().map(reading).collect()
    }

    fn wait(&mut self, duration: Duration) {
        self.clock += duration;
    }

    fn now(&self) -> Duration {
        self.clock
    }

    fn interrupt(&self) -> Option<Interrupt> {
        self.interrupt
    }
}

// === faults ===

impl FakeWorld {
    fn fail(&mut self, id: &StepId, now: When) -> Result<(), StepError> {
        for fault in &mut self.faults {
            if let Fault::Fail { step, reason, times, when } = fault
                && *step == id.0
                && *when == now
                && *times > 0
            {
                *times -= 1;
                return Err(StepError::new(reason.clone()));
            }
        }
        Ok(())
    }

    fn die(&mut self, now: When) -> Result<(), StepError> {
        for fault in &mut self.faults {
            let Fault::Die { at, when } = fault else { continue };
            if *when != now {
                continue;
            }
            if *at == 0 {
                self.interrupt = Some(Interrupt::Shutdown);
                return Err(StepError::interrupted());
            }
            *at -= 1;
        }
        Ok(())
    }

    fn cancel(&mut self, id: &StepId) {
        let asks = |fault: &Fault| matches!(fault, Fault::Cancel { step } if *step == id.0);
        if self.faults.iter().any(asks) {
            self.interrupt = Some(Interrupt::Cancel);
        }
    }

    fn kill(&mut self, id: &StepId) {
        let faults = self.faults.clone();
        for fault in faults {
            match fault {
                Fault::Kill { instance, step } if step == id.0 => self.end(&instance),
                _ => {}
            }
        }
        self.faults.retain(|fault| !matches!(fault, Fault::Kill { step, .. } if *step == id.0));
    }

    /// This instance ends without being asked to.
    pub(crate) fn end(&mut self, id: &InstanceId) {
        if let Some(found) = self.instances.get_mut(id) {
            found.state = State::Dead;
            self.broken = true;
        }
    }
}

// === actions ===

impl FakeWorld {
    fn act(&mut self, scene: &Scene<'_>, action: &Action) -> Result<Done, StepError> {
        match action {
            Action::PrepareImage { .. } => {}
            Action::EnsureNetwork { name } => {
                self.networks.insert(name.clone());
            }
            Action::RemoveNetwork { name } => {
                self.networks.remove(name);
            }
            Action::RemoveVolume { name } => {
                self.volumes.remove(name);
            }
            Action::EnsureVolume { name } => {
                self.volumes.insert(name.clone());
            }
            Action::RunHook { id, service, index, .. } => {
                let command = scene.new_service(service).map(|sealed| &sealed.service.pre_start);
                let command = command.and_then(|hooks| hooks.get(*index)?.command.first());
                if self.one_offs.insert(id.clone()) {
                    let command = command.cloned().unwrap_or_default();
                    *self.hook_runs.entry(command).or_default() += 1;
                }
            }
            Action::VerifyCommand { id, .. } => {
                self.one_offs.insert(id.clone());
            }
            Action::Start { instance } => return self.start(scene, instance),
            Action::AwaitHealthy { instance, .. } => return self.await_healthy(instance),
            Action::AwaitCompleted { instance, .. } => {
                self.set(instance, State::Completed);
            }
            Action::Verify { instance } => {
                if !self.is_up(&instance.id) {
                    return Err(StepError::new("connection refused"));
                }
            }
            Action::Pause { .. } | Action::Monitor(_) => {
                self.complaints.push(format!("`{}` must not be performed", action.id()));
            }
            Action::Hold { services, .. } => self.held.extend(services.iter().cloned()),
            Action::Unhold { services } => self.held.retain(|name| !services.contains(name)),
            Action::Announce { service, instances } => self.announce(service, instances),
            Action::Switch { generation, release, targets } => {
                return self.switch(scene, *generation, *release, targets);
            }
            Action::Drain { instances, .. } => {
                self.drained.extend(instances.iter().map(|one| one.id.clone()));
            }
            Action::Stop { instance } => self.stop(instance),
            Action::Standby { instance, mode } => self.standby(instance, *mode),
            Action::Remove { instance } => {
                self.instances.remove(&instance.id);
            }
            Action::Collect { .. } => self.one_offs.clear(),
        }
        Ok(Done::default())
    }

    fn start(&mut self, scene: &Scene<'_>, instance: &Instance) -> Result<Done, StepError> {
        if scene.sealed(instance).is_none() {
            return Err(StepError::new("no kept release describes it"));
        }
        let fresh = FakeInstance {
            instance: instance.clone(),
            state: State::Running,
            health: Health::Unknown,
            tainted: false,
            requests: 0,
            errors: 0,
        };
        let found = self.instances.entry(instance.id.clone()).or_insert(fresh);
        if found.state == State::Completed {
            return Ok(Done::default());
        }
        found.state = State::Running;
        Ok(Done::default())
    }

    fn await_healthy(&mut self, instance: &Instance) -> Result<Done, StepError> {
        match self.instances.get_mut(&instance.id) {
            Some(found) if found.state == State::Running => {
                found.health = Health::Healthy;
                Ok(Done::default())
            }
            Some(found) => Err(StepError::new(format!("it is {:?}", found.state).to_lowercase())),
            None => Err(StepError::new("it does not exist")),
        }
    }

    fn announce(&mut self, service: &str, instances: &[Instance]) {
        let ids = instances.iter().map(|one| one.id.clone()).collect();
        self.routes.targets.insert(service.to_owned(), ids);
    }

    fn switch(
        &mut self,
        scene: &Scene<'_>,
        generation: u64,
        release: Option<u64>,
        targets: &BTreeMap<String, Vec<Instance>>,
    ) -> Result<Done, StepError> {
        if generation < self.routes.generation {
            return Err(StepError::new("stale generation"));
        }
        let sealed = release.and_then(|number| scene.releases.get(&number));
        let routed = |name: &String| {
            sealed
                .and_then(|release| release.services.get(name))
                .is_some_and(|sealed| is_routed(&sealed.service))
        };
        for (name, instances) in targets.iter().filter(|(name, _)| routed(name)) {
            let well = |one: &Instance| {
                self.instances.get(&one.id).is_some_and(|found| {
                    found.state == State::Running && found.health == Health::Healthy
                })
            };
            if !instances.iter().any(well) {
                return Err(StepError::new(format!("`{name}` has no healthy target")));
            }
        }
        let ids = |all: &Vec<Instance>| all.iter().map(|one| one.id.clone()).collect();
        self.routes.generation = generation;
        self.routes.targets = targets.iter().map(|(name, all)| (name.clone(), ids(all))).collect();
        self.routed = self.routes.targets.clone();
        self.routed.retain(|name, _| routed(name));
        self.serving = release;
        self.mixed = false;
        self.drained.clear();
        Ok(Done::default())
    }

    fn stop(&mut self, instance: &Instance) {
        if let Some(found) = self.instances.get_mut(&instance.id)
            && matches!(found.state, State::Running | State::Frozen)
        {
            found.state = State::Stopped;
        }
    }

    fn standby(&mut self, instance: &Instance, mode: Standby) {
        match mode {
            Standby::Running => {}
            Standby::Frozen => self.set(instance, State::Frozen),
            Standby::Stopped => self.stop(instance),
        }
    }

    fn set(&mut self, instance: &Instance, state: State) {
        if let Some(found) = self.instances.get_mut(&instance.id) {
            found.state = state;
        }
    }

    fn is_up(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|found| found.state == State::Running)
    }
}

// === requests ===

impl FakeWorld {
    /// Every service that the proxy routes has someone to answer, or its requests wait.
    fn watch_requests(&mut self, releases: &Releases, id: &StepId) {
        if self.broken {
            return;
        }
        for (service, targets) in &self.routed {
            let answers = |id: &InstanceId| self.is_up(id) && !self.drained.contains(id);
            if !self.held.contains(service) && !targets.iter().any(answers) {
                self.complaints.push(format!("after `{id}` nobody answers for `{service}`"));
            }
        }
        let Some(release) = self.serving.and_then(|number| releases.get(&number)) else { return };
        for service in self.routed.keys().filter(|service| !self.held.contains(*service)) {
            let runs = |id: &InstanceId| self.is_up(id);
            let away = |need: &&&str| {
                !is_job(need, release)
                    && !self.routes.targets.get(**need).into_iter().flatten().any(runs)
            };
            if let Some(need) = needs(service, release).iter().find(away) {
                self.complaints.push(format!("after `{id}` `{service}` misses `{need}`"));
            }
        }
        for (service, targets) in &self.routed {
            let Some(sealed) = release.services.get(service) else {
                self.complaints.push(format!("`{service}` is routed and not of the release"));
                continue;
            };
            let key = (release.number, service.clone());
            let spec = self.specs.entry(key).or_insert_with(|| sealed.instance_digest());
            let other = targets.iter().find(|id| {
                let found = self.instances.get(*id);
                found.is_some_and(|it| it.instance.spec != *spec)
            });
            if let Some(other) = other.filter(|_| !self.mixed) {
                self.complaints.push(format!("`{other}` serves another release"));
            }
        }
    }

    fn serve_requests(&mut self) {
        let errors = self.errors.clone();
        for id in self.routed.values().flatten() {
            if let Some(found) = self.instances.get_mut(id) {
                found.requests += 100;
                found.errors += errors.get(&found.instance.release).copied().unwrap_or(0);
            }
        }
    }

    pub(crate) fn observed(&self) -> Observed {
        let fact = |found: &FakeInstance| InstanceFact {
            instance: found.instance.clone(),
            state: found.state,
            health: found.health,
            tainted: found.tainted,
        };
        Observed {
            instances: self.instances.values().map(fact).collect(),
            routes: self.routes.clone(),
            volumes: self.volumes.clone(),
            networks: self.networks.clone(),
            memory_available: None,
        }
    }
}
