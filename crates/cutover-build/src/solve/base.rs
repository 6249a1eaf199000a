//! Base images: from the store, or pulled into it.

use std::error::Error;
use std::sync::{Arc, PoisonError};

use cutover_core::Reference;
use cutover_core::oci::Platform;
use cutover_store::Image;

use super::{Done, Layer, Origin, Solver, time};
use crate::dockerfile::Lines;
use crate::stage::Stage;
use crate::{BuildError, platform};

type Failure = Box<dyn Error + Send + Sync>;

impl Solver<'_> {
    /// The image `name`, unpacked. Asked once for each name and platform. It is shown as said, as
    /// a step of a stage if it is one.
    pub(super) fn image(
        &self,
        name: &str,
        platform: &Platform,
        explicit: bool,
        lines: Lines,
        shown: (Option<usize>, &str),
    ) -> Result<Arc<Done>, BuildError> {
        let key = (name.to_owned(), platform::format(platform));
        let mut first = false;
        let image = self.images.get(&key, || {
            first = true;
            self.check_cancel()?;
            if let Some((named, context)) = self.options.contexts.find(name, platform) {
                let done = self.named(named, context, platform, lines);
                return done.map(Arc::new);
            }
            let reference: Reference =
                name.parse().map_err(|error: cutover_core::reference::ParseReferenceError| {
                    self.wrong(lines, error.to_string(), None)
                })?;
            let image = self.find_or_pull(&reference, platform, explicit, shown);
            let image = image.map_err(|source| BuildError::Step {
                place: (self.place)(lines),
                instruction: format!("FROM {name}"),
                source,
            })?;
            Ok(Arc::new(to_done(name, image)))
        })?;
        // Each stage shows where it begins.
        if let (false, (Some(stage), text)) = (first, shown) {
            self.found(Some(stage), text);
        }
        Ok(image)
    }

    pub(super) fn find_or_pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        explicit: bool,
        (stage, shown): (Option<usize>, &str),
    ) -> Result<Image, Failure> {
        let store = self.world.store;
        let fits = |image: &Image| {
            !explicit
                || image.config.os == platform.os
                    && image.config.architecture == platform.architecture
        };
        let here = store.images().get(reference)?;
        let local = match self.options.pull {
            true => None,
            false => here.clone().filter(fits),
        };
        if let Some(image) = &local
            && store.snapshots().lowers(image).is_some()
        {
            self.found(stage, shown);
            return Ok(image.clone());
        }
        let step = self.started_in(stage, shown);
        let work = || {
            let image = match local {
                Some(image) => image,
                None => match (self.world.puller.pull(reference, platform), here) {
                    (Err(_), Some(other)) if !fits(&other) => {
                        self.of_other(reference, other, platform)
                    }
                    (pulled, _) => pulled?,
                },
            };
            store.snapshots().ensure(&image, &mut |_| {})?;
            Ok(image)
        };
        let result: Result<Image, Failure> = work();
        match &result {
            Ok(_) => self.done(step),
            Err(error) => self.failed(step, &error.to_string()),
        }
        result
    }
}

impl Solver<'_> {
    /// An image that is for one other platform only, taken as BuildKit takes it: with a warning.
    fn of_other(&self, reference: &Reference, image: Image, wanted: &Platform) -> Image {
        let has = Platform::new(&image.config.os, &image.config.architecture);
        let warning = format!(
            "InvalidBaseImagePlatform: base image `{reference}` is for {}, and the build is for {}",
            platform::format(&has),
            platform::format(wanted)
        );
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
        image
    }
}

pub(super) fn to_done(name: &str, image: Image) -> Done {
    let layers =
        image.manifest.layers.iter().zip(&image.chain_ids).zip(&image.config.rootfs.diff_ids);
    let layers = layers.map(|((descriptor, chain_id), diff_id)| Layer {
        chain_id: chain_id.clone(),
        diff_id: diff_id.clone(),
        descriptor: descriptor.clone(),
    });
    Done {
        layers: layers.collect(),
        time: time::FIRST,
        inherited: image.config.history.len(),
        created: image.config.created.clone(),
        origin: Origin::Image { name: name.to_owned(), digest: image.digest.to_string() },
        stage: Stage::from_image(image.config),
    }
}
