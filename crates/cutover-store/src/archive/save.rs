//! `save`: writing images as an archive.
//!
//! Deterministic: the same images under the same names give the same bytes, so that an archive
//! can itself be compared by digest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use cutover_core::oci::{Descriptor, Index, Platform, media_type};
use cutover_core::{Digest, Reference};

use super::{
    ArchiveError, CONTAINERD_NAME, DOCKER_MANIFEST, DockerImage, Format, INDEX, LAYOUT,
    LAYOUT_TEXT, REF_NAME, blob_path,
};
use crate::image::Image;
use crate::store::Store;
use crate::stream::inflate;
use crate::tar::{Entry, Kind, TRAILER, Time, padding, write_header};

/// Writes the images that `references` name.
pub fn save(
    store: &Store,
    references: &[Reference],
    format: Format,
    out: impl Write,
) -> Result<(), ArchiveError> {
    let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
    for reference in references {
        let image = store.images().get(reference)?;
        let image = image.ok_or_else(|| ArchiveError::NoSuchImage(reference.to_string()))?;
        // A name by digest cannot be loaded as a name.
        let name = reference.digest().is_none().then(|| reference.clone());
        match images.iter_mut().find(|(known, _)| known.digest == image.digest) {
            Some((_, names)) => names.extend(name),
            None => images.push((image, name.into_iter().collect())),
        }
    }
    save_images(store, &images, format, out)
}

/// Writes images, each under its names; an image may have none.
pub fn save_images(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    format: Format,
    out: impl Write,
) -> Result<(), ArchiveError> {
    let _lease = store.lease()?;
    let out = io::BufWriter::with_capacity(128 << 10, out);
    let mut archive = Archive { store, out, written: BTreeSet::new() };
    if format == Format::DockerArchive {
        archive.docker(images)?;
    } else {
        archive.layout(images, format == Format::Both)?;
    }
    archive.out.write_all(&TRAILER).map_err(ArchiveError::Write)?;
    archive.out.flush().map_err(ArchiveError::Write)
}

struct Archive<'a, W: Write> {
    store: &'a Store,
    out: io::BufWriter<W>,
    /// Images share layers.
    written: BTreeSet<String>,
}

