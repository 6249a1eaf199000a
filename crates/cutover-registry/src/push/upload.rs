//! Sending one blob: in one piece, in several, and on from where it broke.

use std::fmt;
use std::fs::File;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cutover_core::Digest;
use hyper::{Method, StatusCode};

use super::Push;
use crate::error::Cause;
use crate::http::{Address, Ask, Client, Payload, Response, Sent, Source, Target};
use crate::progress::Event;
use crate::retry::Retries;
use crate::session;

/// A blob up to this size goes in one request; a larger one in a session that can be resumed.
const SMALL: u64 = 4 << 20;
/// The size of pieces where a registry refuses larger ones.
const PIECE: u64 = 16 << 20;
/// How many bytes come between two reports.
const REPORT: u64 = 256 << 10;

/// Bytes to send.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) bytes: Bytes,
}

/// Where they are.
#[derive(Clone)]
pub(crate) enum Bytes {
    File {
        file: Arc<File>,
        at: u64,
    },
    /// From elsewhere, asked for anew for each request: from which byte on, and who counts them.
    Stream(Arc<Open>),
}

type Open = dyn Fn(u64, Sent) -> Opening + Send + Sync;
type Opening = Pin<Box<dyn Future<Output = Result<Source, Cause>> + Send>>;

/// An upload that has begun.
struct Session<'a> {
    push: &'a Push,
    blob: &'a Blob,
    /// The layer's name for the user.
    shown: &'a Digest,
    /// Where the registry wants the next bytes.
    location: Address,
    /// How many it has.
    done: u64,
}

impl Push {
    /// Sends `blob`, which the registry does not have.
    pub(crate) async fn upload(&self, blob: &Blob, shown: &Digest) -> Result<(), Cause> {
        let what = format!("blob {}", blob.digest.short());
        let mut retries = Retries::new(self.client.options().limits);
        let mut piece = self.client.options().chunk;
        let mut session: Option<Session<'_>> = None;
        loop {
            let before = session.as_ref().map_or(0, |session| session.done);
            let result = self.attempt(blob, shown, piece, &mut session).await;
            let cause = match result {
                Ok(()) => return Ok(()),
                Err(cause) => cause,
            };
            if session.as_ref().is_some_and(|session| session.done > before) {
                retries.progress();
            }
            let pause = match &cause {
                // some registries, and more proxies before them, take only so much at a time
                Cause::Status { status: 413, .. } if piece.is_none_or(|it| it > 1 << 20) => {
                    piece = Some(piece.map_or(PIECE, |it| it / 2));
                    session = None;
                    continue;
                }
                // what it has is not what we think, or the session is gone
                Cause::Status { status: 416, .. } | Cause::NotFound { .. } if session.is_some() => {
                    retries.soon()
                }
                cause => retries.after(cause),
            };
            let Some(pause) = pause else { return Err(cause) };
            self.events.retrying(&what, &cause, pause);
            tokio::time::sleep(pause).await;
            if let Some(open) = &mut session
                && open.ask_status().await.is_err()
            {
                session = None;
            }
        }
    }

    /// One way through, from where `session` is.
    async fn attempt<'a>(
        &'a self,
        blob: &'a Blob,
        shown: &'a Digest,
        piece: Option<u64>,
        session: &mut Option<Session<'a>>,
    ) -> Result<(), Cause> {
        let open = match session {
            Some(open) => open,
            None => session.insert(Session::begin(self, blob, shown).await?),
        };
        if piece.is_none() && blob.size <= SMALL && open.done == 0 {
            return open.finish(true).await;
        }
        while open.done < blob.size {
            let most = blob.size - open.done;
            open.send(piece.map_or(most, |piece| piece.min(most))).await?;
        }
        open.finish(false).await
    }
}

impl<'a> Session<'a> {
    async fn begin(push: &'a Push, blob: &'a Blob, shown: &'a Digest) -> Result<Self, Cause> {
        let client = &push.client;
        let path = format!("/v2/{}/blobs/uploads/", client.repository);
        let mut ask = Ask::new(Method::POST, Target::Path(path), what(blob));
        if blob.digest.algorithm() == cutover_core::digest::Algorithm::Sha512 {
            // the specification's way to announce another algorithm
            ask.target = Target::Path(format!(
                "/v2/{}/blobs/uploads/?digest-algorithm=sha512",
                client.repository
            ));
        }
        let response = client.ask(&ask).await?;
        let location = location(client, &response).ok_or_else(|| no_location(&response))?;
        response.finish().await?;
        Ok(Self { push, blob, shown, location, done: 0 })
    }

