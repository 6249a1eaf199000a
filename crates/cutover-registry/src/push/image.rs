//! One manifest: its blobs side by side, then itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use cutover_core::Digest;
use cutover_core::digest::Hasher;
use cutover_core::oci::{Descriptor, ImageConfig, Manifest, media_type};
use cutover_store::{MAX_DOCUMENT, chain_ids};
use hyper::Method;
use tokio::task::JoinSet;

use super::layer::Layer;
use super::{Push, document, referrers};
use crate::error::Cause;
use crate::http::{Ask, Payload, Target};
use crate::progress::Event;
use crate::session;

impl Push {
    pub(super) async fn manifest(
        &self,
        digest: &Digest,
        bytes: Vec<u8>,
        kind: &str,
        tag: Option<&str>,
    ) -> Result<Descriptor, Cause> {
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|source| {
            let digest = digest.clone();
            cutover_store::LoadError::Document { what: "manifest", digest, source }
        })?;
        let layers = self.layers(&manifest)?;
        self.events.send(Event::Resolved {
            digest: digest.clone(),
            config: manifest.config.digest.clone(),
            layers: layers.len(),
            size: layers.iter().map(|layer| layer.descriptor.size).sum(),
        });
        // if every digest is known the manifest is too, and a registry that has it has its blobs
        let known: Option<Vec<Descriptor>> = layers.iter().map(|layer| self.known(layer)).collect();
        if let Some(known) = known {
            let bytes = document::with_layers(digest, &bytes, &manifest.layers, &known)?;
            if let Some(descriptor) = self.put_if_there(&bytes, kind, tag).await? {
                for layer in &manifest.layers {
                    self.events.send(Event::Present { digest: layer.digest.clone() });
                }
                return Ok(descriptor);
            }
        }
        let sent = self.blobs(&manifest.config, layers).await?;
        let bytes = document::with_layers(digest, &bytes, &manifest.layers, &sent)?;
        let blobs = sent.iter().chain([&manifest.config]).map(|blob| &blob.digest);
        let repository = &self.client.repository;
        self.store.transfers().remember_sources(&self.registry, repository, blobs)?;
        self.put(&bytes, kind, tag).await
    }

    /// The layers with what is needed to read each.
    fn layers(&self, manifest: &Manifest) -> Result<Vec<Layer>, Cause> {
        let kind = manifest.config.media_type.as_str();
        let is_image = matches!(kind, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG);
        let mut chains = Vec::new();
        if is_image && !manifest.layers.is_empty() {
            let digest = &manifest.config.digest;
            let bytes = self.store.blobs().read_bounded(digest, MAX_DOCUMENT)?;
            // an image whose config cannot be read has no snapshots, but its blobs may be there
            if let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) {
                chains = chain_ids(&config.rootfs.diff_ids);
            }
        }
        let docker = kind == media_type::DOCKER_CONFIG;
        let layer = |(index, descriptor): (usize, &Descriptor)| Layer {
            descriptor: descriptor.clone(),
            chain_id: chains.get(index).cloned(),
            docker,
        };
        Ok(manifest.layers.iter().enumerate().map(layer).collect())
    }

    /// Sends what the registry lacks. Returns the layers as the registry has them. The first
    /// that fails ends the others.
    async fn blobs(
        &self,
        config: &Descriptor,
        layers: Vec<Layer>,
    ) -> Result<Vec<Descriptor>, Cause> {
        let mut tasks = JoinSet::new();
        let mut by_digest: BTreeMap<Digest, Descriptor> = BTreeMap::new();
        let order: Vec<Digest> = layers.iter().map(|it| it.descriptor.digest.clone()).collect();
        let config = Layer { descriptor: config.clone(), chain_id: None, docker: false };
        for layer in std::iter::once(config).chain(layers) {
            // the same layer twice is one blob
            let digest = layer.descriptor.digest.clone();
            if by_digest.insert(digest.clone(), layer.descriptor.clone()).is_none() {
                let push = self.clone();
                tasks.spawn(async move { Ok((digest, push.layer(&layer).await?)) });
            }
        }
        while let Some(done) = tasks.join_next().await {
            let (digest, descriptor): (_, Descriptor) =
                done.expect("pushing a blob does not panic").map_err(|cause: Cause| cause)?;
            by_digest.insert(digest, descriptor);
        }
        Ok(order.iter().map(|digest| by_digest[digest].clone()).collect())
    }

    /// Puts the manifest, if the registry has it already, under `tag`.
    async fn put_if_there(
        &self,
        bytes: &[u8],
        kind: &str,
        tag: Option<&str>,
    ) -> Result<Option<Descriptor>, Cause> {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{}/manifests/{digest}", self.client.repository);
        let ask =
            Ask::head(path, format!("manifest {}", digest.short())).accept(crate::manifest::ACCEPT);
        match session::ask(&self.client, &self.events, &ask).await {
            Ok(response) => response.finish().await?,
            Err(Cause::NotFound { .. } | Cause::Status { .. }) => return Ok(None),
            Err(cause) => return Err(cause),
        }
        if tag.is_none() {
            return Ok(Some(Descriptor::new(kind, digest, bytes.len() as u64)));
        }
        match self.put(bytes, kind, tag).await {
            Ok(descriptor) => Ok(Some(descriptor)),
            // it has the manifest, but its blobs were collected
            Err(Cause::NotFound { .. } | Cause::Status { status: 400, .. }) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Puts a manifest or index under `tag`, or under its digest.
    pub(super) async fn put(
        &self,
        bytes: &[u8],
        kind: &str,
        tag: Option<&str>,
    ) -> Result<Descriptor, Cause> {
        let digest = Digest::sha256(bytes);
        let subject = self.put_as(bytes, kind, tag.unwrap_or(digest.as_str()), &digest).await?;
        let descriptor = Descriptor::new(kind, digest, bytes.len() as u64);
        if !subject {
            referrers::add(self, bytes, &descriptor).await?;
        }
        Ok(descriptor)
    }

    /// Says whether the registry keeps track of the manifest's subject itself.
    pub(crate) async fn put_as(
        &self,
        bytes: &[u8],
        kind: &str,
        name: &str,
        digest: &Digest,
    ) -> Result<bool, Cause> {
        let path = format!("/v2/{}/manifests/{name}", self.client.repository);
        let ask = Ask::new(Method::PUT, Target::Path(path), format!("manifest `{name}`"))
            .header("content-type", kind)
            .payload(Payload::Bytes(Bytes::copy_from_slice(bytes)));
        let response = session::ask(&self.client, &self.events, &ask).await?;
        let subject = response.header("oci-subject").is_some();
        let stated = response.header("docker-content-digest").and_then(|it| it.parse().ok());
        let stated: Option<Digest> = stated;
        response.finish().await?;
        if let Some(stated) = stated {
            let mut hasher = Hasher::new(stated.algorithm());
            hasher.update(bytes);
            if hasher.finish() != stated {
                let expected = digest.clone();
                return Err(Cause::WrongDigest { what: "manifest", expected, actual: stated });
            }
        }
        Ok(subject)
    }
}
