//! The image of a finished target: config, history times, manifest, names.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, History, ImageConfig, RootFs, media_type};

use super::{Done, Solver};
use crate::error::boxed;
use crate::{BuildError, Built, Event};

impl Solver<'_> {
    pub(super) fn finish(&self, done: &Done) -> Result<Built, BuildError> {
        self.materialize(done)?;
        let step = self.started("exporting to image");
        let config = self.config(done);
        let config = serde_json::to_vec(&config).map_err(boxed("write the image config"))?;
        let config = match self.options.inline_cache {
            true => crate::travel::inline(&config, &self.travel.records()),
            false => config,
        };
        let size = config.len() as u64;
        let described = Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(&config), size);
        let layers = done.layers.iter().map(|layer| layer.descriptor.clone()).collect();
        let manifest = cutover_store::manifest_bytes(described, layers);
        let manifest = crate::output::annotated(manifest, &self.options.annotations);
        let images = self.world.store.images();
        let put = |tag| images.put(&manifest, &config, tag).map_err(boxed("store the image"));
        let (first, rest) = match self.options.tags.split_first() {
            Some((first, rest)) => (Some(first), rest),
            None => (None, &[][..]),
        };
        let image = put(first)?;
        for tag in rest {
            images.tag(tag, &image.digest).map_err(boxed("name the image"))?;
        }
        self.done(step);
        self.exported(&image.config_digest);
        Ok(Built {
            image: image.digest,
            config: image.config_digest,
            cached: self.cached.load(Ordering::Relaxed),
            executed: self.executed.load(Ordering::Relaxed),
            warnings: self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            records: self.travel.records(),
            materials: self.materials(),
        })
    }

    fn exported(&self, image: &Digest) {
        let (image, at) = (image.as_str(), (self.world.clock)());
        let exported = |tag: Option<&str>| {
            self.world.progress.on(Event::Exported { image, tag, at });
        };
        match self.options.tags.as_slice() {
            [] => exported(None),
            tags => tags.iter().for_each(|tag| exported(Some(&tag.to_string()))),
        }
    }

    fn config(&self, done: &Done) -> ImageConfig {
        let mut config = done.stage.image.clone();
        // the base image's own records are not this image's
        config.rest.remove(crate::travel::CONFIG_KEY);
        config.config.labels.extend(self.options.labels.clone());
        let diff_ids = done.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        config.rootfs = RootFs { diff_ids, ..RootFs::default() };
        if let Some(platform) = &self.options.platform {
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
            config.variant.clone_from(&platform.variant);
        }
        let created = Some(self.created(done));
        fit(&mut config.history, done.layers.len());
        for line in config.history.iter_mut().skip(done.inherited) {
            line.created.clone_from(&created);
        }
        config.created = created;
        config
    }
}

/// Makes history and layers agree in number, as BuildKit does.
fn fit(history: &mut Vec<History>, layers: usize) {
    let is_layer = |line: &&mut History| line.empty_layer != Some(true);
    let said = history.iter_mut().filter(is_layer).count();
    let surplus = history.iter_mut().filter(is_layer).skip(layers);
    surplus.for_each(|line| line.empty_layer = Some(true));
    for _ in said..layers {
        history.push(History {
            comment: Some("buildkit.exporter.image.v0".to_owned()),
            ..History::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_and_layers_agree() {
        let line =
            |empty: bool| History { empty_layer: empty.then_some(true), ..History::default() };
        let check = |lines: &[bool], layers: usize, expected: &[bool]| {
            let mut history: Vec<History> = lines.iter().map(|empty| line(*empty)).collect();
            fit(&mut history, layers);
            let empty = history.iter().map(|line| line.empty_layer == Some(true));
            assert_eq!(empty.collect::<Vec<_>>(), expected);
        };
        check(&[false, true, false], 2, &[false, true, false]);
        check(&[false, false], 1, &[false, true]);
        check(&[true], 1, &[true, false]);
    }
}
