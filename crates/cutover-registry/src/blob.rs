//! One blob from the network into the store: hashed on the way, resumed where it broke, also by a
//! later program; fetched once when several want it.

use std::io::Write as _;
use std::time::Duration;

use cutover_core::Digest;
use cutover_core::oci::Descriptor;
use cutover_store::{BlobError, IoError, PartialBlob, Store};
use hyper::StatusCode;

use crate::arrival::Arriving;
use crate::error::Cause;
use crate::http::{Ask, Client, Response, range};
use crate::progress::Event;
use crate::retry::Retries;
use crate::session::Events;

/// How many bytes come between two reports.
const REPORT: u64 = 256 << 10;
/// How often to look whether another program has the blob by now.
const LOOK: Duration = Duration::from_millis(50);

/// Fetches `blob` unless the store has it. `arriving` tells a reader of the bytes.
pub(crate) async fn fetch(
    client: &Client,
    store: &Store,
    blob: &Descriptor,
    arriving: &Arriving,
    events: &Events,
) -> Result<(), Cause> {
    let digest = &blob.digest;
    let Some(partial) = own(store, digest).await? else {
        arriving.begin(store.blobs().open(digest)?, store.blobs().size(digest)?);
        arriving.complete();
        events.send(Event::Present { digest: digest.clone() });
        return Ok(());
    };
    arriving.begin(partial.reader()?, 0);
    let mut download = Download { store, blob, partial, arriving };
    match download.through(client, events).await {
        Ok(()) => {}
        Err(cause) => {
            // what may go on later stays
            if download.done() == 0 || !cause.is_transient() {
                download.partial.discard()?;
            }
            return Err(cause);
        }
    }
    arriving.complete();
    download.commit().await?;
    events.send(Event::Downloaded { digest: digest.clone(), size: blob.size });
    Ok(())
}

/// The place to write the blob to; `None` when it is in the store, by whoever fetched it.
async fn own(store: &Store, digest: &Digest) -> Result<Option<PartialBlob>, Cause> {
    loop {
        if store.blobs().contains(digest) {
            return Ok(None);
        }
        let (blobs, wanted) = (store.blobs(), digest.clone());
        // hashes what is there, which may be much
        let task = tokio::task::spawn_blocking(move || blobs.partial(&wanted));
        let partial = task.await.expect("reading a blob does not panic")?;
        // it may have been finished before we got the lock
        if store.blobs().contains(digest) {
            if let Some(partial) = partial {
                partial.discard()?;
            }
            return Ok(None);
        }
        if partial.is_some() {
            return Ok(partial);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn what(digest: &Digest) -> String {
    format!("blob {}", digest.short())
}

/// A blob on its way.
struct Download<'a> {
    store: &'a Store,
    blob: &'a Descriptor,
    partial: PartialBlob,
    arriving: &'a Arriving,
}

impl Download<'_> {
    fn done(&self) -> u64 {
        self.partial.size()
    }

    /// All of it, over as many requests as it takes.
    async fn through(&mut self, client: &Client, events: &Events) -> Result<(), Cause> {
        let mut retries = Retries::new(client.options().limits);
        // pieces of two answers may come from two servers that disagree: once from scratch
        let mut pieces = self.done() > 0;
        loop {
            let before = self.done();
            let cause = match self.run(client, events).await {
                Ok(()) if self.partial.is_right() => return Ok(()),
                Ok(()) if pieces => {
                    pieces = false;
                    self.restart()?;
                    continue;
                }
                Ok(()) => {
                    let (expected, actual) = (self.blob.digest.clone(), self.partial.digest());
                    return Err(Cause::WrongDigest { what: "blob", expected, actual });
                }
                Err(cause) => cause,
            };
            if self.done() > before {
                retries.progress();
            }
            let Some(pause) = retries.after(&cause) else { return Err(cause) };
            events.retrying(&what(&self.blob.digest), &cause, pause);
            tokio::time::sleep(pause).await;
            pieces |= self.done() > 0;
        }
    }

    /// Forgets what has come.
    fn restart(&mut self) -> Result<(), Cause> {
        self.partial.restart()?;
        self.arriving.broke();
        Ok(())
    }

    /// One request for what is still missing, read to its end.
    async fn run(&mut self, client: &Client, events: &Events) -> Result<(), Cause> {
        let size = self.blob.size;
        if self.done() > size {
            // left by someone who was told another size
            self.restart()?;
        }
        self.arriving.written(self.done());
        if self.done() == size {
            return Ok(());
        }
        let digest = &self.blob.digest;
        let path = format!("/v2/{}/blobs/{digest}", client.repository);
        let ask = Ask::get(path, what(digest)).from(self.done());
        let mut response = match client.ask(&ask).await {
            // what we have is not the start of it
            Err(Cause::Status { status: 416, .. }) if self.done() > 0 => {
                self.restart()?;
                let ask = Ask { from: 0, ..ask };
                client.ask(&ask).await?
            }
            other => other?,
        };
        if !continues(&response, self.done()) {
            self.restart()?;
        }
        let mut reported = self.done();
        while let Some(chunk) = response.chunk().await? {
            if self.done() + chunk.len() as u64 > size {
                let got = self.done() + chunk.len() as u64;
                return Err(Cause::TooLarge { what: what(digest), size: got, max: size });
            }
            self.partial.write_all(&chunk).map_err(IoError::at("write to", self.store.root()))?;
            if self.done() - reported >= REPORT {
                reported = self.done();
                self.arriving.written(reported);
                events.send(Event::Downloading { digest: digest.clone(), done: reported, size });
            }
        }
        self.arriving.written(self.done());
        if self.done() < size {
            let host = response.host.clone();
            return Err(Cause::Short { host, got: self.done(), expected: size });
        }
        Ok(())
    }

    /// Publishes the blob. Syncing can take long, so it happens beside the other downloads.
    async fn commit(self) -> Result<(), Cause> {
        let partial = self.partial;
        let task = tokio::task::spawn_blocking(move || partial.commit());
        match task.await.expect("writing a blob does not panic") {
            Ok(()) => Ok(()),
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
    response.head.status == StatusCode::PARTIAL_CONTENT && range::first(range) == Some(from)
}
