//! Uploads over HTTP: one request, two, or chunks; status, cancel, mount.

use std::sync::Arc;

use cutover_core::digest::{Algorithm, Digest};
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, HeaderName, HeaderValue, LOCATION, RANGE};
use hyper::{Method, Response, StatusCode};

use super::{Answer, Call, DIGEST, empty, header};
use crate::server::body::Body;
use crate::server::gate::{Action, Ask, Event};
use crate::server::range;
use crate::server::refusal::{Code, Refusal};
use crate::server::route;
use crate::server::upload::{Held, receive};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// How long a request waits for another one that writes to the same upload: a client whose
/// connection broke may be back before the server has heard of it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Call<'_> {
    /// POST: begin an upload, do all of it, or take a blob from another repository.
    pub(super) async fn begin_upload(&self, name: &str, body: &mut Option<Incoming>) -> Answer {
        if let Some(digest) = self.parameter("mount") {
            // what cannot be mounted (or even read as a digest) is uploaded instead
            if let Ok(digest) = route::digest(&digest)
                && let Some(response) = self.mount(name, &digest).await?
            {
                return Ok(response);
            }
        }
        let digest = self.digest_parameter()?;
        self.check_room(name)?;
        let algorithm = match (&digest, self.parameter("digest-algorithm").as_deref()) {
            (Some(digest), _) => digest.algorithm(),
            (None, None | Some("sha256")) => Algorithm::Sha256,
            (None, Some("sha512")) => Algorithm::Sha512,
            (None, Some(_)) => {
                let message = "the digest algorithm is not supported: use sha256 or sha512";
                return Err(Refusal::bad(Code::Unsupported, message));
            }
        };
        let id = cutover_core::digest::hex(&(self.store().ambient.random)());
        let session = self
            .store()
            .uploads
            .begin(name, &id, algorithm)
            .map_err(|error| Refusal::storage("begin an upload", &error))?;
        let mut held = Some(session.lock_owned().await);
        let Some(digest) = digest else {
            drop(held);
            return Ok(progress(StatusCode::ACCEPTED, name, &id, 0));
        };
        let path = held.as_ref().map(|held| held.path.clone()).unwrap_or_default();
        let done = self.receive_all(name, &mut held, body, &digest).await;
        if done.is_err() {
            // nobody was told of it, so nobody can go on with it
            drop(fs_err::remove_file(path));
        }
        self.store().uploads.forget(name, &id);
        done
    }

    /// Requests to an upload's own address.
    pub(super) async fn upload(&self, name: &str, id: &str, body: &mut Option<Incoming>) -> Answer {
        let session = self.store().uploads.find(name, id)?;
        let held = tokio::time::timeout(PATIENCE, session.lock_owned()).await;
        let held = held.map_err(|_elapsed| {
            let message = "another request writes to this upload";
            Refusal::new(StatusCode::CONFLICT, Code::BlobUploadInvalid, message)
        })?;
        if held.over {
            return Err(Refusal::not_found(Code::BlobUploadUnknown, "this upload is over"));
        }
        match self.head.method {
            Method::PATCH => self.patch(name, id, held, body).await,
            Method::PUT => self.put(name, id, held, body).await,
            Method::DELETE => {
                self.cancel(name, id, held)?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Ok(progress(StatusCode::NO_CONTENT, name, id, held.size)),
        }
    }

    async fn patch(&self, name: &str, id: &str, held: Held, body: &mut Option<Incoming>) -> Answer {
        self.check_room(name)?;
        let exact = self.chunk(name, id, held.size)?;
        let mut held = Some(held);
        let body = body.take().ok_or_else(no_body)?;
        receive(&self.store().uploads, &mut held, body, exact, self.shared.limits).await?;
        let mut held = held.ok_or_else(no_body)?;
        let size = held.size;
        let sync = tokio::task::spawn_blocking(move || held.sync());
        let synced = sync.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        synced.map_err(|error| Refusal::storage("write the upload", &error))?;
        Ok(progress(StatusCode::ACCEPTED, name, id, size))
    }

    async fn put(&self, name: &str, id: &str, held: Held, body: &mut Option<Incoming>) -> Answer {
        let Some(digest) = self.digest_parameter()? else {
            return Err(Refusal::bad(Code::DigestInvalid, "the query has no `digest`"));
        };
        self.check_room(name)?;
        let mut held = Some(held);
        let done = self.receive_all(name, &mut held, body, &digest).await;
        self.over(name, id, held, done)
    }

    /// The last bytes of a blob; they make it what its digest says, or are refused.
    async fn receive_all(
        &self,
        name: &str,
        held: &mut Option<Held>,
        body: &mut Option<Incoming>,
        digest: &Digest,
    ) -> Result<Response<Body>, Refusal> {
        let size = held.as_ref().map_or(0, |held| held.size);
        let id = held.as_ref().map(|held| id_of(&held.path)).unwrap_or_default();
        let exact = self.chunk(name, &id, size)?;
        let body = body.take().ok_or_else(no_body)?;
        receive(&self.store().uploads, held, body, exact, self.shared.limits).await?;
        let mut session = held.take().ok_or_else(no_body)?;
        let algorithm = digest.algorithm();
        let hash = tokio::task::spawn_blocking(move || {
            let found = session.digest(algorithm);
            (session, found)
        });
        let (session, found) = hash.await.map_err(|_panic| no_body())?;
        let found = found.map_err(|error| Refusal::storage("read the upload", &error))?;
        if found != *digest {
            *held = Some(session);
            let message = format!("the upload is {found}, not {digest}");
            return Err(Refusal::bad(Code::DigestInvalid, message));
        }
        let repository: Arc<str> = name.into();
        let size = self.store().finish(&repository, session, digest).await?;
        let (repository, digest, who) = (name.to_owned(), digest.clone(), self.who.clone());
        let created = created(name, &digest);
        self.observe(&Event::Uploaded { repository, digest, size, who });
        Ok(created)
    }

    /// Ends an upload that was closed. One that is not what it should be is gone; one whose chunk
    /// was out of order or broke off can be gone on with.
    fn over(
        &self,
        name: &str,
        id: &str,
        held: Option<Held>,
        done: Result<Response<Body>, Refusal>,
    ) -> Answer {
        match &done {
            Ok(_) => self.store().uploads.forget(name, id),
            Err(refusal) if refusal.code == Code::DigestInvalid => {
                if let Some(held) = held {
                    self.cancel(name, id, held)?;
                }
            }
            // it was lost, or is taken up again from what is on disk
            Err(_) if held.is_none() => self.store().uploads.forget(name, id),
            Err(_) => {}
        }
        done
    }

    fn cancel(&self, name: &str, id: &str, mut held: Held) -> Result<(), Refusal> {
        held.over = true;
        self.store().uploads.forget(name, id);
        match fs_err::remove_file(&held.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Refusal::storage("remove the upload", &error))
            }
            _ => Ok(()),
        }
    }

    /// The size that the body must have. A chunk that does not begin where the last one ended is
    /// refused, with where that is.
    fn chunk(&self, name: &str, id: &str, size: u64) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.header(CONTENT_RANGE) else { return Ok(self.content_length()) };
        let chunk = range::chunk(text).ok_or_else(|| {
            let message = "Content-Range is not `FIRST-LAST`";
            Refusal::bad(Code::BlobUploadInvalid, message)
        })?;
        let long = chunk.end - chunk.start;
        if chunk.start != size {
            let message = format!("the next chunk begins at {size}, not at {}", chunk.start);
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            return Err(Refusal::new(status, Code::BlobUploadInvalid, message)
                .with(LOCATION, header(&location(name, id)))
                .with(RANGE, range_of(size)));
        }
        if self.content_length().is_some_and(|length| length != long) {
            let message = "Content-Length and Content-Range differ";
            return Err(Refusal::bad(Code::SizeInvalid, message));
        }
        Ok(Some(long))
    }

    /// Refuses what will not fit, before it comes.
    fn check_room(&self, name: &str) -> Result<(), Refusal> {
        let Some(length) = self.content_length().filter(|length| *length > 0) else {
            return Ok(());
        };
        if length > self.store().free() {
            return Err(Refusal::full());
        }
        self.store().policy.check_room(name, 0, length)
    }

    fn digest_parameter(&self) -> Result<Option<Digest>, Refusal> {
        self.parameter("digest").map(|text| route::digest(&text)).transpose()
    }

    /// Links a blob of another repository that the client may read. `None` if there is none.
    async fn mount(&self, name: &str, digest: &Digest) -> Result<Option<Response<Body>>, Refusal> {
        let sources: Vec<String> = match self.parameter("from") {
            Some(from) => vec![from],
            None => {
                let index = self.store().index();
                let repositories = index.repositories.iter();
                let have = repositories.filter(|(_, it)| it.blobs.contains_key(digest));
                // more would be a way to make one request expensive
                have.map(|(name, _)| name.clone()).take(16).collect()
            }
        };
        for source in sources {
            let Some(size) = self.store().blob(&source, digest) else { continue };
            let (action, repository) = (Action::Pull, Some(&*source));
            let ask = Ask { head: self.head, peer: self.peer, action, repository };
            if source != name && self.shared.gate.authorize(&ask).await.is_err() {
                continue;
            }
            let guard = self.store().blobs.lock(digest).await;
            if self.store().blob(&source, digest).is_none() {
                continue;
            }
            self.store().link(&name.into(), digest, size).await?;
            drop(guard);
            let (repository, who) = (name.to_owned(), self.who.clone());
            self.observe(&Event::Mounted { repository, digest: digest.clone(), who });
            return Ok(Some(created(name, digest)));
        }
        Ok(None)
    }
}

fn no_body() -> Refusal {
    let error = std::io::Error::other("the upload was lost");
    Refusal::internal("write the upload", &error)
}

fn id_of(path: &std::path::Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('@').next().unwrap_or_default().to_owned()
}

fn location(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// How far an upload is. Of an empty one docker's registry, and so everybody, says `0-0`.
fn range_of(size: u64) -> HeaderValue {
    header(&format!("0-{}", size.saturating_sub(1)))
}

fn progress(status: StatusCode, name: &str, id: &str, size: u64) -> Response<Body> {
    let mut response = empty(status);
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(&location(name, id)));
    headers.insert(RANGE, range_of(size));
    headers.insert(UPLOAD_ID, header(id));
    response
}

fn created(name: &str, digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    headers.insert(LOCATION, header(&format!("/v2/{name}/blobs/{digest}")));
    headers.insert(DIGEST, header(digest.as_str()));
    response
}
