//! Writing one cache.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use cutover_build::Built;
use cutover_build::output::{Layout, Named, OutputError};
use cutover_build::travel::{self, Exported, ExportedLayer, Mode};
use cutover_core::oci::{Descriptor, Index, media_type};
use cutover_core::{Digest, Reference};
use cutover_registry::{Documents, Part};
use cutover_store::{Image, LayerForm, MAX_DOCUMENT, Store};

use super::To;
use crate::failure::{Context as _, Failure, Kind, Outcome};
use crate::transfer;
use crate::ui::Ui;

pub(super) fn write(ui: Ui, store: &Store, built: &Built, to: &To) -> Outcome {
    match to {
        // it is in the image
        To::Inline => Ok(()),
        To::Local { path, tag, mode, form, .. } => {
            let exported = export(store, built, *mode, *form)?;
            local(store, &exported, path, tag)
                .map_err(|error| Failure::new(Kind::Internal, error))
                .or_else(|failure| failed(failure, &path.display().to_string()))?;
            ui.say(format!("cache written to `{}`", path.display()));
            Ok(())
        }
        To::Registry { reference, mode, form, .. } => {
            let exported = export(store, built, *mode, *form)?;
            registry(ui, store, &exported, reference)?;
            ui.say(format!("cache pushed to `{reference}`"));
            Ok(())
        }
    }
}

fn failed(failure: Failure, place: &str) -> Outcome {
    let doing = format!("failed to write the cache to `{place}`");
    Err(Failure { error: failure.error.map(|error| error.context(doing)), ..failure })
}

fn export(store: &Store, built: &Built, mode: Mode, form: LayerForm) -> Outcome<Exported> {
    let bytes = store.blobs().read_bounded(&built.image, MAX_DOCUMENT)?;
    let index = serde_json::from_slice::<Index>(&bytes).ok();
    let index = index.filter(|index| !index.manifests.is_empty());
    let images: Vec<Digest> = match index {
        Some(index) => index.manifests.into_iter().map(|entry| entry.digest).collect(),
        None => vec![built.image.clone()],
    };
    let mut diff_ids = BTreeSet::new();
    for image in images {
        let image = Image::load(store, &image).or_fail(Kind::Internal, "read the image")?;
        diff_ids.extend(image.config.rootfs.diff_ids);
    }
    Ok(travel::export(store, &built.records, &diff_ids, (mode, form)))
}

/// Into an OCI layout. Layers that are there are not compressed again.
fn local(store: &Store, exported: &Exported, path: &Path, tag: &str) -> Result<(), OutputError> {
    let mut layout = Layout::folder(path)?;
    let mut layers = Vec::new();
    for layer in &exported.layers {
        if let Some(known) = layer.known(store).filter(|known| !layout.lacks(&known.digest)) {
            layers.push(known);
            continue;
        }
        let (descriptor, spooled) = layer.make(store)?;
        if layout.lacks(&descriptor.digest) {
            let mut file = rewound(spooled.file).map_err(OutputError::Archive)?;
            layout.blob(&descriptor, &mut file)?;
        }
        layers.push(descriptor);
    }
    let (manifest, config) = exported.documents(layers);
    layout.document(&config)?;
    let digest = layout.document(&manifest)?;
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64);
    entry.artifact_type = Some(travel::RECORDS_TYPE.to_owned());
    let name =
        Named { canonical: String::new(), familiar: String::new(), tag: Some(tag.to_owned()) };
    layout.entry(&entry, &[name]);
    layout.finish()
}

fn rewound(mut file: File) -> std::io::Result<File> {
    std::io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn registry(ui: Ui, store: &Store, exported: &Exported, reference: &Reference) -> Outcome {
    let options = transfer::options(cutover_store::host_platform())?;
    let parts: Vec<LayerPart<'_>> =
        exported.layers.iter().map(|layer| LayerPart { store, layer }).collect();
    let parts: Vec<&dyn Part> = parts.iter().map(|part| part as &dyn Part).collect();
    let documents = |layers| {
        let (manifest, config) = exported.documents(layers);
        Documents { manifest, config }
    };
    let pushed = transfer::told(ui, |progress| {
        cutover_registry::push_parts(store, reference, &parts, &documents, &options, progress)
    });
    pushed.map(drop).map_err(|error| {
        let hint = error.hint();
        Failure { hint, ..Failure::new(Kind::Remote, error) }
    })
}

/// A layer that is compressed only if the registry lacks it.
struct LayerPart<'a> {
    store: &'a Store,
    layer: &'a ExportedLayer,
}

impl Part for LayerPart<'_> {
    fn known(&self) -> Option<Descriptor> {
        self.layer.known(self.store)
    }

    fn make(&self) -> Result<(Descriptor, File), Box<dyn std::error::Error + Send + Sync>> {
        let (descriptor, spooled) = self.layer.make(self.store)?;
        Ok((descriptor, rewound(spooled.file)?))
    }
}
