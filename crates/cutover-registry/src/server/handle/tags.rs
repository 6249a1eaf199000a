//! Lists: tags, repositories, referrers, and the history of tags.

use std::ops::Bound;

use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use serde::Serialize;
use serde_json::value::RawValue;

use cutover_core::digest::Digest;
use cutover_core::oci::media_type;

use super::{Answer, Call, header, json};
use crate::server::body::Body;
use crate::server::change::name_unknown;
use crate::server::gate::{Action, Ask};
use crate::server::history;
use crate::server::refusal::{Code, Refusal};
use crate::server::route::escape;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Entries of a list that is asked for without a number.
const PAGE: usize = 10_000;
/// Repositories on a page.
const CATALOG_PAGE: usize = 1_000;
/// Bytes of a page of referrers, which is a manifest, too.
const REFERRERS_MAX: usize = 4 << 20;

/// `n` and `last` of a list.
struct Page {
    count: usize,
    last: Option<String>,
}

impl Call<'_> {
    fn page(&self, most: usize) -> Result<Page, Refusal> {
        let count = match self.parameter("n") {
            None => most,
            Some(text) => match text.parse::<usize>() {
                Ok(count) => count.min(most),
                // more than fits is as much as there is
                Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => most,
                Err(_) => {
                    return Err(Refusal::bad(Code::Unsupported, "`n` is not a number"));
                }
            },
        };
        Ok(Page { count, last: self.parameter("last") })
    }

    /// GET of a repository's tags, in ASCII order.
    pub(super) fn tags(&self, name: &str) -> Answer {
        #[derive(Serialize)]
        struct List<'a> {
            name: &'a str,
            tags: Vec<&'a str>,
        }
        let page = self.page(PAGE)?;
        let index = self.store().index();
        let repository = index.repository(name).ok_or_else(|| name_unknown(name))?;
        let from = page.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = repository.tags.range::<str, _>((from, Bound::Unbounded));
        let tags: Vec<&str> = rest.by_ref().take(page.count).map(|(tag, _)| &**tag).collect();
        let last = tags.last().copied().filter(|_| rest.next().is_some());
        let link = last.map(|last| next(&format!("/v2/{name}/tags/list"), page.count, last));
        listed(&List { name, tags }, link)
    }

    /// GET of all repositories that the client may read.
    pub(super) async fn catalog(&self) -> Answer {
        #[derive(Serialize)]
        struct List {
            repositories: Vec<String>,
        }
        let page = self.page(CATALOG_PAGE)?;
        let (mut repositories, mut from, mut more) = (Vec::new(), page.last, false);
        loop {
            let name = self.repository_after(from.as_deref()).filter(|_| page.count > 0);
            let Some(name) = name else { break };
            let (action, repository) = (Action::Pull, Some(&*name));
            let ask = Ask { head: self.head, peer: self.peer, action, repository };
            if self.shared.gate.authorize(&ask).await.is_ok() {
                if repositories.len() == page.count {
                    more = true;
                    break;
                }
                repositories.push(name.clone());
            }
            from = Some(name);
        }
        let last = repositories.last().filter(|_| more);
        let link = last.map(|last| next("/v2/_catalog", page.count, last));
        listed(&List { repositories }, link)
    }

    /// The first repository after this one that has something.
    fn repository_after(&self, last: Option<&str>) -> Option<String> {
        let index = self.store().index();
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = index.repositories.range::<str, _>((from, Bound::Unbounded));
        let found = rest.find(|(_, it)| !it.manifests.is_empty() || !it.blobs.is_empty());
        found.map(|(name, _)| name.clone())
    }

    /// GET of the manifests whose subject is this digest.
    pub(super) fn referrers(&self, name: &str, subject: &Digest) -> Answer {
        let wanted = self.parameter("artifactType").filter(|it| !it.is_empty());
        let last = self.parameter("last").and_then(|text| text.parse::<Digest>().ok());
        let index = self.store().index();
        let repository = index.repository(name);
        let referrers = repository.and_then(|it| it.referrers.get(subject));
        let (mut manifests, mut size, mut more) = (Vec::new(), 0, false);
        let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = referrers.map(|it| it.range((from, Bound::Unbounded)));
        for digest in rest.into_iter().flatten() {
            let Some(it) = repository.and_then(|it| it.manifests.get(digest)) else { continue };
            if wanted.is_some() && wanted != it.artifact_type {
                continue;
            }
            let referrer = Referrer {
                media_type: it.media_type.to_str().unwrap_or_default(),
                size: it.size,
                digest,
                artifact_type: it.artifact_type.as_deref(),
                annotations: it.annotations.as_deref(),
            };
            size += 300 + referrer.annotations.map_or(0, |raw| raw.get().len());
            if size > REFERRERS_MAX && !manifests.is_empty() {
                more = true;
                break;
            }
            manifests.push(referrer);
        }
        let link = manifests.last().filter(|_| more).map(|last| {
            let filter = wanted.as_deref().map(|it| format!("&artifactType={}", escape(it)));
            let (last, filter) = (escape(last.digest.as_str()), filter.unwrap_or_default());
            format!("</v2/{name}/referrers/{subject}?last={last}{filter}>; rel=\"next\"")
        });
        let media_type = media_type::OCI_INDEX;
        let mut response = listed(&Referrers { schema_version: 2, media_type, manifests }, link)?;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::OCI_INDEX));
        if wanted.is_some() {
            headers.insert(FILTERS, HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }

    /// GET of what a repository's tags were, the newest first.
    pub(super) async fn history(&self, name: &str) -> Answer {
        let page = self.page(CATALOG_PAGE)?;
        let (tag, last) = (self.parameter("tag"), page.last);
        let last = last.map(|text| text.parse::<i64>()).transpose();
        let last =
            last.map_err(|_odd| Refusal::bad(Code::Unsupported, "`last` is not an entry"))?;
        if self.store().index().repository(name).is_none() {
            return Err(name_unknown(name));
        }
        let (store, name) = (std::sync::Arc::clone(self.store()), name.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let filter = history::Filter { tag: tag.as_deref(), before: last, count: page.count };
            store.readers.with(|db| history::read(db, &name, &filter)).map(|list| (name, list))
        });
        let read = read.await.map_err(|panic| Refusal::internal("read the history", &panic))?;
        let (name, entries) =
            read.map_err(|error| Refusal::internal("read the history", &error))?;
        let last = entries.last().filter(|_| entries.len() == page.count).map(|it| it.id);
        let link = last.map(|last| {
            next(&format!("/v2/{name}/_cutover/tags/history"), page.count, &last.to_string())
        });
        #[derive(Serialize)]
        struct List {
            name: String,
            history: Vec<history::Entry>,
        }
        listed(&List { name, history: entries }, link)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Referrers<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: Vec<Referrer<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Referrer<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a RawValue>,
}

fn next(path: &str, count: usize, last: &str) -> String {
    format!("<{path}?n={count}&last={}>; rel=\"next\"", escape(last))
}

fn listed(list: &impl Serialize, link: Option<String>) -> Result<Response<Body>, Refusal> {
    let text = serde_json::to_vec(list);
    let text = text.map_err(|error| Refusal::internal("write a list", &error))?;
    let mut response = json(text);
    if let Some(link) = link {
        response.headers_mut().insert(LINK, header(&link));
    }
    Ok(response)
}
