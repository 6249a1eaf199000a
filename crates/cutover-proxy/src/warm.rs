//! Warm connections: opened to the new targets just before a switch to them.
//!
//! Without them the next request of every client opens a connection to the new instance, all in one
//! moment. The kernel takes them in at once, but an application server that accepts one connection
//! in each turn of its loop lets the last of them wait for 100 ms and more while it serves the
//! first. So each worker opens as many as it has open to the targets that go, and a few more. The
//! switch waits for that and a moment more, in which the server can accept them (nothing tells that
//! it has), but never long: this is a favour, and one that failed costs nothing.
//!
//! A server that handles one connection at a time would wait on an idle one. Therefore nothing is
//! opened where nothing was kept before, what is opened first is used first, and what was not used
//! is closed after a second ([`crate::upstream::Pool`]).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::table::Service;
use crate::target::Target;
use crate::upstream;
use crate::worker::{Command, Worker};

/// The longest that a connection may take.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the targets get for accepting each connection, and for all of them together.
const MOMENT: Duration = Duration::from_millis(1);
const MOMENTS: u32 = 20;

/// The most that one worker opens to one target.
const MAX: usize = 128;

type Services = BTreeMap<String, Arc<Service>>;

/// A target that will get requests, and what its share of them is measured by.
#[derive(Debug)]
pub(crate) struct Wanted {
    target: Arc<Target>,
    /// The service's targets so far.
    like: BTreeSet<u64>,
    /// How many targets share the service's requests from now on.
    among: usize,
    /// How many requests are held for the service.
    held: usize,
}

impl Wanted {
    /// How many connections one of `workers` opens that has `open` ones to the former targets.
    fn count(&self, open: usize, workers: usize) -> usize {
        let held = self.held.div_ceil(workers.max(1));
        // No two moments are alike: the most that were in use at once may be some more.
        let spare = open / 8;
        (open + spare + held).div_ceil(self.among.max(1)).min(MAX)
    }
}

/// One order to all workers.
#[derive(Debug)]
pub(crate) struct Warming {
    wanted: Vec<Wanted>,
    opened: AtomicU32,
}

/// The targets of `after` that are new in a service that has served before.
fn wanted(before: &Services, after: &Services) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (key, service) in after {
        let Some(former) = before.get(key) else { continue };
        let like: BTreeSet<u64> = former.targets.iter().map(|target| target.serial).collect();
        let held = service.gate.as_ref().map_or(0, |gate| gate.waiting());
        for target in service.targets.iter().filter(|target| !like.contains(&target.serial)) {
            let (target, like) = (Arc::clone(target), like.clone());
            wanted.push(Wanted { target, like, among: service.targets.len(), held });
        }
    }
    wanted
}

/// The workers, once there are some.
#[derive(Debug, Default)]
pub(crate) struct Warmers(OnceLock<Vec<mpsc::UnboundedSender<Command>>>);

impl Warmers {
    /// Names the workers that serve clients.
    pub(crate) fn are(&self, workers: &[mpsc::UnboundedSender<Command>]) {
        self.0.get_or_init(|| workers.to_vec());
    }

    /// Returns when the connections for this switch are there, or it has taken long enough.
    pub(crate) async fn warm(&self, before: &Services, after: &Services) {
        let wanted = wanted(before, after);
        let Some(workers) = self.0.get().filter(|_| !wanted.is_empty()) else { return };
        let warming = Arc::new(Warming { wanted, opened: AtomicU32::new(0) });
        let (done, mut all_done) = mpsc::channel(1);
        for worker in workers {
            let (warming, done) = (Arc::clone(&warming), done.clone());
            worker.send(Command::Warm { warming, done }).ok();
        }
        drop(done);
        tokio::time::timeout(PATIENCE, all_done.recv()).await.ok();
        let opened = warming.opened.load(Ordering::Relaxed);
        if opened > 1 {
            tokio::time::sleep(MOMENT * opened.min(MOMENTS)).await;
        }
    }
}

impl Worker {
    /// Opens this worker's share.
    pub(crate) fn warm(self: &Rc<Self>, warming: &Arc<Warming>, done: &mpsc::Sender<()>) {
        let workers = self.hub.acceptors().len();
        for one in &warming.wanted {
            for _ in 0..one.count(self.open_to(&one.like), workers) {
                let (worker, target) = (Rc::clone(self), Arc::clone(&one.target));
                let (warming, done) = (Arc::clone(warming), done.clone());
                tokio::task::spawn_local(async move {
                    match tokio::time::timeout(PATIENCE, open(&worker, &target)).await {
                        Ok(Ok(())) => drop(warming.opened.fetch_add(1, Ordering::Relaxed)),
                        Ok(Err(error)) => {
                            tracing::debug!(target = target.id, %error, "not connected in advance");
                        }
                        Err(_elapsed) => {}
                    }
                    drop(done);
                });
            }
        }
    }
}

async fn open(worker: &Worker, target: &Target) -> std::io::Result<()> {
    let mut sender = upstream::connect(target, PATIENCE).await?;
    sender.ready().await.map_err(std::io::Error::other)?;
    worker.pool.put_warm(target.serial, sender, worker.now());
    Ok(())
}
