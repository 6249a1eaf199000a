//! [`Client`]: requests to one registry.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue, LOCATION, RANGE, USER_AGENT,
};
use hyper::{Method, Request, StatusCode};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::body::{Body, Sent};
use super::cache::{Tokens, Whom};
use super::connect::{Sender, connect, tls_config};
use super::pool::{Key, Pool};
use super::response::error_message;
use super::{Address, Ask, Response, proxy};
use crate::credential::Credential;
use crate::error::Cause;
use crate::options::Options;

/// Longest chain of redirects.
const MAX_REDIRECTS: usize = 5;
const AGENT: &str = concat!("cutover/", env!("CARGO_PKG_VERSION"));

/// A client for one repository of one registry.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) base: Address,
    /// The registry's name, as the user and credentials have it.
    pub(super) host: String,
    pub(crate) repository: String,
    /// What its tokens must allow.
    pub(super) scope: String,
    pub(super) options: Options,
    pool: Arc<Pool>,
    tls: OnceLock<Arc<ClientConfig>>,
    /// The same header for everything: credentials are not kept from call to call.
    pub(super) fixed: Mutex<Option<String>>,
    pub(super) tokens: Arc<Mutex<Tokens>>,
    pub(super) credential: OnceLock<Option<Credential>>,
    /// Held while credentials are renewed, so that parallel requests ask for one token.
    pub(super) renewal: tokio::sync::Mutex<()>,
}

impl Client {
    /// `rights` are a token's words: `pull`, `pull,push`. Without a repository nothing is asked
    /// for but to be let in.
    pub(crate) fn new(
        base: Address,
        host: &str,
        repository: &str,
        rights: &str,
        options: Options,
    ) -> Self {
        let scope = match repository {
            "" => String::new(),
            repository => format!("repository:{repository}:{rights}"),
        };
        let scheme = if base.tls { "https" } else { "http" };
        let tokens = options.tokens.tokens(Whom {
            origin: format!("{scheme}://{}", base.authority()),
            auth: options.auth.clone(),
            name: host.to_owned(),
        });
        Self {
            base,
            host: host.to_owned(),
            repository: repository.to_owned(),
            scope,
            options,
            pool: Arc::new(Pool::default()),
            tls: OnceLock::new(),
            fixed: Mutex::default(),
            tokens,
            credential: OnceLock::new(),
            renewal: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Asks the registry, proving who we are when it wants that. Any response but a success is an
    /// error with what the registry says about it.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Response, Cause> {
        let scope = self.scope_of(ask);
        self.prepare(&scope).await?;
        let mut renewed = false;
        loop {
            let authorization = self.authorization(&scope);
            let response = self.follow(ask, authorization.as_deref()).await?;
            let status = response.head.status;
            if status.is_success() {
                return Ok(response);
            }
            let ours = response.address.same_origin(&self.base);
            if status == StatusCode::UNAUTHORIZED && !renewed && ours && ask.can_repeat() {
                renewed = true;
                self.authenticate(response, authorization.as_deref(), &scope).await?;
                continue;
            }
            return Err(self.refusal(ask, response).await);
        }
    }

    /// What a response that is not what was asked for means.
    pub(super) async fn refusal(&self, ask: &Ask, response: Response) -> Cause {
        let status = response.head.status;
        let host = response.host.clone();
        let retry_after = response.retry_after();
        let message = response.small_body().await.map(|body| error_message(&body));
        let message = message.unwrap_or_default();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(message).await,
            StatusCode::NOT_FOUND => Cause::NotFound {
                repository: self.repository.clone(),
                what: ask.what.clone(),
                message,
            },
            StatusCode::TOO_MANY_REQUESTS => Cause::RateLimited { host, message, retry_after },
            StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
                Cause::Unavailable { host, message, retry_after }
            }
            _ => Cause::Status { host, what: ask.what.clone(), status: status.as_u16(), message },
        }
    }

    /// Sends the request along redirects. Only the registry itself sees `authorization`.
    async fn follow(&self, ask: &Ask, authorization: Option<&str>) -> Result<Response, Cause> {
        let mut address = ask.address(&self.base);
        for _ in 0..=MAX_REDIRECTS {
            let authorization = authorization.filter(|_| address.same_origin(&self.base));
            let response = self.send(&address, ask, authorization).await?;
            let status = response.head.status.as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
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
            let reads = matches!(ask.method, Method::GET | Method::HEAD);
            if !reads && (!matches!(status, 307 | 308) || !ask.can_repeat()) {
                return Err(protocol("it redirects what is sent in a way that loses it"));
            }
            // the connection can only be used again once the body is out of the way
            response.finish().await?;
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
        // what can be sent only once must not meet a connection that is closing
        while let Some(sender) = self.pool.take(&key).filter(|_| ask.can_repeat()) {
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
                let config = tls_config(&self.options.tls)?;
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
        let body = ask.payload.body();
        let sent = body.sent();
        let request = request(address, ask, authorization, proxy.as_ref(), body)?;
        let idle = self.options.limits.idle;
        let exchange = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let response = match while_moving(exchange, idle, &sent).await {
            Some(Ok(response)) => response,
            Some(Err(source)) => return Err(Cause::Broken { host, source }),
            None => return Err(Cause::Timeout { host, what: "answer", after: idle }),
        };
        let (head, body) = response.into_parts();
        let home = Some((Arc::clone(&self.pool), key, sender));
        Ok(Response { head, host, address: address.clone(), body, idle, home })
    }
}

/// Waits for `exchange`, at most `idle` without anything being sent: a large body may take long,
/// what counts is that it moves.
async fn while_moving<T>(
    exchange: impl Future<Output = T>,
    idle: Duration,
    sent: &Sent,
) -> Option<T> {
    let mut exchange = std::pin::pin!(exchange);
    let mut before = sent.count();
    loop {
        match timeout(idle, &mut exchange).await {
            Ok(done) => return Some(done),
            Err(_elapsed) if sent.count() > before => before = sent.count(),
            Err(_elapsed) => return None,
        }
    }
}

fn request(
    address: &Address,
    ask: &Ask,
    authorization: Option<&str>,
    proxy: Option<&proxy::Proxy>,
    body: Body,
) -> Result<Request<Body>, Cause> {
    // a proxy for plain HTTP is given the whole address
    let target = if proxy.is_some() { address.to_string() } else { address.path.clone() };
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(target)
        .header(HOST, address.authority())
        .header(USER_AGENT, AGENT);
    if let Some(accept) = ask.accept {
        request = request.header(ACCEPT, accept);
    }
    if ask.from > 0 {
        request = request.header(RANGE, format!("bytes={}-", ask.from));
    }
    for (name, value) in &ask.headers {
        request = request.header(*name, value);
    }
    if !matches!(ask.method, Method::GET | Method::HEAD) && hyper::body::Body::is_end_stream(&body)
    {
        // some servers answer 411 without it
        request = request.header(CONTENT_LENGTH, 0);
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
    request.body(body).ok().ok_or_else(invalid)
}
