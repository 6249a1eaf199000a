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
use cutover_store::Image;

use crate::Stream;

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

/// One process to run over a layered root: plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// (128 + signal when killed). All of the step's processes are gone when this returns.
    fn run(
        &self,
        step: &RunStep,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<i32, RunStepError>;
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