impl<W: Write> Archive<'_, W> {
    fn layout(
        &mut self,
        images: &[(Image, Vec<Reference>)],
        with_docker: bool,
    ) -> Result<(), ArchiveError> {
        self.directory("blobs")?;
        self.directory("blobs/sha256")?;
        for (image, _) in images {
            for (layer, chain_id) in image.manifest.layers.iter().zip(&image.chain_ids) {
                self.layer(layer, chain_id)?;
            }
            self.document_blob(&image.config_digest)?;
            self.bytes(&blob_path(&image.digest), &image.manifest_bytes)?;
        }
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            manifests: images.iter().flat_map(|(image, names)| entries(image, names)).collect(),
            annotations: BTreeMap::new(),
        };
        self.json(INDEX, &index)?;
        if with_docker {
            let layers = |image: &Image| {
                image.manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect()
            };
            let config = |image: &Image| blob_path(&image.config_digest);
            self.docker_manifest(images, config, layers)?;
        }
        self.bytes(LAYOUT, LAYOUT_TEXT)
    }

    fn docker(&mut self, images: &[(Image, Vec<Reference>)]) -> Result<(), ArchiveError> {
        for (image, _) in images {
            let ids = image.config.rootfs.diff_ids.iter().zip(&image.chain_ids);
            for (layer, (diff_id, chain_id)) in image.manifest.layers.iter().zip(ids) {
                self.plain_layer(&plain_path(diff_id), layer, chain_id)?;
            }
            let max = crate::image::MAX_DOCUMENT;
            let config = self.store.blobs().read_bounded(&image.config_digest, max)?;
            self.bytes(&config_path(image), &config)?;
        }
        let layers = |image: &Image| image.config.rootfs.diff_ids.iter().map(plain_path).collect();
        self.docker_manifest(images, config_path, layers)
    }

    fn docker_manifest(
        &mut self,
        images: &[(Image, Vec<Reference>)],
        config: impl Fn(&Image) -> String,
        layers: impl Fn(&Image) -> Vec<String>,
    ) -> Result<(), ArchiveError> {
        let images: Vec<_> = (images.iter())
            .map(|(image, names)| DockerImage {
                config: config(image),
                repo_tags: Some(names.iter().map(ToString::to_string).collect()),
                layers: Some(layers(image)),
            })
            .collect();
        self.json(DOCKER_MANIFEST, &images)
    }

    /// A layer as the manifest names it.
    fn layer(&mut self, layer: &Descriptor, chain_id: &Digest) -> Result<(), ArchiveError> {
        let mut reader = self.store.layer_reader(layer, chain_id)?;
        self.stream(&blob_path(&layer.digest), layer.size, &mut reader, &layer.digest)
    }

    /// A layer's uncompressed tar.
    fn plain_layer(
        &mut self,
        path: &str,
        layer: &Descriptor,
        chain_id: &Digest,
    ) -> Result<(), ArchiveError> {
        if self.written.contains(path) {
            return Ok(());
        }
        let read = |source| ArchiveError::Layer { layer: layer.digest.clone(), source };
        let open = || self.store.layer_reader(layer, chain_id).map_err(ArchiveError::from);
        // A tar's header precedes its data and says the size: count first where it is not known.
        let size = match self.store.snapshots().tar_size(chain_id) {
            Some(size) => size,
            None => {
                io::copy(&mut inflate(open()?).map_err(read)?, &mut io::sink()).map_err(read)?
            }
        };
        let mut tar = inflate(open()?).map_err(read)?;
        self.stream(path, size, &mut tar, &layer.digest)
    }

    fn document_blob(&mut self, digest: &Digest) -> Result<(), ArchiveError> {
        let bytes = self.store.blobs().read_bounded(digest, crate::image::MAX_DOCUMENT)?;
        self.bytes(&blob_path(digest), &bytes)
    }

    fn json(&mut self, path: &str, value: &impl serde::Serialize) -> Result<(), ArchiveError> {
        let bytes = serde_json::to_vec(value).expect("only string keys");
        self.bytes(path, &bytes)
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        if self.written.insert(path.to_owned()) {
            self.header(path, Kind::File, bytes.len() as u64)?;
            self.out.write_all(bytes).map_err(ArchiveError::Write)?;
            self.out.write_all(padding(bytes.len() as u64)).map_err(ArchiveError::Write)?;
        }
        Ok(())
    }

    fn stream(
        &mut self,
        path: &str,
        size: u64,
        reader: &mut dyn Read,
        layer: &Digest,
    ) -> Result<(), ArchiveError> {
        if !self.written.insert(path.to_owned()) {
            return Ok(());
        }
        self.header(path, Kind::File, size)?;
        let read = |source| ArchiveError::Layer { layer: layer.clone(), source };
        let (mut buffer, mut left) = (vec![0; 128 << 10], size);
        loop {
            let count = reader.read(&mut buffer).map_err(read)?;
            left = match left.checked_sub(count as u64) {
                Some(0) if count == 0 => break,
                Some(left) if count > 0 => left,
                _ => {
                    let text = format!("it does not have the {size} bytes that are expected");
                    return Err(read(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
            };
            self.out.write_all(&buffer[..count]).map_err(ArchiveError::Write)?;
        }
        self.out.write_all(padding(size)).map_err(ArchiveError::Write)
    }

    fn directory(&mut self, path: &str) -> Result<(), ArchiveError> {
        self.header(path, Kind::Directory, 0)
    }

    fn header(&mut self, path: &str, kind: Kind, size: u64) -> Result<(), ArchiveError> {
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind,
            link: Vec::new(),
            mode: if kind == Kind::Directory { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size,
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        };
        let mut header = Vec::new();
        write_header(&mut header, &entry);
        self.out.write_all(&header).map_err(ArchiveError::Write)
    }
}

/// The index's entries for an image: one per name.
fn entries(image: &Image, names: &[Reference]) -> Vec<Descriptor> {
    let media_type = image.manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
    let size = image.manifest_bytes.len() as u64;
    let mut plain = Descriptor::new(media_type, image.digest.clone(), size);
    plain.platform = Some(Platform {
        variant: image.config.variant.clone(),
        ..Platform::new(&image.config.os, &image.config.architecture)
    });
    if names.is_empty() {
        return vec![plain];
    }
    let named = |name: &Reference| {
        let mut entry = plain.clone();
        entry.annotations.insert(CONTAINERD_NAME.to_owned(), name.canonical());
        if let Some(tag) = name.tag() {
            entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        }
        entry
    };
    names.iter().map(named).collect()
}

fn plain_path(diff_id: &Digest) -> String {
    format!("{}/layer.tar", diff_id.hex())
}

fn config_path(image: &Image) -> String {
    format!("{}.json", image.config_digest.hex())
}
