//! Blobs from a source into a registry, several at a time.

use std::sync::Arc;

use cutover_core::oci::Descriptor;

use super::source::Source;
use crate::error::Cause;
use crate::http::Source as Stream;
use crate::progress::Event;
use crate::push::Push;
use crate::push::upload::{Blob, Bytes};

impl Push {
    /// Sees to it that the registry has the blobs of `source`.
    pub(super) async fn take_over(
        &self,
        source: &Arc<Source>,
        blobs: Vec<Descriptor>,
    ) -> Result<(), Cause> {
        let digests: Vec<_> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        let mut tasks = tokio::task::JoinSet::new();
        for blob in blobs {
            let (push, source) = (self.clone(), Arc::clone(source));
            tasks.spawn(async move { push.take_over_one(&source, &blob).await });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("copying a blob does not panic")?;
        }
        let repository = &self.client.repository;
        Ok(self.store.transfers().remember_sources(&self.registry, repository, digests.iter())?)
    }

    async fn take_over_one(&self, source: &Arc<Source>, blob: &Descriptor) -> Result<(), Cause> {
        let _slot = self.sending.acquire().await;
        if self.has(blob, &blob.digest).await? {
            return Ok(());
        }
        let (registry, from) = source.repository().unwrap_or_default();
        if registry == self.registry
            && from != self.client.repository
            && self.mount(&blob.digest, from).await?
        {
            let (digest, from) = (blob.digest.clone(), from.to_owned());
            self.events.send(Event::Mounted { digest, from });
            return Ok(());
        }
        let bytes = match source.part(blob)? {
            Some(part) => Bytes::File { file: part.file, at: part.at },
            None => {
                let (source, blob) = (Arc::clone(source), blob.clone());
                Bytes::Stream(Arc::new(move |from, sent| {
                    let (source, blob) = (Arc::clone(&source), blob.clone());
                    Box::pin(async move {
                        let chunks = source.stream(&blob, from).await?;
                        Ok(Stream::new(chunks, blob.size - from, sent))
                    })
                }))
            }
        };
        let sent = Blob { digest: blob.digest.clone(), size: blob.size, bytes };
        self.upload(&sent, &blob.digest).await?;
        self.events.send(Event::Uploaded { digest: blob.digest.clone(), size: blob.size });
        Ok(())
    }
}
