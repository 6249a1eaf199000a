//! Where an image comes from.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use cutover_core::Digest;
use cutover_core::oci::Descriptor;
use tokio::sync::mpsc;

use super::layout::{Layout, Part, PartReader};
use super::{Place, checked};
use crate::error::Cause;
use crate::http::{Ask, Client};
use crate::manifest;
use crate::options::Options;
use crate::push::document;
use crate::session::{self, Events};

/// Pieces of a blob on their way from one connection to the other.
const IN_FLIGHT: usize = 16;

#[derive(Debug)]
pub(super) enum Source {
    Registry { client: Arc<Client>, registry: String, events: Events, name: String },
    Layout { layout: Layout, top: Digest },
}

impl Source {
    pub(super) async fn open(
        place: &Place,
        options: &Options,
        events: &Events,
    ) -> Result<Self, Cause> {
        let (layout, tag) = match place {
            Place::Registry(reference) => {
                let client = session::reach(reference, "pull", options, events).await?;
                let name = match (reference.digest(), reference.tag()) {
                    (Some(digest), _) => digest.to_string(),
                    (None, tag) => tag.unwrap_or("latest").to_owned(),
                };
                let registry = reference.registry().to_owned();
                return Ok(Self::Registry { client, registry, events: events.clone(), name });
            }
            Place::Layout(path, tag) => (Layout::Folder(path.clone()), tag),
            Place::Archive(path, tag) => (Layout::archive(path)?, tag),
        };
        let top = layout.top(tag.as_deref())?;
        Ok(Self::Layout { layout, top })
    }

    /// What the place names.
    pub(super) fn top(&self) -> String {
        match self {
            Self::Registry { name, .. } => name.clone(),
            Self::Layout { top, .. } => top.to_string(),
        }
    }

    /// A manifest or index with its media type.
    pub(super) async fn document(&self, name: &str) -> Result<(Vec<u8>, String), Cause> {
        let wanted: Option<Digest> = name.parse().ok();
        let bytes = match self {
            Self::Registry { client, events, .. } => {
                let (bytes, _) = session::retrying(client, events, name, async || {
                    manifest::fetch(client, name, wanted.as_ref()).await
                })
                .await?;
                bytes
            }
            Self::Layout { layout, .. } => {
                let digest: Digest = name.parse().map_err(|_not_a_digest| Cause::Incomplete {
                    what: format!("`{}`", layout.path().display()),
                    missing: format!("`{name}`"),
                })?;
                checked(layout.read(&super::layout::blob_path(&digest))?, &digest)?
            }
        };
        let digest = wanted.unwrap_or_else(|| Digest::sha256(&bytes));
        let kind = document::kind(&digest, &bytes)?;
        Ok((bytes, kind))
    }

    /// The registry and repository that blobs could be mounted from.
    pub(super) fn repository(&self) -> Option<(&str, &str)> {
        match self {
            Self::Registry { client, registry, .. } => Some((registry, &client.repository)),
            Self::Layout { .. } => None,
        }
    }

    /// The file that the blob is in, if it is in one.
    pub(super) fn part(&self, blob: &Descriptor) -> Result<Option<Part>, Cause> {
        match self {
            Self::Registry { .. } => Ok(None),
            Self::Layout { layout, .. } => {
                let part = layout.blob(&blob.digest)?;
                if part.size != blob.size {
                    let (got, expected) = (part.size, blob.size);
                    let host = layout.path().display().to_string();
                    return Err(Cause::Short { host, got, expected });
                }
                Ok(Some(part))
            }
        }
    }

    /// The bytes of a blob from `from` on, as they come.
    pub(super) async fn stream(
        &self,
        blob: &Descriptor,
        from: u64,
    ) -> Result<mpsc::Receiver<io::Result<Bytes>>, Cause> {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        match self {
            Self::Registry { client, .. } => {
                let path = format!("/v2/{}/blobs/{}", client.repository, blob.digest);
                let ask = Ask::get(path, format!("blob {}", blob.digest.short())).from(from);
                let mut response = client.ask(&ask).await?;
                let mut skip = match response.head.status {
                    hyper::StatusCode::PARTIAL_CONTENT => 0,
                    _ => from,
                };
                tokio::spawn(async move {
                    loop {
                        let message = match response.chunk().await {
                            Ok(None) => return,
                            Ok(Some(mut chunk)) => {
                                let over = usize::try_from(skip).unwrap_or(usize::MAX);
                                let over = over.min(chunk.len());
                                skip -= over as u64;
                                Ok(chunk.split_off(over))
                            }
                            Err(cause) => Err(io::Error::other(cause)),
                        };
                        let failed = message.is_err();
                        if sender.send(message).await.is_err() || failed {
                            return;
                        }
                    }
                });
            }
            Self::Layout { layout, .. } => {
                let mut part = layout.blob(&blob.digest)?;
                let over = from.min(part.size);
                (part.at, part.size) = (part.at + over, part.size - over);
                let mut reader = PartReader::new(part);
                tokio::task::spawn_blocking(move || {
                    loop {
                        let mut piece = vec![0; 256 << 10];
                        let message = match reader.read(&mut piece) {
                            Ok(0) => return,
                            Ok(count) => {
                                piece.truncate(count);
                                Ok(Bytes::from(piece))
                            }
                            Err(error) => Err(error),
                        };
                        let failed = message.is_err();
                        if sender.blocking_send(message).is_err() || failed {
                            return;
                        }
                    }
                });
            }
        }
        Ok(receiver)
    }
}