    /// Sends the next `size` bytes.
    async fn send(&mut self, size: u64) -> Result<(), Cause> {
        let last = self.done + size - 1;
        let ask = Ask::new(Method::PATCH, Target::At(self.location.clone()), what(self.blob))
            .header("content-type", "application/octet-stream")
            .header("content-range", format!("{}-{last}", self.done))
            .payload(self.payload(size).await?);
        let response = self.push.client.ask(&ask).await?;
        let next = location(&self.push.client, &response).unwrap_or(self.location.clone());
        let taken = range_end(&response).unwrap_or(last + 1);
        response.finish().await?;
        self.location = next;
        if taken <= self.done || taken > self.blob.size {
            let host = self.push.client.base.authority();
            let message = format!("it has {taken} bytes of an upload after {}", last + 1);
            return Err(Cause::Protocol { host, message });
        }
        self.done = taken;
        Ok(())
    }

    /// Ends the upload; with `whole`, all bytes go along.
    async fn finish(&mut self, whole: bool) -> Result<(), Cause> {
        let address = with_digest(&self.location, &self.blob.digest);
        let mut ask = Ask::new(Method::PUT, Target::At(address), what(self.blob));
        if whole && self.blob.size > 0 {
            ask = ask.payload(self.payload(self.blob.size).await?);
        }
        let ask = ask.header("content-type", "application/octet-stream");
        let response = self.push.client.ask(&ask).await?;
        let stated = response.header("docker-content-digest").and_then(|it| it.parse().ok());
        let status = response.head.status;
        response.finish().await?;
        match stated {
            Some(actual) if actual != self.blob.digest => {
                let expected = self.blob.digest.clone();
                Err(Cause::WrongDigest { what: "blob", expected, actual })
            }
            _ if status == StatusCode::ACCEPTED => Err(Cause::Protocol {
                host: self.push.client.base.authority(),
                message: "it did not end an upload that is complete".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Finds out what the registry has, after something broke.
    async fn ask_status(&mut self) -> Result<(), Cause> {
        let ask = Ask::new(Method::GET, Target::At(self.location.clone()), what(self.blob));
        let response = session::ask(&self.push.client, &self.push.events, &ask).await?;
        let next = location(&self.push.client, &response).unwrap_or(self.location.clone());
        let done = range_end(&response).unwrap_or(0).min(self.blob.size);
        response.finish().await?;
        self.location = next;
        self.done = done;
        Ok(())
    }

    async fn payload(&self, size: u64) -> Result<Payload, Cause> {
        let (events, shown, total) = (self.push.events.clone(), self.shown.clone(), self.blob.size);
        let (done, reported) = (AtomicU64::new(self.done), AtomicU64::new(self.done));
        let told = move |count| {
            let done = done.fetch_add(count, Ordering::Relaxed) + count;
            if done - reported.load(Ordering::Relaxed) >= REPORT {
                reported.store(done, Ordering::Relaxed);
                // a request that is sent again counts again
                let done = done.min(total);
                events.send(Event::Uploading { digest: shown.clone(), done, size: total });
            }
        };
        let sent = Sent::telling(told);
        Ok(match &self.blob.bytes {
            Bytes::File { file, at } => {
                Payload::File { file: Arc::clone(file), at: at + self.done, size, sent }
            }
            Bytes::Stream(open) => Payload::Stream(open(self.done, sent).await?.limited(size)),
        })
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File { .. } => "File",
            Self::Stream(_) => "Stream",
        })
    }
}

fn what(blob: &Blob) -> String {
    format!("blob {}", blob.digest.short())
}

/// Where an upload goes on. A registry behind a proxy that ends TLS often calls itself `http`:
/// then the way that we came is meant.
pub(crate) fn location(client: &Client, response: &Response) -> Option<Address> {
    let location = response.header("location")?;
    let mut address = response.address.join(location)?;
    let base = &client.base;
    if base.tls && !address.tls && address.host == base.host {
        (address.tls, address.port) = (true, base.port);
    }
    Some(address)
}

fn no_location(response: &Response) -> Cause {
    let message = "it began an upload without saying where".to_owned();
    Cause::Protocol { host: response.host.clone(), message }
}

/// How many bytes an upload has.
fn range_end(response: &Response) -> Option<u64> {
    crate::http::range::taken(response.header("range")?)
}

fn with_digest(location: &Address, digest: &Digest) -> Address {
    let separator = if location.path.contains('?') { '&' } else { '?' };
    location.at(&format!("{}{separator}digest={digest}", location.path))
}
