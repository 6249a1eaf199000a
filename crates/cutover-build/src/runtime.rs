//! [`RuntimeRunner`]: RUN steps in containers of cutover-runtime, children of this process.
//!
//! The container dies with the thread that made it (parent death signal), so a killed build leaves
//! no process; what else it can leave (a control group, an address) bears the builder's pid in its
//! name and is removed by the next build.

mod agent;
mod etc;
mod leftovers;
mod mounts;
mod output;
mod outside;
mod shell;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use cutover_runtime::cgroup::Cgroup;
use cutover_runtime::container::run_once;
use cutover_runtime::init::{Created, Io, StartError};
use cutover_runtime::net::{
    self, Attached, DEFAULT_NETWORK, Endpoint, NetError, NetworkConfig, Networks,
};
use cutover_runtime::spec::{self, Mount, MountKind, Resources, Rootfs, Spec};
use rustix::process::Signal;

use crate::{Cancel, Network, RunStep, RunStepError, Runner, Stream};

use mounts::Places;

pub use leftovers::is_running_build;

/// Processes and threads of one step unless its builder says otherwise: docker has no limit, and a
/// step that forks for ever takes the machine with it.
const PIDS: u64 = 32_768;

/// Runs steps in containers. The process's own executable must be out of a container's reach:
/// `cutover_runtime::sys::own_exe::ensure` comes first thing in `main`.
#[derive(Debug)]
pub struct RuntimeRunner {
    scratch: PathBuf,
    marks: PathBuf,
    networks: Networks,
}

