//! Manifests: stored byte for byte, served from memory.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cutover_core::digest::{Digest, Hasher};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LOCATION};
use hyper::{Method, Response, StatusCode};
use tokio::time::timeout;

use super::{Answer, Call, DIGEST, empty, header};
use crate::server::body::Body;
use crate::server::change::NewManifest;
use crate::server::db::Described;
use crate::server::document::{self, MANIFEST_MAX};
use crate::server::gate::Event;
use crate::server::index::Manifest;
use crate::server::name::is_tag;
use crate::server::refusal::{Code, Refusal};
use crate::server::route::{self, Target};
use crate::server::writer::Change;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Tags in one push.
const TAGS_MAX: usize = 100;

impl Call<'_> {
    /// GET and HEAD of a manifest.
    pub(super) async fn manifest(&self, name: &str, target: &Target<'_>) -> Answer {
        let manifest = self.find(name, target).ok_or_else(|| unknown(name, target))?;
        let etag = header(&format!("\"{}\"", manifest.digest));
        let same = self.head.headers.get(IF_NONE_MATCH).is_some_and(|header| *header == etag);
        let mut response = match (same, self.head.method == Method::HEAD) {
            (true, _) => empty(StatusCode::NOT_MODIFIED),
            (false, true) => empty(StatusCode::OK),
            (false, false) => {
                let bytes = self.store().document(&manifest.digest).await?;
                Response::new(Body::full(bytes.ok_or_else(|| unknown(name, target))?))
            }
        };
        let headers = response.headers_mut();
        if !same {
            headers.insert(CONTENT_LENGTH, manifest.size.into());
            headers.insert(CONTENT_TYPE, manifest.media_type.clone());
        }
        headers.insert(DIGEST, manifest.header.clone());
        headers.insert(ETAG, etag);
        if self.head.method == Method::GET {
            let tag = match target {
                Target::Tag(tag) => Some((*tag).to_owned()),
                Target::Digest(_) => None,
            };
            let (repository, digest) = (name.to_owned(), manifest.digest.clone());
            self.observe(&Event::Pulled { repository, digest, tag, who: self.who.clone() });
        }
        Ok(response)
    }

    fn find(&self, name: &str, target: &Target<'_>) -> Option<Arc<Manifest>> {
        let index = self.store().index();
        let repository = index.repository(name)?;
        let found = match target {
            Target::Tag(tag) => repository.tags.get(*tag),
            Target::Digest(digest) => repository.manifests.get(digest),
        };
        found.map(Arc::clone)
    }

    pub(super) async fn put_manifest(
        &self,
        name: &str,
        target: &Target<'_>,
        body: &mut Option<Incoming>,
    ) -> Answer {
        let tags = self.tags_of(target)?;
        let bytes = self.read_manifest(body).await?;
        let digest = match target {
            Target::Tag(_) => Digest::sha256(&bytes),
            Target::Digest(digest) => check(&bytes, digest)?,
        };
        let read = document::read(&bytes, self.header(CONTENT_TYPE))?;
        let described = Described {
            digest: digest.clone(),
            media_type: read.media_type.clone(),
            size: bytes.len() as u64,
            subject: read.subject.clone(),
            artifact_type: read.artifact_type,
            annotations: read.annotations,
        };
        let new = NewManifest { described, bytes: bytes.clone(), uses: read.uses, tags };
        let tags = new.tags.clone();
        let (policy, repository) = (Arc::clone(&self.store().policy), Arc::<str>::from(name));
        let by = self.store().by(&self.who.0);
        let put =
            move |change: &mut Change<'_>| change.put_manifest(&policy, &repository, &new, &by);
        self.store().writer.run(put).await?;
        self.store().remember(&digest, &bytes);
        let mut response = empty(StatusCode::CREATED);
        let headers = response.headers_mut();
        headers.insert(LOCATION, header(&format!("/v2/{name}/manifests/{digest}")));
        headers.insert(DIGEST, header(digest.as_str()));
        if let Some(subject) = &read.subject {
            headers.insert(SUBJECT, header(subject.as_str()));
        }
        if matches!(target, Target::Digest(_)) {
            for tag in &tags {
                headers.append(TAG, header(tag));
            }
        }
        self.observe(&Event::Pushed {
            repository: name.to_owned(),
            digest,
            media_type: read.media_type,
            tags,
            who: self.who.clone(),
        });
        Ok(response)
    }

    /// The tag of the path, or those of the query.
    fn tags_of(&self, target: &Target<'_>) -> Result<Vec<String>, Refusal> {
        if let Target::Tag(tag) = target {
            return Ok(vec![(*tag).to_owned()]);
        }
        let tags = route::query(self.query(), "tag");
        let tags: Vec<String> = tags.map(std::borrow::Cow::into_owned).collect();
        if tags.len() > TAGS_MAX {
            let message = format!("a push may set {TAGS_MAX} tags");
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, Code::Unsupported, message));
        }
        match tags.iter().find(|tag| !is_tag(tag)) {
            Some(odd) => {
                let shown: String = odd.chars().take(130).collect();
                let message = format!("`{shown}` is not a tag");
                Err(Refusal::bad(Code::ManifestInvalid, message))
            }
            None => Ok(tags),
        }
    }

    async fn read_manifest(&self, body: &mut Option<Incoming>) -> Result<Bytes, Refusal> {
        let too_large = || {
            let message = format!("a manifest may have {MANIFEST_MAX} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Code::ManifestInvalid, message)
        };
        let length = self.content_length();
        if length.is_some_and(|length| length > MANIFEST_MAX as u64) {
            return Err(too_large());
        }
        let mut bytes = BytesMut::new();
        while let Some(body) = body.as_mut() {
            let frame = timeout(self.shared.limits.idle, body.frame()).await.map_err(|_late| {
                let message = "the body comes too slowly";
                Refusal::new(StatusCode::REQUEST_TIMEOUT, Code::ManifestInvalid, message)
            })?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| {
                let message = format!("the body broke off: {error}");
                Refusal::bad(Code::ManifestInvalid, message)
            })?;
            let data = frame.into_data().unwrap_or_default();
            if bytes.len() + data.len() > MANIFEST_MAX {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    /// DELETE of a tag, or of a manifest with all its tags.
    pub(super) async fn delete_manifest(&self, name: &str, target: &Target<'_>) -> Answer {
        let repository: Arc<str> = name.into();
        let by = self.store().by(&self.who.0);
        match target {
            Target::Tag(tag) => {
                let removed = (*tag).to_owned();
                let untag = move |change: &mut Change<'_>| {
                    change.untag(&repository, &removed, "delete", &by)
                };
                if !self.store().writer.run(untag).await? {
                    return Err(unknown(name, target));
                }
            }
            Target::Digest(digest) => {
                let digest = digest.clone();
                let remove = move |change: &mut Change<'_>| {
                    change.remove_manifest(&repository, &digest, "delete", &by)
                };
                self.store().writer.run(remove).await?;
            }
        }
        let (digest, tag) = match target {
            Target::Tag(tag) => (None, Some((*tag).to_owned())),
            Target::Digest(digest) => (Some(digest.clone()), None),
        };
        let (repository, who) = (name.to_owned(), self.who.clone());
        self.observe(&Event::Deleted { repository, digest, tag, who });
        Ok(empty(StatusCode::ACCEPTED))
    }
}

/// The digest of a manifest that says it has this one.
fn check(bytes: &[u8], digest: &Digest) -> Result<Digest, Refusal> {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *digest {
        return Ok(found);
    }
    Err(Refusal::bad(Code::DigestInvalid, format!("the manifest is {found}, not {digest}")))
}

fn unknown(name: &str, target: &Target<'_>) -> Refusal {
    let what = match target {
        Target::Tag(tag) => format!("tag `{tag}`"),
        Target::Digest(digest) => format!("manifest {digest}"),
    };
    Refusal::not_found(Code::ManifestUnknown, format!("repository `{name}` has no {what}"))
}
