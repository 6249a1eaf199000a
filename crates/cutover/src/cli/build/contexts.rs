//! Where the files of a build come from: the main context, `-` included, and named ones.

use std::io::{Read, Write};
use std::time::Instant;

use clap::Args;
use cutover_build::{
    BuildOptions, ContextSource, DockerfileSource, NamedContext, Prepared, Quiet, RuntimeRunner,
    World, prepare,
};
use cutover_store::{Lease, Store};
use tempfile::NamedTempFile;

use super::super::Ctx;
use crate::failure::{Failure, Kind, Outcome};
use crate::wiring::{RegistryFetcher, RegistryPuller, caller_environment};

/// Most bytes of a context on stdin.
const MAX_STDIN: u64 = 64 << 30;

#[derive(Debug, Args)]
pub(super) struct Contexts {
    /// Another context: a directory, `docker-image://`, `oci-layout://`, a git or HTTP address
    #[arg(long, value_name = "NAME=VALUE")]
    build_context: Vec<String>,
}

impl Contexts {
    pub(super) fn apply(&self, options: &mut BuildOptions) -> Outcome {
        for line in &self.build_context {
            let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                let failure = usage(format!("`{line}` is not a context"));
                return Err(failure.hint("write `--build-context NAME=DIR`"));
            };
            add(options, name, value)?;
        }
        Ok(())
    }
}

/// Adds a named context; a directory must be there.
pub(crate) fn add(options: &mut BuildOptions, name: &str, value: &str) -> Outcome {
    let context = NamedContext::parse(value).map_err(usage)?;
    options.contexts.add(name, context).map_err(usage)?;
    let missing = options.contexts.directories().find(|(own, path)| *own == name && !path.is_dir());
    if let Some((name, path)) = missing {
        let problem = format!("context `{name}`: `{}` is not a directory", path.display());
        return Err(Failure::msg(Kind::Config, problem));
    }
    Ok(())
}

/// What a context needs until the build is over.
#[derive(Debug)]
pub(crate) struct Held {
    _prepared: Prepared,
    _stdin: Option<NamedTempFile>,
    _lease: Lease,
}

/// Points `options` at the main context that `word` names; `-` is stdin.
pub(crate) fn open(
    ctx: &Ctx,
    store: &Store,
    options: &mut BuildOptions,
    word: &str,
    quiet: bool,
) -> Outcome<Held> {
    // What is below `tmp/` is anybody's to remove without it.
    let lease = store.lease()?;
    let (source, stdin) = match word {
        "-" if matches!(options.dockerfile, DockerfileSource::Inline(_)) => {
            return Err(usage("stdin cannot be both the Dockerfile and the context"));
        }
        "-" => {
            let file = spool(store)?;
            (ContextSource::File(file.path().to_owned()), Some(file))
        }
        word => (ContextSource::parse(word).map_err(usage)?, None),
    };
    if matches!(source, ContextSource::Remote(_)) && !quiet {
        ctx.ui.say("getting the build context");
    }
    options.environment = caller_environment();
    let start = Instant::now();
    let clock = move || start.elapsed();
    let runner = RuntimeRunner::new(&ctx.paths.root, &ctx.paths.run, ctx.networks()?);
    let (puller, fetcher) = (RegistryPuller { ctx, store }, RegistryFetcher);
    let (progress, clock) = (&Quiet, &clock);
    let world =
        World { store, progress, runner: &runner, puller: &puller, fetcher: &fetcher, clock };
    let prepared = prepare(options, &source, &world).map_err(|error| super::failure(ctx, error))?;
    Ok(Held { _prepared: prepared, _stdin: stdin, _lease: lease })
}

/// Keeps what comes on stdin in a file: what it is shows only in its content.
fn spool(store: &Store) -> Outcome<NamedTempFile> {
    let mut file = NamedTempFile::new_in(store.root().join("tmp"))?;
    let copied = std::io::copy(&mut std::io::stdin().take(MAX_STDIN + 1), &mut file)?;
    file.flush()?;
    match copied {
        0 => Err(usage("stdin is empty: it should be a Dockerfile or a tar")),
        copied if copied > MAX_STDIN => {
            Err(usage(format!("the context on stdin has more than {MAX_STDIN} bytes")))
        }
        _ => Ok(file),
    }
}

fn usage(problem: impl Into<String>) -> Failure {
    Failure::msg(Kind::Usage, problem.into())
}
