//! [`Packed`]: an image with its layers as they leave.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::sync::{Mutex, PoisonError};

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, Manifest, Platform, media_type};
use cutover_store::{Image, LayerForm, MAX_DOCUMENT, Spooled, Store};

use super::{Form, OutputError};

/// Layers that are compressed at a time: zstd uses all processors for each.
const COMPRESSING: usize = 2;

/// A layer as it leaves.
#[derive(Debug)]
pub struct PackedLayer {
    pub descriptor: Descriptor,
    pub source: PackedSource,
}

/// Where its bytes are.
#[derive(Debug)]
pub enum PackedSource {
    /// In a file without a name.
    Made(File),
    /// In the store, as this descriptor and chain id say.
    Kept(Box<Descriptor>, Digest),
}

impl PackedLayer {
    /// Its bytes, from the first one on.
    pub fn read(&self, store: &Store) -> Result<Box<dyn Read + '_>, OutputError> {
        let layer = || self.descriptor.digest.clone();
        match &self.source {
            PackedSource::Made(file) => {
                let mut file = file;
                file.seek(SeekFrom::Start(0)).map_err(|source| OutputError::Layer {
                    layer: layer(),
                    source: source.into(),
                })?;
                Ok(Box::new(file))
            }
            PackedSource::Kept(descriptor, chain_id) => match store
                .layer_reader(descriptor, chain_id)
            {
                Ok(reader) => Ok(Box::new(reader)),
                Err(source) => Err(OutputError::Layer { layer: layer(), source: source.into() }),
            },
        }
    }
}

/// An image as it leaves: everything but its names.
#[derive(Debug)]
pub struct Packed {
    /// Of the manifest, with the platform.
    pub descriptor: Descriptor,
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub config_digest: Digest,
    pub layers: Vec<PackedLayer>,
}

