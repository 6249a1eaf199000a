//! What the proxy itself answers: plain text that says what is wrong and who is not to blame.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use crate::head::Refused;
use crate::target::Target;

/// An answer of the proxy's own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    text: String,
    retry_after: Option<u64>,
}

impl Page {
    fn new(status: StatusCode, text: String) -> Self {
        Self { status, text, retry_after: None }
    }

    /// No service has this host and path.
    pub(crate) fn no_route(host: &str, path: &str) -> Self {
        let text = format!("no service has a route for host `{host}` and path `{path}`");
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// There may be a route, but the routes were lost.
    pub(crate) fn routes_lost() -> Self {
        let text = "the proxy has lost its routes and waits for the agent to send them again";
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text.into()) }
    }

    pub(crate) fn no_target(service: &str) -> Self {
        let text = format!("service `{service}` has no running instance");
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    /// Held requests are bounded in number and time.
    pub(crate) fn held(service: &str, why: &str) -> Self {
        let text = format!("service `{service}` is being replaced, and {why}");
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    pub(crate) fn bad_gateway(target: &Target, why: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, about(target, why))
    }

    /// The client's fault, whatever the target made of it.
    pub(crate) fn broken_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the request's body is broken".into())
    }

    pub(crate) fn gateway_timeout(target: &Target, why: &str) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, about(target, why))
    }

    /// The whole response body.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let code = self.status.as_u16();
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let body = Bytes::from(format!("{code} {reason}\n\n{}\n", self.text));
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Refused> for Page {
    fn from(refused: Refused) -> Self {
        Self::new(refused.status, refused.reason.to_owned())
    }
}

fn about(target: &Target, why: &str) -> String {
    format!("instance `{}` of release {} {why}", target.id, target.release)
}
