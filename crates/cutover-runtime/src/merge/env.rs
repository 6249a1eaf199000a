//! The environment, in docker's order.

use super::{MergeError, RunOptions};

/// What docker gives a container whose image sets no `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `PATH`, `HOSTNAME`, `TERM` (with a terminal), then the user's variables, then those of the
/// image that the user did not set. A key seen before keeps its place and takes the new value.
pub(super) fn environment(
    image: &[String],
    options: &RunOptions,
    hostname: Option<&str>,
) -> Result<Vec<String>, MergeError> {
    let mut env = vec![format!("PATH={DEFAULT_PATH}")];
    if let Some(hostname) = hostname {
        env.push(format!("HOSTNAME={hostname}"));
    }
    if options.terminal {
        env.push("TERM=xterm".to_owned());
    }
    for line in &options.env {
        set(&mut env, line)?;
    }
    let given = |key: &str| options.env.iter().any(|line| key_of(line) == key);
    for line in image.iter().filter(|line| !given(key_of(line))) {
        // A broken line in an image's config is not this user's fault.
        set(&mut env, line).unwrap_or_default();
    }
    Ok(env)
}

/// The environment of an exec: the container's, with the lines given for it.
pub(crate) fn override_env(base: &[String], lines: &[String], terminal: bool) -> Vec<String> {
    let mut env = base.to_vec();
    if terminal && !env.iter().any(|line| key_of(line) == "TERM") {
        env.push("TERM=xterm".to_owned());
    }
    for line in lines {
        // One without a name cannot be set; the program would not see it either.
        set(&mut env, line).unwrap_or_default();
    }
    env
}

fn set(env: &mut Vec<String>, line: &str) -> Result<(), MergeError> {
    let key = key_of(line);
    if key.is_empty() {
        return Err(MergeError::EnvName(line.to_owned()));
    }
    let place = env.iter().position(|known| key_of(known) == key);
    match (place, line.contains('=')) {
        (Some(at), true) => line.clone_into(&mut env[at]),
        (None, true) => env.push(line.to_owned()),
        (Some(at), false) => drop(env.remove(at)),
        (None, false) => {}
    }
    Ok(())
}

fn key_of(line: &str) -> &str {
    line.split_once('=').map_or(line, |(key, _)| key)
}
