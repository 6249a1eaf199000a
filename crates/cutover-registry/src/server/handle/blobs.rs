//! Blobs: read and removed. They come in by uploads.

use std::ops::Range;
use std::sync::Arc;

use cutover_core::digest::Digest;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use hyper::{Method, Response, StatusCode};

use super::{Answer, Call, DIGEST, empty, header};
use crate::server::body::Body;
use crate::server::gate::Event;
use crate::server::range::{Wanted, wanted};
use crate::server::refusal::{Code, Refusal};

impl Call<'_> {
    /// GET and HEAD of a blob.
    pub(super) fn blob(&self, name: &str, digest: &Digest) -> Answer {
        let size = self.store().blob(name, digest).ok_or_else(|| unknown(name, digest))?;
        let etag = header(&format!("\"{digest}\""));
        let same = |header: &HeaderValue| *header == etag;
        if self.head.headers.get(IF_NONE_MATCH).is_some_and(same) {
            let mut response = empty(StatusCode::NOT_MODIFIED);
            response.headers_mut().insert(ETAG, etag);
            return Ok(response);
        }
        let range = self.header(RANGE);
        let range = range.filter(|_| self.head.headers.get(IF_RANGE).is_none_or(same));
        let wanted = range.map_or(Wanted::All, |range| wanted(range, size));
        let (status, part) = match wanted {
            Wanted::All => (StatusCode::OK, 0..size),
            Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Wanted::Unsatisfiable => return Err(unsatisfiable(size)),
        };
        let mut response = Response::new(self.blob_body(name, digest, part.clone())?);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, (part.end - part.start).into());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(DIGEST, header(digest.as_str()));
        headers.insert(ETAG, etag);
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            headers.insert(CONTENT_RANGE, header(&range));
        }
        Ok(response)
    }

    fn blob_body(&self, name: &str, digest: &Digest, part: Range<u64>) -> Result<Body, Refusal> {
        if self.head.method == Method::HEAD || part.is_empty() {
            return Ok(Body::empty());
        }
        let file = self.store().blobs.open_file(digest).map_err(|error| {
            tracing::error!(%error, "a blob of repository `{name}` is gone: run fsck");
            Refusal::storage("read the blob", &error)
        })?;
        let size = file.metadata().map_err(|error| Refusal::storage("read the blob", &error))?;
        if size.len() < part.end {
            let error = std::io::Error::other(format!("`{digest}` is too short: run fsck"));
            return Err(Refusal::storage("read the blob", &error));
        }
        Ok(Body::file(file, part, self.head.extensions.get()))
    }

    /// The repository does not have it any more; others may.
    pub(super) async fn delete_blob(&self, name: &str, digest: &Digest) -> Answer {
        let (repository, removed): (Arc<str>, _) = (name.into(), digest.clone());
        let removed = self.store().writer.run(move |change| change.unlink(&repository, &removed));
        if !removed.await? {
            return Err(unknown(name, digest));
        }
        self.observe(&Event::Deleted {
            repository: name.to_owned(),
            digest: Some(digest.clone()),
            tag: None,
            who: self.who.clone(),
        });
        Ok(empty(StatusCode::ACCEPTED))
    }
}

fn unknown(name: &str, digest: &Digest) -> Refusal {
    Refusal::not_found(Code::BlobUnknown, format!("repository `{name}` has no blob {digest}"))
}

fn unsatisfiable(size: u64) -> Refusal {
    let message = format!("the range is outside of the blob's {size} bytes");
    Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::SizeInvalid, message)
        .with(CONTENT_RANGE, header(&format!("bytes */{size}")))
}
