//! The image of a finished target: config, history times, manifest, names.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, History, ImageConfig, RootFs, media_type};

use super::{Done, Solver, time};
use crate::error::boxed;
use crate::{BuildError, Built, Event};

impl Solver<'_> {
    pub(super) fn finish(&self, done: &Done) -> Result<Built, BuildError> {
        let step = self.started("exporting to image");
        let config = self.config(done);
        let config = serde_json::to_vec(&config).map_err(boxed("write the image config"))?;
        let size = config.len() as u64;
        let described = Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(&config), size);
        let layers = done.layers.iter().map(|layer| layer.descriptor.clone()).collect();
        let manifest = cutover_store::manifest_bytes(described, layers);
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
        self.report(&image.config_digest);
        Ok(Built {
            image: image.digest,
            config: image.config_digest,
            cached: self.cached.load(Ordering::Relaxed),
            executed: self.executed.load(Ordering::Relaxed),
            warnings: self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }

    fn report(&self, image: &Digest) {
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
        config.config.labels.extend(self.options.labels.clone());
        let diff_ids = done.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        config.rootfs = RootFs { diff_ids, ..RootFs::default() };
        if let Some(platform) = &self.options.platform {
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
            config.variant.clone_from(&platform.variant);
        }
        if let Some(epoch) = self.epoch {
            let epoch = time::rfc3339(epoch);
            let unset = config.history.iter_mut().filter(|line| line.created.is_none());
            unset.for_each(|line| line.created = Some(epoch.clone()));
        }
        complete(&mut config.history, done.layers.len());
        let times = config.history.iter().rev();
        config.created = times.filter_map(|line| line.created.clone()).next();
        config
    }
}

/// Makes history and layers agree in number, and gives metadata lines the time of the layer before
/// them, or that of the first new layer, as BuildKit does.
fn complete(history: &mut Vec<History>, layers: usize) {
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
    let mut before = None;
    let mut missing = false;
    for line in history.iter() {
        match &line.created {
            Some(created) => {
                before = Some(created.clone());
                if missing {
                    break;
                }
            }
            None => missing = true,
        }
    }
    let mut missing = false;
    for line in history.iter_mut() {
        match &line.created {
            Some(created) if missing => before = Some(created.clone()),
            Some(_) => {}
            None => {
                missing = true;
                line.created.clone_from(&before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(history: &[(Option<&str>, bool)], layers: usize, expected: &[&str]) {
        let line = |(created, empty): &(Option<&str>, bool)| History {
            created: created.map(str::to_owned),
            empty_layer: empty.then_some(true),
            ..History::default()
        };
        let mut history: Vec<History> = history.iter().map(line).collect();
        complete(&mut history, layers);
        let show = |line: &History| {
            let mark = if line.empty_layer == Some(true) { "-" } else { "" };
            format!("{mark}{}", line.created.as_deref().unwrap_or("?"))
        };
        assert_eq!(history.iter().map(show).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn metadata_lines_have_the_time_of_a_layer() {
        check(
            &[(Some("base"), false), (None, true), (Some("new"), false), (None, true)],
            2,
            &["base", "-new", "new", "-new"],
        );
        check(&[(Some("base"), false), (None, true)], 1, &["base", "-base"]);
        check(&[(None, true)], 0, &["-?"]);
    }

    #[test]
    fn history_and_layers_agree() {
        check(&[(Some("a"), false), (Some("b"), false)], 1, &["a", "-b"]);
        check(&[(Some("a"), true)], 1, &["-a", "a"]);
    }
}
