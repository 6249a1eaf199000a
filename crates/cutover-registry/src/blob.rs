//! One blob from the network into the store: hashed on the way, resumed where it broke.

use std::io::Write as _;

use cutover_core::Digest;
use cutover_core::oci::Descriptor;
use cutover_store::{BlobError, BlobWriter, IoError, Store};
use hyper::StatusCode;

use crate::error::Cause;
use crate::http::{Ask, Client, Response};
use crate::progress::Event;
use crate::retry::Retries;
use crate::session::Events;

/// How many bytes come between two reports.
const REPORT: u64 = 256 << 10;

/// Fetches `blob` unless the store has it.
pub(crate) async fn fetch(
    client: &Client,
    store: &Store,
    blob: &Descriptor,
    events: &Events,
) -> Result<(), Cause> {
    let digest = &blob.digest;
    if store.blobs().contains(digest) {
        events.send(Event::Present { digest: digest.clone() });
        return Ok(());
    }
    let mut retries = Retries::new(client.options().limits);
    let mut download = Download::new(store, blob)?;
    let mut resumed = false;
    loop {
        let before = download.done();
        let result = download.run(client, events).await;
        if download.done() > before {
            retries.progress();
        }
        let cause = match result {
            Ok(()) => match download.commit().await {
                // pieces of two answers may come from two servers that disagree: once from scratch
                Err(Cause::WrongDigest { .. }) if resumed => {
                    resumed = false;
                    download = Download::new(store, blob)?;
                    continue;
                }
                Err(cause) => return Err(cause),
                Ok(()) => {
                    let (digest, size) = (digest.clone(), blob.size);
                    events.send(Event::Downloaded { digest, size });
                    return Ok(());
                }
            },
            Err(cause) => cause,
        };
        let Some(pause) = retries.after(&cause) else { return Err(cause) };
        events.retrying(&what(digest), &cause, pause);
        tokio::time::sleep(pause).await;
        resumed |= download.done() > 0;
    }
}

fn what(digest: &Digest) -> String {
    format!("blob {}", digest.short())
}

/// A blob on its way.
struct Download<'a> {
    store: &'a Store,
    blob: &'a Descriptor,
    writer: BlobWriter,
}

impl<'a> Download<'a> {
    fn new(store: &'a Store, blob: &'a Descriptor) -> Result<Self, Cause> {
        let writer = store.blobs().writer_with(blob.digest.algorithm())?;
        Ok(Self { store, blob, writer })
    }

    fn done(&self) -> u64 {
        self.writer.size()
    }

    /// One request for what is still missing, read to its end.
    async fn run(&mut self, client: &Client, events: &Events) -> Result<(), Cause> {
        let size = self.blob.size;
        if self.done() == size && size > 0 {
            return Ok(());
        }
        let digest = &self.blob.digest;
        let path = format!("/v2/{}/blobs/{digest}", client.repository);
        let ask = Ask::get(path, what(digest)).from(self.done());
        let mut response = client.ask(&ask).await?;
        if !continues(&response, self.done()) {
            self.writer = self.store.blobs().writer_with(digest.algorithm())?;
        }
        let mut reported = self.done();
        while let Some(chunk) = response.chunk().await? {
            if self.done() + chunk.len() as u64 > size {
                let got = self.done() + chunk.len() as u64;
                return Err(Cause::TooLarge { what: what(digest), size: got, max: size });
            }
            self.writer.write_all(&chunk).map_err(IoError::at("write to", self.store.root()))?;
            if self.done() - reported >= REPORT {
                reported = self.done();
                events.send(Event::Downloading { digest: digest.clone(), done: reported, size });
            }
        }
        if self.done() < size {
            let host = response.host.clone();
            return Err(Cause::Short { host, got: self.done(), expected: size });
        }
        Ok(())
    }

    /// Publishes the blob. Syncing can take long, so it happens beside the other downloads.
    async fn commit(self) -> Result<(), Cause> {
        let (writer, expected) = (self.writer, self.blob.digest.clone());
        let task = tokio::task::spawn_blocking(move || writer.commit(Some(&expected)));
        match task.await.expect("writing a blob does not panic") {
            Ok(_) => Ok(()),
            Err(BlobError::Unexpected { expected, actual, .. }) => {
                Err(Cause::WrongDigest { what: "blob", expected, actual })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the response goes on where we were: a server may ignore the range, or answer another.
fn continues(response: &Response, from: u64) -> bool {
    if from == 0 {
        return true;
    }
    let range = response.header("content-range").unwrap_or_default();
    let start = range.strip_prefix("bytes ").and_then(|range| range.split('-').next());
    response.head.status == StatusCode::PARTIAL_CONTENT
        && start.and_then(|start| start.trim().parse::<u64>().ok()) == Some(from)
}
