//! The agent: one per machine. It carries out deployments, keeps the proxy alive, and sets right
//! what a crash or a reboot left. Traffic and containers go on without it.
//!
//! Threads, not async: it has a handful of clients and one deployment per app, each a sequence of
//! blocking steps.

pub(crate) mod client;
mod conversation;
mod deploy;
pub(crate) mod instance;
pub(crate) mod ledger;
pub(crate) mod log;
pub(crate) mod machine;
mod names;
pub(crate) mod protocol;
mod reconcile;
pub(crate) mod routes;
mod server;
pub(crate) mod settings;
mod supervise;
pub(crate) mod taint;
mod traffic;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cutover_core::Reference;
use cutover_proxy::ProxyOptions;
use cutover_store::Image;
use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use tracing::info;

use crate::clock;
use crate::failure::{Failure, Kind, Outcome};
use crate::paths::Paths;
use machine::Machine;
use server::Shared;

/// Runs until asked to stop.
pub(crate) fn run(paths: &Paths) -> Outcome {
    // Whoever started it may have had files and pipes open; holding them would keep, say, a
    // reader of a pipe waiting for ever.
    cutover_runtime::sys::process::close_from(3)?;
    fs::create_dir_all(&paths.root)?;
    log::init(&paths.agent_log());
    let _lock = lock(paths)?;
    let machine = Arc::new(Machine::open(paths)?);
    let ledger = ledger::SharedLedger::take_over(paths)?;
    let shared = Arc::new(Shared::new(Arc::clone(&machine), ledger));
    let proxy = Arc::new(supervise::Proxy::new(paths, settings::load(paths)?));
    let alive = proxy.ensure()?;
    let watched = Arc::clone(&proxy);
    std::thread::spawn(move || watched.watch(alive));
    reconcile::recover(&shared);
    deploy::resume_all(&shared);
    let listener = server::bind(&paths.agent_socket())?;
    reconcile::spawn(&shared);
    info!(pid = std::process::id(), root = %paths.root.display(), "the agent runs");
    let all = server::serve(&listener, &shared);
    if all {
        // before the socket goes: whoever waits for that may end the proxy, and it would come back
        proxy.keep_ended();
    }
    drop(fs::remove_file(paths.agent_socket()));
    shared.shut_down();
    if all {
        proxy.end();
    }
    info!("the agent ended");
    Ok(())
}

/// How long an agent that does not answer may have the lock: one that was killed gives it back when
/// the last of its threads is gone, a moment after it looks dead.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// One agent a root: the kernel gives the lock back however the agent ends.
fn lock(paths: &Paths) -> Outcome<fs::File> {
    let path = paths.root.join("agent.lock");
    let file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if client::ping(paths).is_some() || Instant::now() >= deadline {
            let text = format!("another agent has `{}`", paths.root.display());
            return Err(Failure::msg(Kind::Usage, text).hint("end it with `cutover agent --stop`"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(file)
}

pub(crate) fn proxy_options(paths: &Paths, listen: Vec<SocketAddr>) -> ProxyOptions {
    let mut options = ProxyOptions::new(&paths.root, &paths.run);
    options.listen = listen;
    options.resolv_conf = Some("/etc/resolv.conf".into());
    options.handle_signals = true;
    options.seed = clock::random();
    options
}

/// Pulls an image for a deployment: no terminal, no progress.
fn pull(machine: &Machine, reference: &Reference) -> anyhow::Result<Image> {
    let ctx = crate::cli::Ctx { paths: machine.paths.clone(), ui: crate::ui::Ui::detect().quiet() };
    crate::pull::pull(&ctx, &machine.store, reference, None)
        .map_err(|failure| failure.error.unwrap_or_else(|| anyhow::Error::msg("the pull failed")))
}
