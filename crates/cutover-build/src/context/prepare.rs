//! Getting the main context where it is not a directory already.

use std::path::{Path, PathBuf};

use cutover_store::Lease;

use super::dockerfile::MAX_DOCKERFILE;
use super::{ContextSource, Material, material};
use crate::error::boxed;
use crate::remote::Remotes;
use crate::tree::{Kind, Tree};
use crate::{BuildError, BuildOptions, DockerfileSource, FetchedContext, World};

/// What a prepared context needs until the build is over.
#[derive(Debug)]
#[must_use = "the context is gone when this is"]
pub struct Prepared {
    _material: Option<Material>,
    _lease: Option<Lease>,
}

/// Points `options` at the context that `source` means: fetched, unpacked, with its Dockerfile.
pub fn prepare(
    options: &mut BuildOptions,
    source: &ContextSource,
    world: &World<'_>,
) -> Result<Prepared, BuildError> {
    if let ContextSource::Directory(path) = source {
        options.context.clone_from(path);
        return Ok(Prepared { _material: None, _lease: None });
    }
    let lease = world.store.lease().map_err(boxed("lock the store"))?;
    let keep_git = options.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
    let keep_git = keep_git.is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    let remotes = Remotes::new(options, world, &options.cancel);
    let material = material(&remotes, source, keep_git).map_err(boxed("get the build context"))?;
    let dockerfile = match (&material.dockerfile, &options.dockerfile) {
        (_, DockerfileSource::Provision(steps)) => DockerfileSource::Provision(steps.clone()),
        (_, DockerfileSource::Inline(bytes)) => DockerfileSource::Inline(bytes.clone()),
        (Some(bytes), _) => DockerfileSource::Inline(bytes.clone()),
        // Not of the context: a file of the user's.
        (None, DockerfileSource::Path(path)) if path.is_absolute() => {
            DockerfileSource::Path(path.clone())
        }
        (None, named) => DockerfileSource::Inline(dockerfile_in(&material.path, named)?),
    };
    options.context.clone_from(&material.path);
    options.dockerfile = dockerfile;
    options.fetched = Some(FetchedContext { time: material.time, owners: material.owners });
    Ok(Prepared { _material: Some(material), _lease: Some(lease) })
}

/// Reads the Dockerfile of a context that may be anybody's: links in it do not leave it.
fn dockerfile_in(context: &Path, named: &DockerfileSource) -> Result<Vec<u8>, BuildError> {
    let tree = Tree::open(context).map_err(boxed("open the build context"))?;
    let names = match named {
        DockerfileSource::Path(path) => vec![path.clone()],
        _ => vec![PathBuf::from("Dockerfile"), PathBuf::from("dockerfile")],
    };
    for name in &names {
        let path = tree.resolve(name).map_err(boxed("find the Dockerfile"))?;
        let meta = tree.meta(&path).map_err(boxed("find the Dockerfile"))?;
        if meta.is_some_and(|meta| meta.kind == Kind::File && meta.size <= MAX_DOCKERFILE) {
            let mut bytes = Vec::new();
            let file = tree.file(&path).map_err(boxed("open the Dockerfile"))?;
            let read = std::io::Read::read_to_end(
                &mut std::io::Read::take(file, MAX_DOCKERFILE),
                &mut bytes,
            );
            read.map_err(boxed("read the Dockerfile"))?;
            return Ok(bytes);
        }
    }
    match named {
        DockerfileSource::Path(path) => {
            let source =
                std::io::Error::new(std::io::ErrorKind::NotFound, "it is not in the context");
            Err(BuildError::ReadDockerfile { path: path.clone(), source })
        }
        _ => Err(BuildError::NoDockerfile { context: PathBuf::from("the context") }),
    }
}