/// Why a step's container did not come up.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("failed to connect the step to the network")]
    Network(#[from] NetError),
    #[error("failed to make a scratch file for the step")]
    Scratch(#[source] std::io::Error),
    #[error("failed to write `/etc/{0}` of the step")]
    Etc(&'static str, #[source] std::io::Error),
    #[error(transparent)]
    Mount(#[from] mounts::Failure),
    #[error("failed to start `{0}`")]
    Outside(PathBuf, #[source] std::io::Error),
}

impl RuntimeRunner {
    /// `root` is the store's, for scratch files; `run` is for what a reboot ends too. Removes what
    /// killed builds left.
    pub fn new(root: &Path, run: &Path, networks: Networks) -> Self {
        let marks = run.join("builds");
        leftovers::remove(&marks, &networks);
        Self { scratch: root.join("tmp"), marks, networks }
    }

    fn attach(
        &self,
        step: &RunStep,
        name: &str,
        created: &Created,
    ) -> Result<Option<Attached>, NetError> {
        match step.network {
            Network::Host => Ok(None),
            Network::None => net::loopback_up(created.netns.as_fd()).map(|()| None),
            Network::Default => {
                let network = self.networks.list()?.into_iter().find(|n| n.name == DEFAULT_NETWORK);
                let config = match network {
                    Some(network) => NetworkConfig {
                        subnet: Some(network.subnet),
                        internal: network.internal,
                        ..NetworkConfig::named(DEFAULT_NETWORK)
                    },
                    None => NetworkConfig::named(DEFAULT_NETWORK),
                };
                let network = self.networks.ensure(&config)?;
                let endpoint = Endpoint {
                    container_id: name.to_owned(),
                    hostname: step.hostname.clone(),
                    ..Endpoint::default()
                };
                self.networks.attach(&network, created.netns.as_fd(), &endpoint).map(Some)
            }
        }
    }

    /// Runs the container to its end; on the thread that it dies with.
    fn contain(
        &self,
        step: &RunStep,
        name: &str,
        places: &Places,
        io: Io,
        cancel: &Cancel,
    ) -> Result<i32, Failure> {
        let _mark = leftovers::Mark::new(&self.marks, name).map_err(Failure::Scratch)?;
        let etc = tempfile::Builder::new().prefix("etc-").tempdir_in(&self.scratch);
        let etc = etc.map_err(Failure::Scratch)?;
        let spec = to_spec(step, name, etc.path(), places.mounts(step))?;
        places.enter(step)?;
        let (controller, io) = outside::Controller::of(step.outside.as_ref(), io)?;
        let mut attached = None;
        let (ended, outside) = std::thread::scope(|scope| {
            let waiting = controller.as_ref().map(|one| scope.spawn(|| one.wait(cancel)));
            let ended = run_once(&spec, io, |created| {
                attached = self.attach(step, name, created)?;
                controller.as_ref().map_or(Ok(()), |one| one.start(&spec, created.pid))
            });
            if let Some(controller) = &controller {
                controller.release();
            }
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            (ended, waiting.map(join))
        });
        if let Some(attached) = attached
            && let Err(error) = self.networks.release(attached)
        {
            // The step's end is what counts; the next build tries again.
            tracing::warn!(%error, "cannot release the network of a build step");
        }
        let ended: Result<_, Failure> = ended;
        let code = ended?.code;
        outside.unwrap_or(Ok(code))
    }
}

impl Runner for RuntimeRunner {
    fn run(
        &self,
        step: &RunStep,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<i32, RunStepError> {
        let failed = |error: std::io::Error| RunStepError::Start(Box::new(error));
        let (pipes, io) = output::Pipes::open().map_err(failed)?;
        let name = leftovers::name();
        let places = Places::make(step, &self.scratch)
            .map_err(|failure| RunStepError::Start(Box::new(failure)))?;
        std::thread::scope(|scope| {
            let contained = scope.spawn(|| self.contain(step, &name, &places, io, cancel));
            // Ends when the last process that can write has ended.
            let read = pipes.read(output, cancel, &|| kill(&name));
            let ended = contained.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            read.map_err(failed)?;
            match ended {
                Ok(code) => Ok(code),
                Err(Failure::Start(StartError::NotFound { program, .. })) => {
                    Err(RunStepError::NotFound { command: program })
                }
                Err(Failure::Start(StartError::NotExecutable { program, .. })) => {
                    Err(RunStepError::NotExecutable { command: program })
                }
                Err(failure) => Err(RunStepError::Start(Box::new(failure))),
            }
        })
    }

    fn shell(&self, step: &RunStep, cancel: &Cancel) -> Result<(), RunStepError> {
        self.on_terminal(step, cancel)
    }
}

/// Kills everything in the step's container. It may not be there yet: whoever asks tries again.
fn kill(name: &str) {
    if let Err(error) = Cgroup::open(name).and_then(|group| group.kill_all()) {
        tracing::debug!(name, %error, "cannot kill a build step");
    }
}

/// A step as a container; `etc` is a directory for the files that are shown in it.
fn to_spec(
    step: &RunStep,
    name: &str,
    etc: &Path,
    mut mounts: Vec<Mount>,
) -> Result<Spec, Failure> {
    let host_network = step.network == Network::Host;
    let hosts = etc::hosts(&step.hostname, &step.extra_hosts);
    for (file, text) in [("hosts", hosts), ("resolv.conf", etc::resolv_conf(host_network))] {
        let target = format!("/etc/{file}");
        // Who mounts over them, or over all of /etc, wants something else.
        if step.mounts.iter().any(|mount| mount.target == "/etc" || mount.target == target) {
            continue;
        }
        let path = etc.join(file);
        fs_err::write(&path, text).map_err(|error| Failure::Etc(file, error))?;
        mounts.push(bind(path, target, false));
    }
    let scripts = step.files.iter();
    mounts.extend(scripts.map(|(host, inside)| bind(host.clone(), inside.clone(), true)));
    let default = Spec::default();
    Ok(Spec {
        cgroup: name.to_owned(),
        rootfs: Rootfs::Overlay {
            lowers: step.lowers.clone(),
            upper: Some(step.upper.clone()),
            work: Some(step.work.clone()),
            read_only: false,
            volatile: true,
        },
        args: step.args.clone(),
        env: step.env.clone(),
        cwd: step.cwd.clone(),
        user: step.user.clone(),
        hostname: step.hostname.clone(),
        mounts,
        shm_size: step.shm_size.unwrap_or(default.shm_size),
        resources: Resources {
            pids: step.limits.resources.pids.or(Some(PIDS)),
            ..step.limits.resources.clone()
        },
        ulimits: step.limits.ulimits.clone(),
        privileged: step.insecure,
        // Build steps use `sudo` and `su`; docker lets them.
        no_new_privileges: false,
        network: if host_network { spec::Network::Host } else { spec::Network::Private },
        parent_death_signal: Some(Signal::KILL.as_raw()),
        init: step.init,
        ..default
    })
}

fn bind(source: PathBuf, target: String, read_only: bool) -> Mount {
    let kind = MountKind::Bind {
        source,
        subpath: None,
        read_only,
        recursive: false,
        create_source: false,
        propagation: spec::Propagation::Private,
    };
    Mount { target, kind }
}
