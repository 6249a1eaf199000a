//! What a build needs from the outside: a process runner and a puller of base images.
//!
//! Both traits are implemented elsewhere (the runner by [`crate::RuntimeRunner`] over
//! cutover-runtime, the puller in the binary's wiring over cutover-registry), so that everything in
//! this crate is testable without containers and without a network.

use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;

use cutover_core::Reference;
use cutover_core::oci::Platform;
use cutover_runtime::spec::{Resources, Ulimit};
use cutover_store::Image;

use crate::{Cancel, Stream};

/// Network of a RUN step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// A private network namespace attached to the build network.
    #[default]
    Default,
    /// A private network namespace with only a loopback link.
    None,
    /// The host's own.
    Host,
}

/// An `--add-host name:address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    pub name: String,
    pub address: IpAddr,
}

/// Limits of a RUN step's processes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Of all processes together.
    pub resources: Resources,
    /// Of each one.
    pub ulimits: Vec<Ulimit>,
}

/// Something mounted for one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMount {
    /// Absolute path in the container.
    pub target: String,
    pub source: StepSource,
}

/// What is mounted. Paths below a root are resolved within it, even while it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepSource {
    /// Files of layers, topmost first.
    Layers {
        lowers: Vec<PathBuf>,
        path: String,
        /// Upper and work directory for what is written; read-only without.
        writable: Option<(PathBuf, PathBuf)>,
    },
    /// Files of a directory of the host, which are changed in place unless it is read-only.
    Directory { root: PathBuf, path: String, read_only: bool },
    /// Memory.
    Tmpfs { size: Option<u64>, read_only: bool },
    /// A file in memory.
    Secret { content: Secret, mode: u32, uid: u32, gid: u32 },
    /// A way to the ssh agent behind a socket of the host: its keys can be used, not changed.
    Agent { socket: PathBuf, mode: u32, uid: u32, gid: u32 },
}

/// Bytes that nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Rights that a build has only if its caller says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `RUN --network=host`.
    HostNetwork,
    /// `RUN --security=insecure`.
    Insecure,
}

/// One process to run over a layered root: plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct RunStep {
    /// Lower directories, topmost first. At least one.
    pub lowers: Vec<PathBuf>,
    /// Where changes go. Must be mounted so that renamed lower directories become whole copies
    /// (`redirect_dir=off,metacopy=off`): the directory becomes a layer.
    pub upper: PathBuf,
    pub work: PathBuf,
    pub args: Vec<String>,
    /// `KEY=value`, in order.
    pub env: Vec<String>,
    pub cwd: String,
    /// `USER`'s text; resolved inside the root.
    pub user: String,
    pub hostname: String,
    pub network: Network,
    pub extra_hosts: Vec<ExtraHost>,
    pub shm_size: Option<u64>,
    /// Host files shown read-only in the container: (host path, container path).
    pub files: Vec<(PathBuf, String)>,
    /// Parents are mounted before what lies below them, whatever the order. Of two with the same
    /// target the later one wins.
    pub mounts: Vec<StepMount>,
    /// All rights of the host's root.
    pub insecure: bool,
    pub limits: Limits,
    /// A process 1 of ours that takes care of orphans.
    pub init: bool,
    /// Who works on the container while its own program waits.
    pub outside: Option<Outside>,
}

/// A program of the host that works on a step's container from outside. The container's own program
/// ends when its standard input does, which is when this one has ended; its exit code counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    /// Where the runner writes `enter`, the command that runs its arguments in the container.
    pub directory: PathBuf,
}

/// Why a step's process could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunStepError {
    /// The command is not in the image (shells say 127).
    #[error("`{command}` was not found in the image")]
    NotFound { command: String },
    /// The command is there and cannot be executed (shells say 126).
    #[error("`{command}` cannot be executed")]
    NotExecutable { command: String },
    #[error("failed to start the container of the step")]
    Start(#[source] Box<dyn Error + Send + Sync>),
}

/// Runs RUN steps.
pub trait Runner: Sync {
    /// Runs `step` to its end, handing output over as it comes, and returns the exit code
    /// (128 + signal when killed). All of the step's processes are gone when this returns; it
    /// returns soon once `cancel` is raised.
    fn run(
        &self,
        step: &RunStep,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<i32, RunStepError>;

    /// Runs `step` on the terminal of this process, to its end. `cancel` is as in [`Runner::run`].
    fn shell(&self, step: &RunStep, cancel: &Cancel) -> Result<(), RunStepError>;
}

/// Fetches base images that the store does not have.
pub trait Puller: Sync {
    fn pull(&self, reference: &Reference, platform: &Platform) -> Result<Image, PullError>;
}

/// Why a base image could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("failed to pull `{reference}`")]
pub struct PullError {
    pub reference: Reference,
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}
