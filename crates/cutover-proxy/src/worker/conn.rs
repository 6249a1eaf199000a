//! One client connection (or tunnel): what it is doing, since when, and what it must do next.
//!
//! The connection's task polls hyper and looks here; everyone else (the sweep, a drain deadline,
//! the end of the process) only writes an order and wakes it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;

use super::Worker;
use super::linger::Unread;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No complete head has come yet.
    New,
    /// Between two requests.
    Idle,
    /// Its request is held or being prepared; the gate has its own clock.
    Held,
    /// Its request is with a target.
    Waiting,
    /// Its response is on the way.
    Streaming,
    /// Bytes both ways, no limit.
    Tunnel,
}

/// Why an exchange ends without the target's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    TimedOut,
    /// The drain deadline has passed.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Carry,
    /// End after the current response.
    Finish,
    /// End now.
    Drop,
}

/// State of a connection, only touched by its own thread.
#[derive(Debug)]
pub(crate) struct Conn {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    limit: Cell<Duration>,
    /// The serial of the target that has the request; 0: none.
    target: Cell<u64>,
    order: Cell<Order>,
    verdict: Cell<Option<Verdict>>,
    waker: RefCell<Option<Waker>>,
    keep_alive: Duration,
    /// The client's address as a header value.
    pub(crate) peer: HeaderValue,
    pub(crate) unread: Unread,
    /// The client's body broke off or is not what its framing says: nobody else's failure.
    pub(crate) broken: Cell<bool>,
    worker: std::rc::Weak<Worker>,
}

impl Conn {
    /// A head has come; the request may have to wait for its turn.
    pub(crate) fn begin(&self) {
        self.broken.set(false);
        self.enter(Phase::Held, Duration::MAX, self.now());
    }

    /// The request goes to a target and must be answered within `limit` from `now`.
    pub(crate) fn wait_for(&self, target: u64, limit: Duration, now: Instant) {
        self.target.set(target);
        self.verdict.set(None);
        self.enter(Phase::Waiting, limit, now);
    }

    /// The response's head is there; its body may be silent for `limit`.
    pub(crate) fn stream(&self, limit: Duration, now: Instant) {
        self.enter(Phase::Streaming, limit, now);
    }

    /// The response is complete, or failed.
    pub(crate) fn idle(&self) {
        self.target.set(0);
        self.enter(Phase::Idle, self.keep_alive, self.now());
    }

    /// Bytes have moved.
    pub(crate) fn progress(&self) {
        self.since.set(self.now());
    }

    pub(crate) fn target(&self) -> u64 {
        self.target.get()
    }

    /// Whether its request is with one of these targets; a tunnel is no request.
    pub(super) fn is_exchanging_with(&self, targets: &BTreeSet<u64>) -> bool {
        matches!(self.phase.get(), Phase::Waiting | Phase::Streaming)
            && targets.contains(&self.target.get())
    }

    /// Acts on a limit that has passed.
    pub(super) fn enforce(&self, now: Instant) {
        if now.saturating_duration_since(self.since.get()) <= self.limit.get() {
            return;
        }
        match self.phase.get() {
            Phase::Waiting => self.judge(Verdict::TimedOut),
            Phase::New | Phase::Idle | Phase::Streaming => self.order(Order::Drop),
            Phase::Held | Phase::Tunnel => {}
        }
    }

    /// The target's drain deadline has passed: 504 if nothing was answered yet, else the end.
    pub(super) fn cut(&self) {
        match self.phase.get() {
            Phase::Waiting => self.judge(Verdict::Cut),
            _ => self.order(Order::Drop),
        }
    }

    /// No request may begin on this connection any more.
    pub(super) fn finish(&self) {
        match self.phase.get() {
            Phase::New | Phase::Idle => self.order(Order::Drop),
            Phase::Tunnel => {}
            _ => self.order(Order::Finish),
        }
    }

    pub(super) fn drop_now(&self) {
        self.order(Order::Drop);
    }

    /// Waits for `exchange`, or for a verdict about it.
    pub(crate) async fn judged<T>(&self, exchange: impl Future<Output = T>) -> Result<T, Verdict> {
        let mut exchange = pin!(exchange);
        poll_fn(|cx| match self.verdict.get() {
            Some(verdict) => Poll::Ready(Err(verdict)),
            None => exchange.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    /// Drives a connection's future until it ends or the connection must. `finish` is called when
    /// it should end by itself.
    pub(crate) async fn drive<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<T>,
    ) -> Option<T> {
        poll_fn(|cx| {
            self.park(cx.waker());
            match self.order.get() {
                Order::Drop => Poll::Ready(None),
                Order::Finish => {
                    self.order.set(Order::Carry);
                    poll(cx, true).map(Some)
                }
                Order::Carry => poll(cx, false).map(Some),
            }
        })
        .await
    }

    fn enter(&self, phase: Phase, limit: Duration, since: Instant) {
        self.phase.set(phase);
        self.limit.set(limit);
        self.since.set(since);
    }

    fn judge(&self, verdict: Verdict) {
        self.verdict.set(Some(verdict));
        self.wake();
    }

    fn order(&self, order: Order) {
        self.order.set(order);
        self.wake();
    }

    fn park(&self, waker: &Waker) {
        let mut parked = self.waker.borrow_mut();
        if !parked.as_ref().is_some_and(|parked| parked.will_wake(waker)) {
            *parked = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn now(&self) -> Instant {
        self.worker.upgrade().map_or_else(Instant::now, |worker| worker.now())
    }
}

/// A connection's place in its worker's list; dropping it takes the connection out.
#[derive(Debug)]
pub(crate) struct Slot {
    worker: Rc<Worker>,
    id: u64,
    pub(crate) conn: Rc<Conn>,
}

impl Slot {
    /// A client connection, already counted in the worker's load.
    pub(crate) fn connection(worker: &Rc<Worker>, peer: HeaderValue) -> Self {
        let limits = worker.hub.limits;
        Self::enter(worker, peer, Phase::New, limits.first_head)
    }

    /// A tunnel to a target: it outlives the HTTP connection it began on.
    pub(crate) fn tunnel(worker: &Rc<Worker>, target: u64) -> Self {
        worker.hub.loads[worker.index].fetch_add(1, Ordering::Relaxed);
        let peer = HeaderValue::from_static("-");
        let slot = Self::enter(worker, peer, Phase::Tunnel, Duration::MAX);
        slot.conn.target.set(target);
        slot
    }

    fn enter(worker: &Rc<Worker>, peer: HeaderValue, phase: Phase, limit: Duration) -> Self {
        let conn = Rc::new(Conn {
            phase: Cell::new(phase),
            since: Cell::new(worker.now()),
            limit: Cell::new(limit),
            target: Cell::new(0),
            order: Cell::new(Order::Carry),
            verdict: Cell::new(None),
            waker: RefCell::new(None),
            keep_alive: worker.hub.limits.keep_alive,
            peer,
            unread: Unread::default(),
            broken: Cell::new(false),
            worker: Rc::downgrade(worker),
        });
        let id = worker.next_conn.get();
        worker.next_conn.set(id + 1);
        worker.conns.borrow_mut().insert(id, Rc::clone(&conn));
        Self { worker: Rc::clone(worker), id, conn }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.worker.conns.borrow_mut().remove(&self.id);
        self.worker.hub.loads[self.worker.index].fetch_sub(1, Ordering::Relaxed);
    }
}