/// Compresses what is to be compressed; digests that come out are remembered in the store.
pub fn pack(store: &Store, image: &Image, form: Form) -> Result<Packed, OutputError> {
    // docker's documents have no place for annotations
    let form = Form { docker: form.docker && image.manifest.annotations.is_empty(), ..form };
    let ids = image.config.rootfs.diff_ids.iter().zip(&image.chain_ids);
    let todo: Vec<_> = image.manifest.layers.iter().zip(ids).enumerate().collect();
    let made: Mutex<Vec<Option<PackedLayer>>> = Mutex::new(todo.iter().map(|_| None).collect());
    let (next, failed) = (Mutex::new(todo.iter()), Mutex::new(None));
    let work = || {
        loop {
            let one = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, (layer, (diff_id, chain_id)))) = one else { return };
            match pack_layer(store, layer, (diff_id, chain_id), form) {
                Ok(layer) => {
                    made.lock().unwrap_or_else(PoisonError::into_inner)[*index] = Some(layer);
                }
                Err(error) => {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..todo.len().min(COMPRESSING) {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
    let layers: Vec<PackedLayer> = made.into_iter().flatten().collect();
    let descriptors = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let config =
        store.blobs().read_bounded(&image.config_digest, MAX_DOCUMENT).map_err(|source| {
            OutputError::Image { digest: image.digest.clone(), source: source.into() }
        })?;
    let manifest = manifest(image, descriptors, form.docker);
    Ok(Packed {
        descriptor: described(image, &manifest, form.docker),
        manifest,
        config,
        config_digest: image.config_digest.clone(),
        layers,
    })
}

/// The image's manifest with other layers, in the OCI's words or docker's.
fn manifest(image: &Image, layers: Vec<Descriptor>, docker: bool) -> Vec<u8> {
    let (own, config) = match docker {
        true => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
        false => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
    };
    let mut manifest =
        Manifest { media_type: Some(own.to_owned()), layers, ..image.manifest.clone() };
    manifest.config.media_type = config.to_owned();
    serde_json::to_vec(&manifest).expect("a manifest has only string keys")
}

fn described(image: &Image, manifest: &[u8], docker: bool) -> Descriptor {
    let kind = if docker { media_type::DOCKER_MANIFEST } else { media_type::OCI_MANIFEST };
    let platform = Platform {
        variant: image.config.variant.clone(),
        ..Platform::new(&image.config.os, &image.config.architecture)
    };
    Descriptor {
        platform: Some(platform),
        ..Descriptor::new(kind, Digest::sha256(manifest), manifest.len() as u64)
    }
}

/// How a media type says that the layer is compressed; nothing for types that are not ours to touch.
fn current(media_type: &str) -> Option<&'static str> {
    [LayerForm::Uncompressed, LayerForm::GZIP, LayerForm::ZSTD].into_iter().find_map(|form| {
        let same = [true, false].iter().any(|docker| form.media_type(*docker) == media_type);
        same.then(|| name(form))
    })
}

fn name(form: LayerForm) -> &'static str {
    match form {
        LayerForm::Uncompressed => "tar",
        LayerForm::Gzip { .. } => "gzip",
        LayerForm::Zstd { .. } => "zstd",
    }
}

/// The form that a layer becomes, or `None` when it goes as it is.
fn becomes(layer: &Descriptor, form: Form) -> Option<LayerForm> {
    let (now, wanted) = (current(&layer.media_type)?, form.layer_form());
    let other = now != name(wanted);
    (other && (now == "tar" || form.force)).then_some(wanted)
}

fn pack_layer(
    store: &Store,
    layer: &Descriptor,
    (diff_id, chain_id): (&Digest, &Digest),
    form: Form,
) -> Result<PackedLayer, OutputError> {
    let Some(wanted) = becomes(layer, form) else {
        let words = [LayerForm::Uncompressed, LayerForm::GZIP, LayerForm::ZSTD];
        let same = |it: &&LayerForm| current(&layer.media_type) == Some(name(**it));
        let media_type = match words.iter().find(same) {
            Some(own) => own.media_type(form.docker).to_owned(),
            None => layer.media_type.clone(),
        };
        let descriptor = Descriptor { media_type, ..layer.clone() };
        let source = PackedSource::Kept(Box::new(layer.clone()), chain_id.clone());
        return Ok(PackedLayer { descriptor, source });
    };
    let Spooled { digest, size, file } = spool(store, layer, (diff_id, chain_id), wanted)?;
    let media_type = wanted.media_type(form.docker).to_owned();
    let descriptor = Descriptor { media_type, digest, size, ..layer.clone() };
    Ok(PackedLayer { descriptor, source: PackedSource::Made(file) })
}

/// The layer's tar in `form`, and remembers what it became.
pub(crate) fn spool(
    store: &Store,
    layer: &Descriptor,
    (diff_id, chain_id): (&Digest, &Digest),
    form: LayerForm,
) -> Result<Spooled, OutputError> {
    let fail = |source: Box<dyn std::error::Error + Send + Sync>| OutputError::Layer {
        layer: layer.digest.clone(),
        source,
    };
    let reader = store.layer_reader(layer, chain_id).map_err(|error| fail(error.into()))?;
    let tar = match current(&layer.media_type) {
        Some("tar") => Box::new(reader) as Box<dyn Read>,
        _ => crate::copy::decompress(reader).map_err(|error| fail(error.into()))?,
    };
    let spooled = store.spool(tar, form).map_err(|error| fail(error.into()))?;
    let transfers = store.transfers();
    transfers
        .remember_compressed(diff_id, form, &spooled.digest, spooled.size)
        .map_err(|error| fail(error.into()))?;
    Ok(spooled)
}

/// The digest of what a push should send in place of `image`: itself, unless the form asks for
/// other documents or for compressed layers to be compressed in another way. Plain layers are left
/// to the push.
pub fn for_push(store: &Store, image: &Image, form: Form) -> Result<Digest, OutputError> {
    let form = Form { docker: form.docker && image.manifest.annotations.is_empty(), ..form };
    let failed = |error: cutover_store::BlobError| OutputError::Store(error.into());
    let mut layers = Vec::new();
    let ids = image.config.rootfs.diff_ids.iter().zip(&image.chain_ids);
    for (layer, ids) in image.manifest.layers.iter().zip(ids) {
        let plain = current(&layer.media_type) == Some("tar");
        let packed = match plain {
            true => pack_layer(
                store,
                layer,
                ids,
                Form { layers: Some(LayerForm::Uncompressed), ..form },
            )?,
            false => pack_layer(store, layer, ids, form)?,
        };
        if let PackedSource::Made(_) = &packed.source {
            let mut writer = store.blobs().writer().map_err(failed)?;
            std::io::copy(&mut packed.read(store)?, &mut writer).map_err(OutputError::Archive)?;
            writer.flush().map_err(OutputError::Archive)?;
            writer.commit(Some(&packed.descriptor.digest)).map_err(failed)?;
        }
        layers.push(packed.descriptor);
    }
    let manifest = manifest(image, layers, form.docker);
    store.blobs().put(&manifest).map_err(failed)
}

/// The manifest with these annotations besides its own.
pub fn annotated(manifest: Vec<u8>, annotations: &BTreeMap<String, String>) -> Vec<u8> {
    if annotations.is_empty() {
        return manifest;
    }
    let Ok(mut document) = serde_json::from_slice::<Manifest>(&manifest) else { return manifest };
    document.annotations.extend(annotations.clone());
    serde_json::to_vec(&document).expect("a manifest has only string keys")
}
