//! The release engine's [`World`]: one `match` over its actions, each a few calls to the runtime,
//! the store and the proxy. Nothing is decided here.

mod containers;
mod one_off;
mod prepare;
mod prove;
mod switch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use cutover_release::world::Reading;
use cutover_release::{Action, Done, Instance, InstanceId, Interrupt, Scene, StepError, World};

use super::machine::{Machine, failed};
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
                let done = self.await_healthy(scene, instance, *timeout)?;
                self.preview(scene, instance)?;
                Ok(done)
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
            Action::RemoveNetwork { name } => self.remove_network(scene, name),
            Action::RemoveVolume { name } => self.remove_volume(scene, name),
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
