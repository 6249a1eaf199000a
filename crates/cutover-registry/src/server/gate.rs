//! The seam: who may do what, and who is told what happened.
//!
//! The server asks its [`Gate`] before it does anything, and tells it of everything that it has
//! done. Access control, the access log, metrics and webhooks live behind it and know nothing of
//! the storage; the server knows nothing of them.

use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cutover_core::digest::Digest;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::body::Body;
use super::refusal::Refusal;

/// What a request wants to do with a repository (or, without one, with the registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `GET /v2/`: anybody who is somebody.
    Ping,
    /// The list of all repositories.
    Catalog,
    Pull,
    Push,
    Delete,
}

/// A request before it is served.
#[derive(Debug)]
pub struct Ask<'a> {
    pub head: &'a Parts,
    pub peer: IpAddr,
    pub action: Action,
    /// The repository; `None` for [`Action::Ping`] and [`Action::Catalog`].
    pub repository: Option<&'a str>,
}

/// Who sent a request, as far as is known. Histories keep the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who(pub Arc<str>);

impl Who {
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }
}

/// What happened in a repository.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request was answered. `bytes` is the size of the answer's body as announced.
    Served {
        method: Method,
        path: String,
        agent: Option<String>,
        peer: IpAddr,
        who: Who,
        status: StatusCode,
        bytes: u64,
        took: Duration,
    },
    /// A manifest is stored, and these tags point to it now.
    Pushed {
        repository: String,
        digest: Digest,
        media_type: String,
        tags: Vec<String>,
        who: Who,
    },
    Pulled {
        repository: String,
        digest: Digest,
        tag: Option<String>,
        who: Who,
    },
    Deleted {
        repository: String,
        digest: Option<Digest>,
        tag: Option<String>,
        who: Who,
    },
    Uploaded {
        repository: String,
        digest: Digest,
        size: u64,
        who: Who,
    },
    Mounted {
        repository: String,
        digest: Digest,
        who: Who,
    },
}

pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<Who, Refusal>> + Send + 'a>>;

pub type Other<'a> =
    Pin<Box<dyn Future<Output = Option<Result<(Who, Response<Body>), Refusal>>> + Send + 'a>>;

/// Access control and observers.
pub trait Gate: Debug + Send + Sync {
    /// Who this is, or why the request is refused (401 with its challenge, 403, 429).
    fn authorize<'a>(&'a self, ask: &'a Ask<'a>) -> Verdict<'a>;

    /// Something has happened. Must not block: it is called where requests are served.
    fn observe(&self, event: &Event);

    /// Answers a request whose path is none of the API's; `None` when there is no such path.
    fn other<'a>(
        &'a self,
        _head: &'a Parts,
        _peer: IpAddr,
        _body: &'a mut Option<Incoming>,
    ) -> Other<'a> {
        Box::pin(async { None })
    }
}

/// Everybody may do everything, and nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Gate for Open {
    fn authorize<'a>(&'a self, _ask: &'a Ask<'a>) -> Verdict<'a> {
        Box::pin(async { Ok(Who::anonymous()) })
    }

    fn observe(&self, _event: &Event) {}
}
