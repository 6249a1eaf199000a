//! [`Model`]: what a machine looks like after each step of a plan in which nothing fails. What
//! [`check`](mod@crate::check) looks at.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{Instance, InstanceId, State};
use crate::plan::Plan;
use crate::step::{Action, Standby};

/// A machine, reduced to who runs and who gets traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub serving: Option<u64>,
    pub generation: u64,
    /// Per service, those that the last switch routed to.
    pub targets: BTreeMap<String, BTreeSet<InstanceId>>,
    /// Per service, those that its name means.
    pub names: BTreeMap<String, BTreeSet<InstanceId>>,
    pub instances: BTreeMap<InstanceId, State>,
    /// Waiting for a rollback.
    pub waiting: BTreeSet<InstanceId>,
    /// Were seen to be well.
    pub proven: BTreeSet<InstanceId>,
    /// Told to take no new request.
    pub drained: BTreeSet<InstanceId>,
    /// Services whose requests wait in the proxy.
    pub held: BTreeSet<String>,
}

impl Model {
    /// What the plan found.
    pub fn before(plan: &Plan) -> Self {
        let ids = |all: &Vec<Instance>| all.iter().map(|one| one.id.clone()).collect();
        let serving: BTreeMap<String, BTreeSet<InstanceId>> =
            plan.found.serving.iter().map(|(name, all)| (name.clone(), ids(all))).collect();
        let all = || plan.found.instances.iter();
        let waits = |fact: &&crate::facts::InstanceFact| !plan.served(&fact.instance);
        Self {
            serving: plan.from,
            generation: plan.found.generation,
            targets: serving.clone(),
            names: serving,
            instances: all().map(|fact| (fact.instance.id.clone(), fact.state)).collect(),
            waiting: all().filter(waits).map(|fact| fact.instance.id.clone()).collect(),
            proven: BTreeSet::new(),
            drained: BTreeSet::new(),
            held: BTreeSet::new(),
        }
    }

    /// The model before the first step and after each.
    pub fn replay(plan: &Plan) -> Vec<Self> {
        let mut model = Self::before(plan);
        let mut models = vec![model.clone()];
        for step in &plan.steps {
            model.apply(&step.action);
            models.push(model.clone());
        }
        models
    }

    pub fn apply(&mut self, action: &Action) {
        let ids = |all: &[Instance]| all.iter().map(|one| one.id.clone()).collect();
        match action {
            Action::Start { instance } => self.become_state(instance, State::Running),
            Action::AwaitHealthy { instance, .. } => {
                self.proven.insert(instance.id.clone());
            }
            Action::AwaitCompleted { instance, .. } => {
                self.become_state(instance, State::Completed);
            }
            Action::Hold { services, .. } => self.held.extend(services.iter().cloned()),
            Action::Unhold { services } => self.held.retain(|name| !services.contains(name)),
            Action::Announce { service, instances } => {
                self.names.insert(service.clone(), ids(instances));
            }
            Action::Switch { generation, release, targets } => {
                self.generation = *generation;
                self.serving = *release;
                self.targets = targets.iter().map(|(name, all)| (name.clone(), ids(all))).collect();
                self.names = self.targets.clone();
                self.drained.clear();
            }
            Action::Drain { instances, .. } => {
                self.drained.extend(instances.iter().map(|one| one.id.clone()));
            }
            Action::Stop { instance } => self.become_state(instance, State::Stopped),
            Action::Standby { instance, mode } => {
                let state = match mode {
                    Standby::Running => State::Running,
                    Standby::Frozen => State::Frozen,
                    Standby::Stopped => State::Stopped,
                };
                self.become_state(instance, state);
                self.waiting.insert(instance.id.clone());
            }
            Action::Remove { instance } => {
                self.instances.remove(&instance.id);
                self.waiting.remove(&instance.id);
            }
            Action::PrepareImage { .. }
            | Action::EnsureNetwork { .. }
            | Action::EnsureVolume { .. }
            | Action::RemoveNetwork { .. }
            | Action::RemoveVolume { .. }
            | Action::RunHook { .. }
            | Action::Verify { .. }
            | Action::VerifyCommand { .. }
            | Action::Pause { .. }
            | Action::Monitor(_)
            | Action::Collect { .. } => {}
        }
    }

    fn become_state(&mut self, instance: &Instance, state: State) {
        self.instances.insert(instance.id.clone(), state);
    }

    pub fn is_up(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|state| state.is_up())
    }

    /// Requests to this routed service are answered, or wait.
    pub fn answers(&self, service: &str) -> bool {
        let mut targets = self.targets.get(service).into_iter().flatten();
        self.held.contains(service)
            || targets.any(|id| self.is_up(id) && !self.drained.contains(id))
    }

    /// Whether the service's name leads to something that runs.
    pub fn is_found(&self, service: &str) -> bool {
        self.names.get(service).into_iter().flatten().any(|id| self.is_up(id))
    }
}
