//! The routes in force, and the one lock that makes a switch exact.
//!
//! **Invariant (the switch).** Choosing a target and registering the request as in flight on it
//! happen under one read lock ([`Table::choose`] is only called through [`Shared`]); a new table is
//! put in force under the write lock. So when [`Shared::swap`] returns, every request that chose a
//! former target is counted there, and no later one can choose it.
//!
//! Nothing waits, allocates much or does I/O while holding the lock in either mode.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use cutover_core::service::Route;

use crate::control::{ServiceSpec, TargetState};
use crate::gate::Gate;
use crate::route::{Found, RouteError, Routes};
use crate::target::{Flight, Target};

/// One service in force.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) spec: ServiceSpec,
    pub(crate) targets: Vec<Arc<Target>>,
    /// Requests wait here instead of going to a target.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Where the next round begins.
    turn: AtomicUsize,
}

impl Service {
    pub(crate) fn new(
        spec: ServiceSpec,
        targets: Vec<Arc<Target>>,
        gate: Option<Arc<Gate>>,
    ) -> Arc<Self> {
        Arc::new(Self { spec, targets, gate, turn: AtomicUsize::new(0) })
    }

    /// The best target: healthy before unknown before unhealthy, then the fewest requests in
    /// flight, then whose turn it is. `not` is avoided while there is another.
    fn pick(&self, not: Option<u64>) -> Option<&Arc<Target>> {
        let count = self.targets.len();
        if count <= 1 {
            return self.targets.first();
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let rank = |target: &Target| match target.state() {
            TargetState::Healthy => 0,
            TargetState::Adding => 1,
            TargetState::Unhealthy => 2,
            TargetState::Draining => 3,
        };
        (0..count)
            .map(|offset| &self.targets[turn.wrapping_add(offset) % count])
            .min_by_key(|target| (Some(target.serial) == not, rank(target), target.in_flight()))
    }
}

/// What a request is to do.
#[derive(Debug)]
pub(crate) enum Choice {
    /// Go there; the path's first `strip` bytes are not the target's business.
    Go {
        service: Arc<Service>,
        flight: Flight,
        strip: usize,
    },
    /// Wait at the gate, then choose again.
    Wait {
        service: Arc<Service>,
        gate: Arc<Gate>,
    },
    NoTarget {
        service: Arc<Service>,
    },
    NoRoute,
}

/// All services and their routes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    services: BTreeMap<String, Arc<Service>>,
    order: Vec<Arc<Service>>,
    routes: Routes<usize>,
}

impl Table {
    /// Fails when two services claim the same route.
    pub(crate) fn build(services: BTreeMap<String, Arc<Service>>) -> Result<Self, RouteError> {
        let order: Vec<_> = services.values().cloned().collect();
        let claims = order.iter().enumerate().map(|(index, service)| {
            (service.spec.service.as_str(), index, service.spec.routes.as_slice() as &[Route])
        });
        let routes = Routes::build(claims)?;
        Ok(Self { services, order, routes })
    }

    pub(crate) fn services(&self) -> &BTreeMap<String, Arc<Service>> {
        &self.services
    }

    fn choose(&self, host: &str, path: &str) -> Choice {
        let Some(Found { to, strip }) = self.routes.find(host, path) else {
            return Choice::NoRoute;
        };
        self.choose_in(&self.order[to], strip, None)
    }

    fn choose_in(&self, service: &Arc<Service>, strip: usize, not: Option<u64>) -> Choice {
        if let Some(gate) = &service.gate {
            return Choice::Wait { service: Arc::clone(service), gate: Arc::clone(gate) };
        }
        match service.pick(not) {
            None => Choice::NoTarget { service: Arc::clone(service) },
            Some(target) => {
                let flight = Flight::begin(target);
                Choice::Go { service: Arc::clone(service), flight, strip }
            }
        }
    }
}

/// The table behind its lock.
#[derive(Debug, Default)]
pub(crate) struct Shared(RwLock<Table>);

impl Shared {
    pub(crate) fn choose(&self, host: &str, path: &str) -> Choice {
        self.read(|table| table.choose(host, path))
    }

    /// Chooses again within a service, preferably another target than `not`.
    pub(crate) fn choose_again(&self, service: &str, strip: usize, not: Option<u64>) -> Choice {
        self.read(|table| match table.services.get(service) {
            Some(service) => table.choose_in(service, strip, not),
            None => Choice::NoRoute,
        })
    }

    /// Puts a new table in force. When this returns, no request can choose from the old one.
    pub(crate) fn swap(&self, table: Table) {
        let old = {
            let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, table)
        };
        // Outside of the lock: freeing a large table must not hold up requests.
        drop(old);
    }

    pub(crate) fn services(&self) -> BTreeMap<String, Arc<Service>> {
        self.read(|table| table.services().clone())
    }

    fn read<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
