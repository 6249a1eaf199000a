//! One blob: known to the registry, taken over from another repository, or sent.

use std::sync::Arc;

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, media_type};
use cutover_store::LayerForm;
use hyper::Method;

use super::Push;
use super::upload::{Blob, Bytes};
use crate::error::Cause;
use crate::http::{Ask, Target};
use crate::progress::Event;
use crate::session;

/// docker's media type of a layer that is a plain tar.
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// A blob of the store, or one that can be made from a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) chain_id: Option<Digest>,
    /// Of an image in docker's own form.
    pub(super) docker: bool,
}

impl Layer {
    /// What it is to become; `None`: it goes as it is.
    fn form(&self, wanted: Option<LayerForm>) -> Option<LayerForm> {
        let plain =
            matches!(self.descriptor.media_type.as_str(), media_type::OCI_LAYER | DOCKER_LAYER);
        let usual = if self.docker { LayerForm::GZIP } else { LayerForm::ZSTD };
        let form = wanted.unwrap_or(usual);
        (plain && self.chain_id.is_some() && form != LayerForm::Uncompressed).then_some(form)
    }

    fn descriptor(&self, form: LayerForm, digest: Digest, size: u64) -> Descriptor {
        let media_type = form.media_type(self.docker).to_owned();
        Descriptor { media_type, digest, size, ..self.descriptor.clone() }
    }

    /// Whether it may not be pushed (descriptor.md: layers that are had elsewhere).
    fn is_foreign(&self) -> bool {
        is_foreign(&self.descriptor.media_type)
    }
}

/// Whether a media type is one of layers that are not pushed.
pub(crate) fn is_foreign(media_type: &str) -> bool {
    media_type.contains("nondistributable") || media_type.contains(".foreign.")
}

impl Push {
    /// The layer as the registry would have it, if that can be told without work.
    pub(super) fn known(&self, layer: &Layer) -> Option<Descriptor> {
        let Some(form) = layer.form(self.client.options().form) else {
            return Some(layer.descriptor.clone());
        };
        // a hint that cannot be read is no hint
        let known = self.store.transfers().compressed(&layer.descriptor.digest, form).ok()??;
        Some(layer.descriptor(form, known.0, known.1))
    }

    /// Sees to it that the registry has the layer; returns it as it has it.
    pub(super) async fn layer(&self, layer: &Layer) -> Result<Descriptor, Cause> {
        if layer.is_foreign() && !self.store.blobs().contains(&layer.descriptor.digest) {
            return Ok(layer.descriptor.clone());
        }
        let shown = &layer.descriptor.digest;
        let known = self.known(layer);
        if let Some(known) = &known
            && self.has(known, shown).await?
        {
            return Ok(known.clone());
        }
        let blob = self.source(layer).await?;
        let made = match layer.form(self.client.options().form) {
            Some(form) => layer.descriptor(form, blob.digest.clone(), blob.size),
            None => layer.descriptor.clone(),
        };
        if known.as_ref() != Some(&made) && self.has(&made, shown).await? {
            return Ok(made);
        }
        let _slot = self.sending.acquire().await;
        self.upload(&blob, shown).await?;
        self.events.send(Event::Uploaded { digest: shown.clone(), size: blob.size });
        Ok(made)
    }

    /// Whether the registry has the blob in this repository, or takes it over from another.
    pub(crate) async fn has(&self, blob: &Descriptor, shown: &Digest) -> Result<bool, Cause> {
        let path = format!("/v2/{}/blobs/{}", self.client.repository, blob.digest);
        let ask = Ask::head(path, format!("blob {}", blob.digest.short()));
        let found = session::ask(&self.client, &self.events, &ask).await;
        match found {
            Ok(response) => {
                response.finish().await?;
                self.events.send(Event::Present { digest: shown.clone() });
                return Ok(true);
            }
            Err(Cause::NotFound { .. }) => {}
            Err(cause) => return Err(cause),
        }
        for from in self.store.transfers().sources(&blob.digest, &self.registry)? {
            if from != self.client.repository && self.mount(&blob.digest, &from).await? {
                self.events.send(Event::Mounted { digest: shown.clone(), from });
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks the registry to take the blob from its repository `from`. Whatever goes wrong is a
    /// reason to send it instead.
    pub(crate) async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Cause> {
        let repository = &self.client.repository;
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let ask = Ask::new(Method::POST, Target::Path(path), format!("blob {}", digest.short()))
            .scope(format!("repository:{from}:pull"));
        match self.client.ask(&ask).await {
            Ok(response) if response.head.status == hyper::StatusCode::CREATED => {
                response.finish().await?;
                Ok(true)
            }
            Ok(response) => {
                // an upload was begun instead; it is not for us
                let location = super::upload::location(&self.client, &response);
                response.finish().await?;
                if let Some(location) = location {
                    let what = "an upload that is not needed";
                    let ask = Ask::new(Method::DELETE, Target::At(location), what);
                    drop(self.client.ask(&ask).await);
                }
                Ok(false)
            }
            Err(cause) => {
                tracing::debug!(%cause, from, "cannot mount");
                Ok(false)
            }
        }
    }

    /// The bytes to send: of the blob, or of the compressed tar.
    async fn source(&self, layer: &Layer) -> Result<Blob, Cause> {
        let Some(form) = layer.form(self.client.options().form) else {
            return self.plain(layer).await;
        };
        let _slot = self.compressing.acquire().await;
        let (store, layer) = (self.store.clone(), layer.clone());
        let digest = layer.descriptor.digest.clone();
        self.events.send(Event::Compressing { digest: digest.clone() });
        let blob = blocking(move || spool(&store, &layer, form)).await?;
        self.store.transfers().remember_compressed(&digest, form, &blob.digest, blob.size)?;
        Ok(blob)
    }

    async fn plain(&self, layer: &Layer) -> Result<Blob, Cause> {
        let (digest, size) = (layer.descriptor.digest.clone(), layer.descriptor.size);
        if self.store.blobs().contains(&digest) || layer.chain_id.is_none() {
            let file = Arc::new(self.store.blobs().open(&digest)?);
            return Ok(Blob { digest, size, bytes: Bytes::File { file, at: 0 } });
        }
        let (store, layer) = (self.store.clone(), layer.clone());
        blocking(move || spool(&store, &layer, LayerForm::Uncompressed)).await
    }
}

/// The layer in `form`, in a file of its own.
fn spool(store: &cutover_store::Store, layer: &Layer, form: LayerForm) -> Result<Blob, Cause> {
    let chain_id = layer.chain_id.as_ref().unwrap_or(&layer.descriptor.digest);
    let fail = |source| Cause::Layer {
        what: format!("layer {}", layer.descriptor.digest.short()),
        source: Box::new(source),
    };
    let tar = store.layer_reader(&layer.descriptor, chain_id).map_err(fail)?;
    let spooled = store.spool(tar, form)?;
    let (digest, size, file) = (spooled.digest, spooled.size, Arc::new(spooled.file));
    Ok(Blob { digest, size, bytes: Bytes::File { file, at: 0 } })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Cause> + Send + 'static,
) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await.expect("reading a layer does not panic")
}
