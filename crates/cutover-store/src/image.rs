//! [`Image`]: a manifest and its config, read from the store and found consistent.

use std::collections::BTreeMap;

use cutover_core::Digest;
use cutover_core::digest::Hasher;
use cutover_core::oci::{self, ImageConfig, Index, Manifest, Platform, media_type};
use serde::de::DeserializeOwned;

use crate::blobs::BlobError;
use crate::store::Store;

/// The longest manifest, index or config that is read: what registries accept.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// One image for one platform. `digest` is its identity.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the manifest.
    pub digest: Digest,
    pub manifest: Manifest,
    pub manifest_bytes: Vec<u8>,
    pub config: ImageConfig,
    pub config_digest: Digest,
    /// One per layer, lowest first: the identity of the layer on top of those below it.
    pub chain_ids: Vec<Digest>,
}

/// One line of `docker history`, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    pub created: Option<String>,
    pub created_by: String,
    pub comment: String,
    /// The layer that the instruction made; `None` for metadata.
    pub layer: Option<LayerLine>,
}

/// The layer of a [`HistoryLine`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerLine {
    pub diff_id: Digest,
    pub chain_id: Digest,
    /// Bytes of the uncompressed tar when the layer is unpacked, else of the blob.
    pub size: u64,
}

/// Why bytes are not an image.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("{what} {digest} is not valid JSON of its kind")]
    Document { what: &'static str, digest: Digest, source: serde_json::Error },
    #[error("{digest} is not an image: its config has media type `{media_type}`")]
    NotAnImage { digest: Digest, media_type: String },
    #[error("image {digest} has {layers} layers, but its config names {diff_ids}")]
    LayerCount { digest: Digest, layers: usize, diff_ids: usize },
    #[error("image index {digest} has no image for {platform} (it has: {available})")]
    NoPlatform { digest: Digest, platform: String, available: String },
}

impl Image {
    /// Reads the image whose manifest is `digest`. For an index, its image for this machine.
    pub fn load(store: &Store, digest: &Digest) -> Result<Self, LoadError> {
        let bytes = store.blobs().read_bounded(digest, MAX_DOCUMENT)?;
        let (digest, bytes) = match parse_index(digest, &bytes)? {
            None => (digest.clone(), bytes),
            Some(index) => {
                let chosen = choose(digest, &index, &host_platform())?;
                let bytes = store.blobs().read_bounded(&chosen, MAX_DOCUMENT)?;
                (chosen, bytes)
            }
        };
        let manifest: Manifest = parse("manifest", &digest, &bytes)?;
        let config = store.blobs().read_bounded(&manifest.config.digest, MAX_DOCUMENT)?;
        Self::parse(bytes, &config)
    }

