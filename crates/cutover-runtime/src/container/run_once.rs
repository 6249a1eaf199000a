//! [`run_once`]: a build step. No shim, no name, no log.

use super::{ExitStatus, Result};
use crate::init::Io;
use crate::spec::Spec;

/// Runs `spec` to its end in the calling process. Whatever it left running is killed and its
/// control group removed. `prepare` gets the network namespace before the program starts.
pub fn run_once(
    spec: &Spec,
    io: Io,
    prepare: &mut dyn FnMut(&crate::init::Created) -> Result<()>,
) -> Result<ExitStatus> {
    let _ = (spec, io, prepare);
    todo!()
}
