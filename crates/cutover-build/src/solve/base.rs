//! Base images: from the store, or pulled into it.

use cutover_core::Reference;
use cutover_core::oci::Platform;
use cutover_store::Image;

use super::{Done, Layer, Solver};
use crate::dockerfile::Lines;
use crate::stage::Stage;
use crate::{BuildError, Event, platform};

impl Solver<'_> {
    /// The image `name`, unpacked. Asked once for each name and platform.
    pub(super) fn image(
        &mut self,
        name: &str,
        platform: &Platform,
        explicit: bool,
        lines: Lines,
        shown: &str,
    ) -> Result<Done, BuildError> {
        let key = (name.to_owned(), platform::format(platform));
        if let Some(done) = self.images.get(&key) {
            return Ok(done.clone());
        }
        let reference: Reference =
            name.parse().map_err(|error: cutover_core::reference::ParseReferenceError| {
                self.wrong(lines, error.to_string(), None)
            })?;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BuildError::Step {
            place: (self.place)(lines),
            instruction: format!("FROM {name}"),
            source,
        };
        let local = self.world.store.images().get(&reference).map_err(|e| failed(Box::new(e)))?;
        let fits = |image: &Image| {
            !explicit
                || image.config.os == platform.os
                    && image.config.architecture == platform.architecture
        };
        let unpacked = local
            .as_ref()
            .filter(|image| fits(image))
            .and_then(|image| self.world.store.snapshots().lowers(image));
        let image = match (local.filter(fits), unpacked) {
            (Some(image), Some(_)) => {
                self.next_step += 1;
                self.world.progress.on(Event::Cached { step: self.next_step, name: shown });
                image
            }
            (image, _) => self.unpack(image, &reference, platform, shown).map_err(|source| {
                BuildError::Step {
                    place: (self.place)(lines),
                    instruction: format!("FROM {name}"),
                    source,
                }
            })?,
        };
        let done = to_done(image);
        self.images.insert(key, done.clone());
        Ok(done)
    }

    fn unpack(
        &mut self,
        image: Option<Image>,
        reference: &Reference,
        platform: &Platform,
        shown: &str,
    ) -> Result<Image, Box<dyn std::error::Error + Send + Sync>> {
        let step = self.started(shown);
        let work = || {
            let image = match image {
                Some(image) => image,
                None => self.world.puller.pull(reference, platform)?,
            };
            self.world.store.snapshots().ensure(&image, &mut |_| {})?;
            Ok(image)
        };
        let result: Result<Image, Box<dyn std::error::Error + Send + Sync>> = work();
        match &result {
            Ok(_) => self.done(step),
            Err(error) => self.failed(step, &error.to_string()),
        }
        result
    }

    pub(super) fn failed(&self, step: usize, error: &str) {
        let at = (self.world.clock)();
        self.world.progress.on(Event::Failed { step, error, at });
    }
}

fn to_done(image: Image) -> Done {
    let layers =
        image.manifest.layers.iter().zip(&image.chain_ids).zip(&image.config.rootfs.diff_ids);
    let layers = layers.map(|((descriptor, chain_id), diff_id)| Layer {
        chain_id: chain_id.clone(),
        diff_id: diff_id.clone(),
        descriptor: descriptor.clone(),
    });
    Done { layers: layers.collect(), stage: Stage::from_image(image.config) }
}
