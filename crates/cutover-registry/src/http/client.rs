//! [`Client`]: requests to one registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, LOCATION, RANGE, USER_AGENT};
use hyper::http::response::Parts;
use hyper::{Method, Request, StatusCode};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::connect::{Sender, connect, tls_config};
use super::{Address, proxy};
use crate::auth::{self, Challenge};
use crate::error::Cause;
use crate::options::Options;

/// Longest chain of redirects.
const MAX_REDIRECTS: usize = 5;
/// Longest token or error document that is read.
const MAX_SMALL: usize = 1 << 20;
const AGENT: &str = concat!("cutover/", env!("CARGO_PKG_VERSION"));

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) path: String,
    /// What it is, for messages, e.g. ``manifest `1.0` ``.
    pub(crate) what: String,
    pub(crate) accept: Option<&'static str>,
    /// Only the bytes from here on.
    pub(crate) from: u64,
}

/// A response whose head has come.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: Parts,
    /// Who sent it: after redirects not always the registry.
    pub(crate) host: String,
    body: Incoming,
    idle: Duration,
    /// Where the connection goes back to once the body is read.
    home: Option<(Arc<Pool>, Key, Sender)>,
}

type Key = (bool, String, u16);

/// Connections that wait for their next request.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<HashMap<Key, Vec<Sender>>>);

/// A client for one repository of one registry.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) base: Address,
    pub(crate) repository: String,
    options: Options,
    pool: Arc<Pool>,
    tls: OnceLock<Arc<ClientConfig>>,
    /// The `Authorization` header that the registry last asked for. Shared by all requests of the
    /// pull: they have the same scope.
    authorization: Mutex<Option<String>>,
    /// Held while credentials are renewed, so that parallel requests ask for one token.
    renewal: tokio::sync::Mutex<()>,
}

impl Pool {
    fn take(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(key)?;
        senders.retain(|sender| !sender.is_closed());
        senders.pop()
    }

    fn give(&self, key: Key, sender: Sender) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.entry(key).or_default().push(sender);
    }
}

impl Client {
    pub(crate) fn new(base: Address, repository: &str, options: Options) -> Self {
        Self {
            base,
            repository: repository.to_owned(),
            options,
            pool: Arc::new(Pool::default()),
            tls: OnceLock::new(),
            authorization: Mutex::new(None),
            renewal: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Asks the registry, proving who we are when it wants that. Any response but a success is an
    /// error with what the registry says about it.
    pub(crate) async fn get(&self, ask: &Ask) -> Result<Response, Cause> {
        let mut renewed = false;
        loop {
            let authorization = self.authorization();
            let response = self.follow(ask, authorization.as_deref()).await?;
            let status = response.head.status;
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                self.authenticate(response, authorization.as_deref()).await?;
                continue;
            }
            return Err(self.refusal(ask, response).await);
        }
    }

    fn authorization(&self) -> Option<String> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    // === authentication ===

    /// Does what a 401 asks for; `used` is what it was an answer to.
    async fn authenticate(&self, response: Response, used: Option<&str>) -> Result<(), Cause> {
        let headers: Vec<String> = response
            .head
            .headers
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        let message = error_message(&response.small_body().await?);
        let _renewing = self.renewal.lock().await;
        // another request may have done it meanwhile
        if self.authorization().as_deref() != used {
            return Ok(());
        }
        let header = match auth::best_challenge(headers.iter().map(String::as_str)) {
            Some(Challenge::Basic) => match &self.options.auth {
                Some(basic) if used.is_none() => auth::basic_header(basic),
                _ => return Err(self.denied(message)),
            },
            Some(Challenge::Bearer { realm, service, .. }) => {
                let token = self.token(&realm, service.as_deref()).await?;
                format!("Bearer {token}")
            }
            None => return Err(self.denied(message)),
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    /// A token to pull from the repository, from the server that the registry names.
    async fn token(&self, realm: &str, service: Option<&str>) -> Result<String, Cause> {
        let scope = format!("repository:{}:pull", self.repository);
        let protocol = |message: &str| Cause::Protocol {
            host: self.base.authority(),
            message: message.to_owned(),
        };
        let address = Address::parse(&auth::token_address(realm, service, &scope))
            .ok_or_else(|| protocol("its token server has no valid address"))?;
        if self.base.tls && !address.tls {
            return Err(protocol("its token server is not reached over HTTPS"));
        }
        let basic = self.options.auth.as_ref().map(auth::basic_header);
        let ask = Ask {
            path: address.path.clone(),
            what: "a token".to_owned(),
            accept: Some("application/json"),
            from: 0,
        };
        let response = self.send(&address, &ask, basic.as_deref()).await?;
        match response.head.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let message = error_message(&response.small_body().await?);
                return Err(self.denied(message));
            }
            _ => return Err(self.refusal(&ask, response).await),
        }
        let host = response.host.clone();
        let body = response.small_body().await?;
        let message = "the token server's answer has no token".to_owned();
        auth::parse_token(&body).ok_or(Cause::Protocol { host, message })
    }

    fn denied(&self, message: String) -> Cause {
        let message = if message.is_empty() { "unauthorized".to_owned() } else { message };
        let anonymous = self.options.auth.is_none();
        Cause::Denied { repository: self.repository.clone(), message, anonymous }
    }

    // === responses that are not what was asked for ===

    async fn refusal(&self, ask: &Ask, response: Response) -> Cause {
        let status = response.head.status;
        let host = response.host.clone();
        let retry_after = response
            .head
            .headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let message = response.small_body().await.map(|body| error_message(&body));
        let message = message.unwrap_or_default();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(message),
            StatusCode::NOT_FOUND => Cause::NotFound {
                repository: self.repository.clone(),
                what: ask.what.clone(),
                message,
            },
            StatusCode::TOO_MANY_REQUESTS => Cause::RateLimited { host, message, retry_after },
            _ => Cause::Status { host, what: ask.what.clone(), status: status.as_u16(), message },
        }
    }

