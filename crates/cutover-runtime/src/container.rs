//! Containers on this machine: their directories, names, state, and what can be done with them.
//!
//! Owns `ROOT/containers` and `RUN/containers`. A container's directory appears whole (made aside,
//! then renamed) and vanishes whole. Its `lock` file is held by its shim for as long as it lives, so
//! "is it supervised?" is a question to the kernel, not to a pid file: a state that says `running`
//! under a free lock is a lie, and whoever finds it sets it right ([`Containers::get`]).

pub(crate) mod clock;
mod config;
mod containers;
mod error;
pub(crate) mod etc;
mod exec;
pub(crate) mod files;
mod follow;
mod handle;
mod id;
pub(crate) mod lock;
pub(crate) mod paths;
mod reconcile;
pub(crate) mod remove;
mod run_once;
mod session;
mod signal;
mod spawn;
mod state;
pub(crate) mod to_spec;
mod watch;

pub use config::{
    Attachment, CONFIG_VERSION, ContainerConfig, Dns, ImageName, LogConfig, Mount, MountKind,
    NetworkMode, Port, Protocol, Resources, RestartPolicy, Security,
};
pub(crate) use containers::make_private;
pub use containers::{Containers, Recovered, Summary};
pub use error::{Error, Missing, Result};
pub use exec::ExecOptions;
pub use handle::Container;
pub use id::{Id, ParseIdError, check_name, name_for};
pub use run_once::run_once;
pub use session::{DOCKER_DETACH_KEYS, Ended, Session, SessionIo};
pub use signal::{ParseSignalError, parse_signal, signal_name};
pub use state::{Address, ExitStatus, Health, HealthStatus, Probe, STATE_VERSION, State, Status};
pub use watch::Watch;

pub use crate::spec::{Device, Seccomp, Ulimit};
