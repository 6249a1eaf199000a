//! [`Download`]: a GET along redirects, its body straight to a writer.

use std::io::Write;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, ETAG, HOST, HeaderName, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::body::Body;
use super::connect::{connect, tls_config};
use super::{Address, Payload, proxy};
use crate::auth::base64;
use crate::error::Cause;
use crate::fetch::{Fetch, Fetched};

/// As Go's client.
const MAX_REDIRECTS: usize = 10;
const AGENT: &str = concat!("cutover/", env!("CARGO_PKG_VERSION"));

/// One attempt.
#[derive(Debug)]
pub(crate) struct Download<'a> {
    ask: &'a Fetch<'a>,
    start: Address,
    authorization: Option<String>,
    tls: Arc<ClientConfig>,
    written: u64,
}

impl<'a> Download<'a> {
    pub(crate) fn new(ask: &'a Fetch<'a>) -> Result<Self, Cause> {
        let (bare, user) = without_user(ask.url);
        let start = Address::parse(&bare).ok_or_else(|| Cause::Protocol {
            host: bare.clone(),
            message: "it is no address of a file".to_owned(),
        })?;
        let given = ask.authorization.map(str::to_owned);
        let basic = || user.map(|user| format!("Basic {}", base64(user.as_bytes())));
        let authorization = given.or_else(basic);
        Ok(Self { ask, start, authorization, tls: tls_config(&ask.tls)?, written: 0 })
    }

    pub(crate) fn has_written(&self) -> bool {
        self.written > 0
    }

    pub(crate) async fn run(&mut self, to: &mut (dyn Write + Send)) -> Result<Fetched, Cause> {
        let mut address = self.start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask_at(&address).await?;
            if matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                let location = response.headers().get(LOCATION).and_then(|it| it.to_str().ok());
                let next = location.and_then(|location| address.join(location));
                address = next.ok_or_else(|| Cause::Protocol {
                    host: address.authority(),
                    message: "it redirects to no valid address".to_owned(),
                })?;
                continue;
            }
            return self.take(response, &address, to).await;
        }
        let message = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(Cause::Protocol { host: self.start.authority(), message })
    }

    async fn ask_at(&self, address: &Address) -> Result<Response<Incoming>, Cause> {
        let limits = self.ask.limits;
        let proxy = proxy::choose(&self.ask.proxies, address)?;
        let tls = address.tls.then_some(&self.tls);
        let connected = timeout(limits.connect, connect(address, proxy.as_ref(), tls)).await;
        let host = address.authority();
        let mut sender = match connected {
            Ok(sender) => sender?,
            Err(_elapsed) => {
                let (what, after) = ("accept a connection", limits.connect);
                return Err(Cause::Timeout { host, what, after });
            }
        };
        let request = self.request(address, proxy.as_ref().filter(|_| !address.tls))?;
        let exchange = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        match timeout(limits.idle, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(Cause::Broken { host, source }),
            Err(_elapsed) => Err(Cause::Timeout { host, what: "answer", after: limits.idle }),
        }
    }

    fn request(
        &self,
        address: &Address,
        proxy: Option<&proxy::Proxy>,
    ) -> Result<Request<Body>, Cause> {
        let target = if proxy.is_some() { address.to_string() } else { address.path.clone() };
        let own = address.same_origin(&self.start);
        let via = proxy.and_then(|proxy| proxy.authorization.as_deref());
        let headers: [(HeaderName, Option<&str>); 3] = [
            (AUTHORIZATION, self.authorization.as_deref().filter(|_| own)),
            (IF_NONE_MATCH, self.ask.etag),
            (HeaderName::from_static("proxy-authorization"), via),
        ];
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(target)
            .header(HOST, address.authority())
            .header(USER_AGENT, AGENT);
        for (name, value) in headers {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                request = request.header(name, value);
            }
        }
        request.body(Payload::None.body()).map_err(|error| Cause::Protocol {
            host: address.authority(),
            message: error.to_string(),
        })
    }

    async fn take(
        &mut self,
        response: Response<Incoming>,
        address: &Address,
        to: &mut (dyn Write + Send),
    ) -> Result<Fetched, Cause> {
        let header = |name: HeaderName| {
            response.headers().get(name).and_then(|it| it.to_str().ok()).map(str::to_owned)
        };
        let etag = header(ETAG);
        let mut fetched = Fetched { unchanged: false, etag, last_modified: header(LAST_MODIFIED) };
        let (host, status) = (address.authority(), response.status());
        // Some servers send what we have though they were told.
        let same = self.ask.etag.is_some() && self.ask.etag == fetched.etag.as_deref();
        fetched.unchanged = status == StatusCode::NOT_MODIFIED && self.ask.etag.is_some()
            || status == StatusCode::OK && same;
        if fetched.unchanged {
            return Ok(fetched);
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = header(hyper::header::RETRY_AFTER).and_then(|it| it.trim().parse().ok());
            let retry_after = seconds.map(std::time::Duration::from_secs);
            return Err(Cause::RateLimited { host, message: String::new(), retry_after });
        }
        if status != StatusCode::OK {
            let what = format!("`{}`", address.path.split('?').next().unwrap_or_default());
            let status = status.as_u16();
            return Err(Cause::Status { host, what, status, message: String::new() });
        }
        let expected = header(hyper::header::CONTENT_LENGTH).and_then(|it| it.parse().ok());
        self.check(expected.unwrap_or(0))?;
        let mut body = response.into_body();
        loop {
            let after = self.ask.limits.idle;
            let frame = match timeout(after, body.frame()).await {
                Ok(None) => break,
                Ok(Some(frame)) => frame,
                Err(_elapsed) => return Err(Cause::Timeout { host, what: "send more", after }),
            };
            let frame = frame.map_err(|source| Cause::Broken { host: host.clone(), source })?;
            let Ok(data) = frame.into_data() else { continue };
            self.written += data.len() as u64;
            self.check(self.written)?;
            to.write_all(&data).map_err(Cause::Write)?;
        }
        match expected {
            Some(expected) if expected != self.written => {
                Err(Cause::Short { host, got: self.written, expected })
            }
            _ => Ok(fetched),
        }
    }

    fn check(&self, size: u64) -> Result<(), Cause> {
        let max = self.ask.max;
        let what = format!("`{}`", self.start.path.split('?').next().unwrap_or_default());
        if size > max { Err(Cause::TooLarge { what, size, max }) } else { Ok(()) }
    }
}

/// The address without `user:password@`, and those.
fn without_user(url: &str) -> (String, Option<String>) {
    let url = url.split('#').next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        None => (url.to_owned(), None),
        Some((user, host)) => {
            let user = String::from_utf8_lossy(&proxy::percent_decode(user)).into_owned();
            (format!("{scheme}://{host}{}", &rest[end..]), Some(user))
        }
    }
}
