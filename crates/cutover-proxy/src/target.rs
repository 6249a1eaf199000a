//! One target at run time: its address, health, counters and requests in flight.
//!
//! Invariants: a [`Flight`] is only made while the table's read lock is held ([`crate::table`]), so
//! that after a switch the number in flight on a former target can only fall. A target object that
//! began to drain never serves again; the same instance coming back is a new object with a new
//! serial, and with it new pooled connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::control::{TargetSpec, TargetState, TargetStats};
use crate::health::{Action, Event, Health, Rhythm};
use crate::stats::Stats;

/// Tells target objects apart for the life of the process, also two of the same instance.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) serial: u64,
    pub(crate) id: String,
    pub(crate) addr: SocketAddr,
    pub(crate) release: u64,
    pub(crate) stats: Stats,
    state: AtomicU8,
    in_flight: AtomicU64,
    /// Wakes those who wait for `in_flight` to reach 0 on a draining target.
    idle: Notify,
    health: Mutex<Health>,
}

impl Target {
    pub(crate) fn new(spec: &TargetSpec, state: TargetState, rhythm: Rhythm) -> Arc<Self> {
        Arc::new(Self {
            serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            id: spec.id.clone(),
            addr: spec.addr,
            release: spec.release,
            stats: Stats::default(),
            state: AtomicU8::new(encode(state)),
            in_flight: AtomicU64::new(0),
            idle: Notify::new(),
            health: Mutex::new(Health::new(state, rhythm)),
        })
    }

    /// Whether `spec` means this very instance.
    pub(crate) fn is(&self, spec: &TargetSpec) -> bool {
        self.id == spec.id && self.addr == spec.addr && self.release == spec.release
    }

    pub(crate) fn state(&self) -> TargetState {
        decode(self.state.load(Ordering::SeqCst))
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Feeds the state machine; what it publishes is in force when this returns.
    pub(crate) fn on(&self, event: Event, now: Instant) -> Vec<Action> {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let actions = health.on(event, now);
        for action in &actions {
            if let Action::Publish(state) = action {
                self.state.store(encode(*state), Ordering::SeqCst);
            }
        }
        actions
    }

    /// Other probes from now on; the state stays.
    pub(crate) fn set_rhythm(&self, rhythm: Rhythm) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        *health = Health::new(self.state(), rhythm);
    }

    /// Returns when a draining target has nothing in flight any more.
    pub(crate) async fn drained(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            // Registered before the look, so that the last request's end cannot be missed.
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn report(&self) -> TargetStats {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        TargetStats {
            id: self.id.clone(),
            addr: self.addr,
            release: self.release,
            state: self.state(),
            last_failure: health.last_failure().map(str::to_owned),
            in_flight: self.in_flight(),
            stats: self.stats.snapshot(),
        }
    }
}

/// A request (or tunnel) in flight on a target: counted from being chosen to its last byte.
#[derive(Debug)]
pub(crate) struct Flight(Arc<Target>);

impl Flight {
    /// Registers a request. Only the table calls this, under its read lock, and the prober of
    /// unrouted addresses.
    pub(crate) fn begin(target: &Arc<Target>) -> Self {
        target.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(target))
    }

    pub(crate) fn target(&self) -> &Target {
        &self.0
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let was_last = self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.0.state() == TargetState::Draining {
            self.0.idle.notify_waiters();
        }
    }
}

fn encode(state: TargetState) -> u8 {
    match state {
        TargetState::Adding => 0,
        TargetState::Healthy => 1,
        TargetState::Unhealthy => 2,
        TargetState::Draining => 3,
    }
}

fn decode(code: u8) -> TargetState {
    match code {
        0 => TargetState::Adding,
        1 => TargetState::Healthy,
        2 => TargetState::Unhealthy,
        _ => TargetState::Draining,
    }
}