    /// The image that `manifest` and `config` describe. Pure.
    pub fn parse(manifest_bytes: Vec<u8>, config: &[u8]) -> Result<Self, LoadError> {
        let digest = Digest::sha256(&manifest_bytes);
        let manifest: Manifest = parse("manifest", &digest, &manifest_bytes)?;
        let mut hasher = Hasher::new(manifest.config.digest.algorithm());
        hasher.update(config);
        let config_digest = hasher.finish();
        if config_digest != manifest.config.digest {
            return Err(BlobError::Unexpected {
                expected: manifest.config.digest,
                actual: config_digest,
                size: config.len() as u64,
            }
            .into());
        }
        let kind = manifest.config.media_type.as_str();
        if !matches!(kind, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
            return Err(LoadError::NotAnImage { digest, media_type: kind.to_owned() });
        }
        let config: ImageConfig = parse("image config", &config_digest, config)?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(LoadError::LayerCount { digest, layers, diff_ids });
        }
        let chain_ids = chain_ids(&config.rootfs.diff_ids);
        Ok(Self { digest, manifest, manifest_bytes, config, config_digest, chain_ids })
    }

    /// What `docker history` lists, newest first. An image without history gets a line per layer.
    pub fn history(&self, store: &Store) -> Vec<HistoryLine> {
        let mut layers = self.layer_lines(store).into_iter();
        let mut lines: Vec<_> = (self.config.history.iter())
            .map(|entry| HistoryLine {
                created: entry.created.clone(),
                created_by: entry.created_by.clone().unwrap_or_default(),
                comment: entry.comment.clone().unwrap_or_default(),
                layer: if entry.empty_layer == Some(true) { None } else { layers.next() },
            })
            .collect();
        // History is optional, and some writers keep it short.
        lines.extend(layers.map(|layer| HistoryLine {
            created: self.config.created.clone(),
            created_by: String::new(),
            comment: String::new(),
            layer: Some(layer),
        }));
        lines.reverse();
        lines
    }

    /// Bytes of all layers; see [`LayerLine::size`].
    pub fn size(&self, store: &Store) -> u64 {
        self.layer_lines(store).iter().map(|line| line.size).sum()
    }

    fn layer_lines(&self, store: &Store) -> Vec<LayerLine> {
        let snapshots = store.snapshots();
        let ids = self.config.rootfs.diff_ids.iter().zip(&self.chain_ids);
        ids.zip(&self.manifest.layers)
            .map(|((diff_id, chain_id), layer)| LayerLine {
                diff_id: diff_id.clone(),
                chain_id: chain_id.clone(),
                size: snapshots.tar_size(chain_id).unwrap_or(layer.size),
            })
            .collect()
    }
}

/// The platform that images are chosen for when nobody says otherwise, in Go's words.
pub fn host_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    };
    Platform::new("linux", architecture)
}

/// The chain ids of layers given lowest first (config.md, "Layer ChainID").
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(chain_id(chain.last(), diff_id));
    }
    chain
}

/// The chain id of a layer on top of `parent`.
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    match parent {
        None => diff_id.clone(),
        Some(parent) => Digest::sha256(format!("{parent} {diff_id}").as_bytes()),
    }
}

/// The index that `bytes` are, if they are one.
pub(crate) fn parse_index(digest: &Digest, bytes: &[u8]) -> Result<Option<Index>, LoadError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = parse("manifest", digest, bytes)?;
    let is_index = match kind.media_type.as_deref() {
        Some(media_type) => media_type::is_index(media_type),
        // mediaType is optional in OCI documents; the two kinds differ by their members
        None => kind.manifests.is_some() && kind.config.is_none(),
    };
    if is_index { parse("image index", digest, bytes).map(Some) } else { Ok(None) }
}

/// The manifest for `platform` in an index.
pub(crate) fn choose(
    digest: &Digest,
    index: &Index,
    platform: &Platform,
) -> Result<Digest, LoadError> {
    if let Some(entry) = index.choose(platform) {
        return Ok(entry.digest.clone());
    }
    let shown = |platform: &Platform| match &platform.variant {
        Some(variant) => format!("{}/{}/{variant}", platform.os, platform.architecture),
        None => format!("{}/{}", platform.os, platform.architecture),
    };
    let available: Vec<_> =
        index.manifests.iter().filter_map(|entry| entry.platform.as_ref().map(shown)).collect();
    Err(LoadError::NoPlatform {
        digest: digest.clone(),
        platform: shown(platform),
        available: if available.is_empty() { "none".to_owned() } else { available.join(", ") },
    })
}

fn parse<T: DeserializeOwned>(
    what: &'static str,
    digest: &Digest,
    bytes: &[u8],
) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|source| LoadError::Document {
        what,
        digest: digest.clone(),
        source,
    })
}

/// A manifest in the form that this program writes: OCI, one line, stable key order.
pub fn manifest_bytes(config: oci::Descriptor, layers: Vec<oci::Descriptor>) -> Vec<u8> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    serde_json::to_vec(&manifest).expect("a manifest has only string keys")
}
