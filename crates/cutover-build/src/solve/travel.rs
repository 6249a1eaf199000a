//! What other machines have built: looked up by a step's key, fetched when its files are needed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use cutover_core::{Digest, Reference};

use super::{Done, Layer, Origin, Solver, steps};
use crate::attest::{self, Material};
use crate::cache;
use crate::travel::{ContentRecord, Records, StepRecord, layer_reader};
use crate::{BuildError, CacheImport, platform};

/// How much of the imported caches a build believes. A build that cannot have a layer that it was
/// promised begins anew and believes less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    Nothing,
    /// Steps whose layers are there.
    Layers,
    /// Also steps of which there is a record only.
    Records,
}

/// Why a build begins anew.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) next: Trust,
    /// For the user; nothing when it was to be expected.
    pub(super) warning: Option<String>,
}

/// What a build takes from other machines' caches, and what it has for them.
#[derive(Debug)]
pub(super) struct Travel {
    pub(super) trust: Trust,
    used: Mutex<Records>,
    /// What came from outside, for those who ask where an image comes from.
    materials: Mutex<BTreeSet<Material>>,
    lost: Mutex<Option<Lost>>,
}

impl Travel {
    pub(super) fn new(trust: Trust) -> Self {
        Self { trust, used: Mutex::default(), materials: Mutex::default(), lost: Mutex::default() }
    }

    /// Whether a step counts as found when there is a record of it and no layer.
    pub(super) fn believes_records(&self) -> bool {
        self.trust == Trust::Records
    }

    pub(super) fn note_step(&self, key: &Digest, layer: &Layer) {
        let record = StepRecord {
            key: key.clone(),
            diff_id: layer.diff_id.clone(),
            size: layer.descriptor.size,
            chain_id: Some(layer.chain_id.clone()),
        };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).steps.push(record);
    }

    pub(super) fn note_content(&self, selection: &Digest, digest: &Digest) {
        let record = ContentRecord { selection: selection.clone(), digest: digest.clone() };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).contents.push(record);
    }

    pub(super) fn records(&self) -> Records {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone().normalized()
    }

    /// Notes a file over HTTP or a repository.
    pub(super) fn note_material(&self, uri: &str, algorithm: &str, digits: &str) {
        let digest = (algorithm.to_owned(), digits.to_owned());
        let material = Material { uri: uri.to_owned(), digest };
        self.materials.lock().unwrap_or_else(PoisonError::into_inner).insert(material);
    }

    pub(super) fn lost(&self) -> Option<Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Solver<'_> {
    /// Everything that came from outside: base images, files over HTTP, repositories.
    pub(super) fn materials(&self) -> Vec<Material> {
        let platform = platform::format(&self.target);
        for image in self.images.made() {
            let Origin::Image { name, digest } = &image.origin else { continue };
            let Ok(digest) = digest.parse::<Digest>() else { continue };
            let uri = match name.parse::<Reference>() {
                Ok(name) => {
                    let version = name.tag().unwrap_or("latest");
                    attest::image_purl(&name.familiar_name(), version, &platform)
                }
                Err(_) => name.clone(),
            };
            self.travel.note_material(&uri, digest.algorithm().as_str(), digest.hex());
        }
        let materials = self.travel.materials.lock().unwrap_or_else(PoisonError::into_inner);
        materials.iter().cloned().collect()
    }

    fn imports(&self) -> &[CacheImport] {
        match self.travel.trust {
            Trust::Nothing => &[],
            _ => &self.options.cache_from,
        }
    }

    /// The layer that a step made elsewhere. It is known, not here.
    pub(super) fn imported(&self, done: &Done, key: &Digest) -> Option<Layer> {
        let step = self.imports().iter().find_map(|import| {
            let step = import.step(key)?;
            let there = self.layer_of(&step.diff_id).is_some();
            (there || self.travel.believes_records()).then_some(step)
        })?;
        let chain_id = cutover_store::chain_id(done.chain_ids().last(), &step.diff_id);
        let known = cache::Step {
            diff_id: step.diff_id.clone(),
            chain_id: chain_id.clone(),
            size: step.size,
        };
        // when it cannot be kept, the next build asks elsewhere again
        if let Err(error) = self.cache.remember(key, &known, self.options.now) {
            tracing::debug!(%error, "cannot remember an imported step");
        }
        Some(steps::to_layer(chain_id, step.diff_id.clone(), step.size))
    }

    pub(super) fn imported_content(&self, selection: &Digest) -> Option<Digest> {
        let digest = self.imports().iter().find_map(|import| import.content(selection))?;
        if let Err(error) = self.cache.remember_content(selection, digest) {
            tracing::debug!(%error, "cannot remember an imported digest");
        }
        Some(digest.clone())
    }

    fn layer_of(&self, diff_id: &Digest) -> Option<&CacheImport> {
        self.imports().iter().find(|import| import.layer(diff_id).is_some())
    }

    /// Sees to it that the files of all layers are here.
    pub(super) fn materialize(&self, done: &Done) -> Result<(), BuildError> {
        for (index, layer) in done.layers.iter().enumerate() {
            if self.world.store.snapshots().contains(&layer.chain_id) {
                continue;
            }
            let below = index.checked_sub(1).map(|below| &done.layers[below].chain_id);
            self.arrivals.get(&layer.chain_id, || self.fetch(layer, below))?;
        }
        Ok(())
    }

    fn fetch(&self, layer: &Layer, below: Option<&Digest>) -> Result<(), BuildError> {
        self.check_cancel()?;
        let Some(import) = self.layer_of(&layer.diff_id) else {
            return Err(self.lose(Trust::Layers, None));
        };
        let Some(blob) = import.layer(&layer.diff_id) else {
            return Err(self.lose(Trust::Layers, None));
        };
        let (short, name) = (layer.diff_id.short(), &import.name);
        let step = self.started(&format!("importing layer {short} from {name}"));
        let work = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let file = import.source.open(blob)?;
            let size = layer.descriptor.size;
            let mut tar = layer_reader(blob, file, size)?;
            let snapshots = self.world.store.snapshots();
            let chain_id = snapshots.apply(below, &mut tar, &layer.diff_id)?;
            match snapshots.tar_size(&chain_id) {
                Some(actual) if actual != size => {
                    Err(format!("the layer has {actual} bytes, its record says {size}").into())
                }
                _ => Ok(()),
            }
        };
        match work() {
            Ok(()) => {
                self.done(step);
                Ok(())
            }
            Err(error) => {
                let causes = std::iter::successors(error.source(), |error| error.source());
                let all = std::iter::once(error.to_string()).chain(causes.map(ToString::to_string));
                let why = all.collect::<Vec<_>>().join(": ");
                self.failed(step, &why);
                let warning = format!("cache `{name}`: layer {short} cannot be used: {why}");
                Err(self.lose(Trust::Nothing, Some(warning)))
            }
        }
    }

    /// Notes why the build cannot go on as it began.
    fn lose(&self, next: Trust, warning: Option<String>) -> BuildError {
        let mut lost = self.travel.lost.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *lost {
            Some(before) => {
                before.next = before.next.min(next);
                before.warning = before.warning.take().or(warning);
            }
            None => *lost = Some(Lost { next, warning }),
        }
        BuildError::Io { operation: "use an imported cache", source: "a layer is missing".into() }
    }
}
