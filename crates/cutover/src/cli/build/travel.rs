//! `--cache-from` and `--cache-to`: caches in registries, directories, and in the image itself.

mod deliver;
mod parse;

use std::sync::Arc;

use clap::Args;
use cutover_build::travel::{FolderSource, LayerSource, SourceError};
use cutover_build::{BuildOptions, Built, CacheImport};
use cutover_core::Reference;
use cutover_core::oci::Descriptor;
use cutover_store::Store;

use self::parse::{From, To};
use crate::failure::{Failure, Outcome};
use crate::transfer;
use crate::ui::Ui;

#[derive(Debug, Args)]
pub(super) struct Travel {
    /// Use a cache from elsewhere: `type=local,src=DIR`, `type=registry,ref=NAME`, or a name
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<String>,
    /// Keep the cache elsewhere: `type=local,dest=DIR`, `type=registry,ref=NAME`, `type=inline`; `mode=max` for all stages
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<String>,
}

impl Travel {
    /// Checks the flags; nothing is read yet.
    pub(super) fn plan(&self) -> Outcome<Plan> {
        plan(&self.cache_from, &self.cache_to)
    }
}

/// Reads what the flags, or the keys of a compose file, say.
pub(crate) fn plan(from: &[String], to: &[String]) -> Outcome<Plan> {
    let from = from.iter().map(|text| From::read(text)).collect::<Outcome<_>>()?;
    let to = to.iter().map(|text| To::read(text)).collect::<Outcome<_>>()?;
    Ok(Plan { from, to })
}

/// Caches to use and to write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    from: Vec<From>,
    to: Vec<To>,
}

impl Plan {
    /// Reads the records of caches. One that cannot be had is none: the build goes on.
    pub(crate) fn apply(&self, ui: Ui, store: &Store, options: &mut BuildOptions) {
        options.inline_cache = self.to.contains(&To::Inline)
            || options.build_args.get("BUILDKIT_INLINE_CACHE").is_some_and(|value| value == "1");
        for from in &self.from {
            match open(ui, store, from) {
                Ok(imports) => options.cache_from.extend(imports),
                Err(failure) => {
                    let why = failure.error.map(|error| format!("{error:#}")).unwrap_or_default();
                    ui.warn(format!("cache `{}` is not used: {why}", from.name()));
                }
            }
        }
    }

    /// Writes the caches.
    pub(crate) fn deliver(&self, ui: Ui, store: &Store, built: &Built) -> Outcome {
        for to in &self.to {
            if let Err(failure) = deliver::write(ui, store, built, to) {
                if !to.ignores_errors() {
                    return Err(failure);
                }
                let why = failure.error.map(|error| format!("{error:#}")).unwrap_or_default();
                ui.warn(format!("the cache was not written: {why}"));
            }
        }
        Ok(())
    }
}

fn open(ui: Ui, store: &Store, from: &From) -> Outcome<Vec<CacheImport>> {
    let name = from.name();
    match from {
        From::Local { path, tag, digest } => {
            let source = FolderSource { path: path.clone() };
            let (manifest, config) = source
                .documents(tag, digest.as_ref())
                .map_err(|error| Failure::msg(crate::failure::Kind::Config, chain(&*error)))?;
            Ok(vec![CacheImport::read(&name, &manifest, &config, Arc::new(source))?])
        }
        From::Registry(reference) => {
            let options = transfer::options(cutover_store::host_platform())?;
            let found = transfer::watched(ui, |progress| {
                cutover_registry::documents(reference, &options, progress)
            })?;
            let source = Arc::new(RegistrySource {
                store: store.clone(),
                reference: reference.clone(),
                options,
            });
            let mut imports = Vec::new();
            for documents in found {
                let source = Arc::clone(&source);
                let (manifest, config) = (&documents.manifest, &documents.config);
                imports.push(CacheImport::read(&name, manifest, config, source)?);
            }
            Ok(imports)
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Layers of a cache in a registry; each comes by way of the store when it is needed.
struct RegistrySource {
    store: Store,
    reference: Reference,
    options: cutover_registry::Options,
}

impl std::fmt::Debug for RegistrySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySource").field("reference", &self.reference).finish_non_exhaustive()
    }
}

impl LayerSource for RegistrySource {
    fn open(&self, blob: &Descriptor) -> Result<std::fs::File, SourceError> {
        let silent = &cutover_registry::Silent;
        cutover_registry::fetch_blob(&self.store, &self.reference, blob, &self.options, silent)?;
        Ok(self.store.blobs().open(&blob.digest)?)
    }
}
