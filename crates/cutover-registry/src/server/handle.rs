//! One request: what it means, whether it may, what it does, and the answer.

mod blobs;
mod manifests;
mod tags;
mod uploads;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::gate::{Action, Ask, Event, Gate, Who};
use super::refusal::{Code, Refusal};
use super::route::Route;
use super::store::Store;
use super::upload::{Limits, discard};

pub(super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) tls: Option<super::tls::Tls>,
    pub(super) limits: Limits,
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    pub(super) head: &'a Parts,
    pub(super) peer: IpAddr,
    pub(super) who: Who,
}

pub(super) type Answer = Result<Response<Body>, Refusal>;

/// Serves one request.
pub(super) async fn handle(
    shared: Arc<Shared>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let mut body = Some(body);
    let (who, answer) = serve(&shared, &head, peer, &mut body).await;
    let mut response = match answer {
        Ok(response) => response,
        Err(refusal) => {
            let rest = body.take().filter(|body| !body.is_end_stream());
            let unread = match rest {
                Some(rest) => !discard(rest, shared.limits.idle).await,
                None => false,
            };
            let mut response = refusal.response();
            if unread {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    shared.gate.observe(&Event::Served {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        agent: text_of(head.headers.get(USER_AGENT)).map(str::to_owned),
        peer,
        who,
        status: response.status(),
        bytes: response.body().size_hint().exact().unwrap_or(0),
        took: begun.elapsed(),
    });
    response
}

async fn serve(
    shared: &Shared,
    head: &Parts,
    peer: IpAddr,
    body: &mut Option<Incoming>,
) -> (Who, Answer) {
    let nobody = Who::anonymous;
    let route = match Route::parse(head.uri.path()) {
        Some(Ok(route)) => route,
        Some(Err(refusal)) => return (nobody(), Err(refusal)),
        None => {
            match shared.gate.other(head, peer, body).await {
                Some(Ok((who, response))) => return (who, Ok(response)),
                Some(Err(refusal)) => return (nobody(), Err(refusal)),
                None => {}
            }
            let message = "this is no path of the distribution specification";
            return (nobody(), Err(Refusal::not_found(Code::Unsupported, message)));
        }
    };
    if !route.methods().contains(&head.method) {
        return (nobody(), Err(wrong_method(&route)));
    }
    let (action, repository) = needs(&route, &head.method);
    let ask = Ask { head, peer, action, repository };
    let who = match shared.gate.authorize(&ask).await {
        Ok(who) => who,
        Err(refusal) => return (nobody(), Err(refusal)),
    };
    let writes = matches!(action, Action::Push | Action::Delete);
    if writes && shared.store.policy.read_only {
        let message = "the registry is read-only";
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, message);
        return (who, Err(refusal));
    }
    let call = Call { shared, head, peer, who: who.clone() };
    (who, call.answer(&route, body).await)
}

fn wrong_method(route: &Route<'_>) -> Refusal {
    let methods: Vec<&str> = route.methods().iter().map(Method::as_str).collect();
    let methods = methods.join(", ");
    let message = format!("this path takes {methods}");
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, message);
    match HeaderValue::from_str(&methods) {
        Ok(allow) => refusal.with(ALLOW, allow),
        Err(_) => refusal,
    }
}

/// What a request needs to be allowed.
fn needs<'a>(route: &Route<'a>, method: &Method) -> (Action, Option<&'a str>) {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match route {
        Route::Ping => (Action::Ping, None),
        Route::Catalog => (Action::Catalog, None),
        Route::Tags { name } | Route::Referrers { name, .. } | Route::History { name } => {
            (Action::Pull, Some(name))
        }
        // a client cancels what it pushes
        Route::Uploads { name } | Route::Upload { name, .. } => (Action::Push, Some(name)),
        Route::Manifest { name, .. } | Route::Blob { name, .. } => {
            let writes = if *method == Method::DELETE { Action::Delete } else { Action::Push };
            (if reads { Action::Pull } else { writes }, Some(name))
        }
    }
}

impl Call<'_> {
    async fn answer(&self, route: &Route<'_>, body: &mut Option<Incoming>) -> Answer {
        match route {
            Route::Ping => Ok(json("{}")),
            Route::Catalog => self.catalog().await,
            Route::Tags { name } => self.tags(name),
            Route::Referrers { name, digest } => self.referrers(name, digest),
            Route::History { name } => self.history(name).await,
            Route::Blob { name, digest } => match self.head.method {
                Method::DELETE => self.delete_blob(name, digest).await,
                _ => self.blob(name, digest),
            },
            Route::Manifest { name, target } => match self.head.method {
                Method::PUT => self.put_manifest(name, target, body).await,
                Method::DELETE => self.delete_manifest(name, target).await,
                _ => self.manifest(name, target).await,
            },
            Route::Uploads { name } => self.begin_upload(name, body).await,
            Route::Upload { name, id } => self.upload(name, id, body).await,
        }
    }

    fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    /// The first value of a query's key.
    fn parameter(&self, key: &str) -> Option<String> {
        super::route::query(self.query(), key).next().map(std::borrow::Cow::into_owned)
    }

    fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        text_of(self.head.headers.get(name))
    }

    fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.parse().ok()
    }

    fn observe(&self, event: &Event) {
        self.shared.gate.observe(event);
    }
}

fn text_of(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer in JSON.
pub(super) fn json(text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(text.into()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

/// A value that was made of checked names.
pub(super) fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_odd| HeaderValue::from_static(""))
}

/// How long a client may be silent in the middle of a body, unless told otherwise.
pub(super) const IDLE: Duration = Duration::from_secs(30);