    // === one request ===

    /// Sends the request along redirects. Only the registry itself sees `authorization`.
    async fn follow(&self, ask: &Ask, authorization: Option<&str>) -> Result<Response, Cause> {
        let mut address = self.base.at(&ask.path);
        for _ in 0..=MAX_REDIRECTS {
            let authorization = authorization.filter(|_| address.same_origin(&self.base));
            let response = self.send(&address, ask, authorization).await?;
            if !matches!(response.head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response.head.headers.get(LOCATION).and_then(|it| it.to_str().ok());
            let next = location.and_then(|location| address.join(location));
            let protocol = |message: &str| Cause::Protocol {
                host: address.authority(),
                message: message.to_owned(),
            };
            let next = next.ok_or_else(|| protocol("it redirects to no valid address"))?;
            if address.tls && !next.tls {
                return Err(protocol("it redirects from HTTPS to plain HTTP"));
            }
            // the connection can only be used again once the body is out of the way
            response.small_body().await?;
            address = next;
        }
        let message = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(Cause::Protocol { host: self.base.authority(), message })
    }

    /// Sends one request, over a connection that is open already if there is one.
    pub(crate) async fn send(
        &self,
        address: &Address,
        ask: &Ask,
        authorization: Option<&str>,
    ) -> Result<Response, Cause> {
        let key = (address.tls, address.host.clone(), address.port);
        while let Some(sender) = self.pool.take(&key) {
            // the other side may have closed it meanwhile: then it has not seen the request
            match self.exchange(address, ask, authorization, sender, key.clone()).await {
                Err(Cause::Broken { .. }) => {}
                other => return other,
            }
        }
        let sender = self.connect(address).await?;
        self.exchange(address, ask, authorization, sender, key).await
    }

    async fn connect(&self, address: &Address) -> Result<Sender, Cause> {
        let proxy = proxy::choose(&self.options.proxies, address)?;
        let tls = match self.tls.get() {
            Some(config) => Some(config),
            None if address.tls => {
                let config = tls_config(&self.options.ca)?;
                Some(self.tls.get_or_init(|| config))
            }
            None => None,
        };
        let after = self.options.limits.connect;
        match timeout(after, connect(address, proxy.as_ref(), tls)).await {
            Ok(result) => result,
            Err(_elapsed) => {
                let host = proxy.map_or_else(|| address.authority(), |proxy| proxy.name());
                Err(Cause::Timeout { host, what: "accept a connection", after })
            }
        }
    }

    async fn exchange(
        &self,
        address: &Address,
        ask: &Ask,
        authorization: Option<&str>,
        mut sender: Sender,
        key: Key,
    ) -> Result<Response, Cause> {
        let host = address.authority();
        let proxy = proxy::choose(&self.options.proxies, address)?.filter(|_| !address.tls);
        let request = request(address, ask, authorization, proxy.as_ref())?;
        let after = self.options.limits.idle;
        let exchange = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let response = match timeout(after, exchange).await {
            Ok(Ok(response)) => response,
            Ok(Err(source)) => return Err(Cause::Broken { host, source }),
            Err(_elapsed) => return Err(Cause::Timeout { host, what: "answer", after }),
        };
        let (head, body) = response.into_parts();
        let home = Some((Arc::clone(&self.pool), key, sender));
        Ok(Response { head, host, body, idle: after, home })
    }
}

fn request(
    address: &Address,
    ask: &Ask,
    authorization: Option<&str>,
    proxy: Option<&proxy::Proxy>,
) -> Result<Request<Full<Bytes>>, Cause> {
    // a proxy for plain HTTP is given the whole address
    let target = if proxy.is_some() { address.to_string() } else { address.path.clone() };
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(target)
        .header(HOST, address.authority())
        .header(USER_AGENT, AGENT);
    if let Some(accept) = ask.accept {
        request = request.header(ACCEPT, accept);
    }
    if ask.from > 0 {
        request = request.header(RANGE, format!("bytes={}-", ask.from));
    }
    let secret = |text: &str| {
        HeaderValue::from_str(text).map(|mut value| {
            value.set_sensitive(true);
            value
        })
    };
    let invalid = || Cause::Protocol {
        host: address.authority(),
        message: "its address cannot be asked for".to_owned(),
    };
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, secret(authorization).ok().ok_or_else(invalid)?);
    }
    if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.as_deref()) {
        let value = secret(authorization).ok().ok_or_else(invalid)?;
        request = request.header("proxy-authorization", value);
    }
    request.body(Full::new(Bytes::new())).ok().ok_or_else(invalid)
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            let frame = match timeout(self.idle, self.body.frame()).await {
                Ok(frame) => frame,
                Err(_elapsed) => {
                    let (host, after) = (self.host.clone(), self.idle);
                    return Err(Cause::Timeout { host, what: "send more", after });
                }
            };
            match frame {
                None => {
                    if let Some((pool, key, sender)) = self.home.take() {
                        pool.give(key, sender);
                    }
                    return Ok(None);
                }
                Some(Err(source)) => {
                    return Err(Cause::Broken { host: self.host.clone(), source });
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, refused when it is longer than `max`.
    pub(crate) async fn body(mut self, max: u64, what: &str) -> Result<Vec<u8>, Cause> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > max {
                let size = self.header("content-length").and_then(|it| it.parse().ok());
                let size = size.unwrap_or(body.len() as u64);
                return Err(Cause::TooLarge { what: what.to_owned(), size, max });
            }
        }
        Ok(body)
    }

    async fn small_body(self) -> Result<Vec<u8>, Cause> {
        self.body(MAX_SMALL as u64, "the answer").await
    }
}

/// The messages of a registry's error document, or nothing.
fn error_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<One>,
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(Errors { errors, details }) = serde_json::from_slice(body) else {
        return String::new();
    };
    let one = |One { code, message }: One| if message.is_empty() { code } else { message };
    let texts: Vec<String> = errors.into_iter().map(one).chain(details).collect();
    let text: String = texts.join(", ");
    // it comes from outside and is shown on a terminal
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::error_message;

    #[test]
    fn error_documents() {
        let check =
            |body: &str, expected: &str| assert_eq!(error_message(body.as_bytes()), expected);
        check(r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}"#, "no, X");
        check(r#"{"details":"incorrect username or password"}"#, "incorrect username or password");
        check("<html>", "");
        check("{\"errors\":[{\"message\":\"a\\u001b[31mb\"}]}", "a[31mb");
    }
}
