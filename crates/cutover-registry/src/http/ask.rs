//! [`Ask`]: one request before it is sent, so that it can be sent again.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;

use super::Address;
use super::body::{Body, Sent};

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// What it is, for messages, e.g. ``manifest `1.0` ``.
    pub(crate) what: String,
    pub(crate) accept: Option<&'static str>,
    /// Only the bytes from here on.
    pub(crate) from: u64,
    /// Headers besides the usual ones.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Payload,
    /// What a token must allow besides the client's own scope.
    pub(crate) scope: Option<String>,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A path of the registry.
    Path(String),
    /// What a registry named by `Location`.
    At(Address),
}

/// The bytes that go with a request. Each attempt sends them from the start.
#[derive(Clone, Debug, Default)]
pub(crate) enum Payload {
    #[default]
    None,
    Bytes(Bytes),
    /// `size` bytes of a file, from `at` on.
    File {
        file: Arc<File>,
        at: u64,
        size: u64,
        sent: Sent,
    },
    /// What another connection brings; can be sent once.
    Stream(super::body::Source),
}

impl Ask {
    pub(crate) fn new(method: Method, target: Target, what: impl Into<String>) -> Self {
        Self {
            method,
            target,
            what: what.into(),
            accept: None,
            from: 0,
            headers: Vec::new(),
            payload: Payload::None,
            scope: None,
        }
    }

    pub(crate) fn get(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Method::GET, Target::Path(path.into()), what)
    }

    pub(crate) fn head(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Method::HEAD, Target::Path(path.into()), what)
    }

    pub(crate) fn accept(self, accept: &'static str) -> Self {
        Self { accept: Some(accept), ..self }
    }

    pub(crate) fn from(self, from: u64) -> Self {
        Self { from, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn payload(self, payload: Payload) -> Self {
        Self { payload, ..self }
    }

    pub(crate) fn scope(self, scope: String) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// Where it goes first, for a registry at `base`.
    pub(super) fn address(&self, base: &Address) -> Address {
        match &self.target {
            Target::Path(path) => base.at(path),
            Target::At(address) => address.clone(),
        }
    }

    /// Whether sending it twice does what sending it once does, and it can be sent twice.
    pub(super) fn can_repeat(&self) -> bool {
        !matches!(self.payload, Payload::Stream(_))
    }
}

impl Payload {
    pub(super) fn body(&self) -> Body {
        match self {
            Self::None => Body::Bytes(None),
            Self::Bytes(bytes) => Body::Bytes(Some(bytes.clone())),
            Self::File { file, at, size, sent } => {
                Body::File { file: Arc::clone(file), at: *at, left: *size, sent: sent.clone() }
            }
            Self::Stream(source) => Body::Stream(source.take()),
        }
    }
}
