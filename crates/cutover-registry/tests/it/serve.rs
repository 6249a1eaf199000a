//! The embedded registry, spoken to over real sockets.

mod areas;
mod care;
mod client;
mod crash;
mod hostile;
mod lists;
mod peers;
mod tags;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cutover_registry::server::{Ambient, Immutable, Options, Policy, Running, start};

use client::Client;

/// A registry with a folder of its own; ends when dropped.
pub(crate) struct Registry {
    running: Option<Running>,
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) port: u16,
}

/// What time it is in the registry: before now, so that its files are not old. Tests that need time to
/// pass set it.
static CLOCK: AtomicU64 = AtomicU64::new(1_700_000_000);

fn now() -> Duration {
    Duration::from_secs(CLOCK.load(Ordering::SeqCst))
}

/// Ids that do not repeat themselves within a run of the tests.
fn random() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..].copy_from_slice(&u64::from(std::process::id()).to_be_bytes());
    bytes
}

pub(crate) fn options(dir: &std::path::Path) -> Options {
    let mut options = Options::new(dir.to_owned(), Ambient { now, random });
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    options.threads = 2;
    options
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// One with other options.
    pub(crate) fn with(choose: impl FnOnce(&mut Options)) -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), choose)
    }

    pub(crate) fn with_policy(choose: impl FnOnce(&mut Policy)) -> Self {
        Self::with(|options| choose(&mut options.policy))
    }

    pub(crate) fn at(dir: Arc<tempfile::TempDir>, choose: impl FnOnce(&mut Options)) -> Self {
        let mut options = options(&dir.path().join("data"));
        choose(&mut options);
        let running = start(options).unwrap();
        let port = running.addresses()[0].port();
        Self { running: Some(running), dir, port }
    }

    /// Another process, as far as the data are concerned.
    pub(crate) fn again(mut self) -> Self {
        self.running.take().unwrap().stop();
        Self::at(Arc::clone(&self.dir), |_| {})
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port)
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }
}

/// Rules under which every tag may move.
pub(crate) fn movable(policy: &mut Policy) {
    policy.immutable = vec![Immutable::None];
}
