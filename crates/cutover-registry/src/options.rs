//! [`Options`]: everything about a transfer that the reference does not say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cutover_core::oci::Platform;
use cutover_store::LayerForm;

use crate::credential::Credential;
use crate::hosts::Hosts;
use crate::http::TokenCache;

/// How to push and pull. Nothing here is read from the environment: the caller hands on what it wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// Speak plain HTTP. Registries on this machine (`localhost`, `127.0.0.0/8`, `[::1]`) are
    /// spoken to that way anyway, as docker does.
    pub plain_http: bool,
    pub tls: Tls,
    /// Which image of an index to pull.
    pub platform: Platform,
    /// `None`: what `hosts` has.
    pub auth: Option<Credential>,
    /// What this machine knows about registries.
    pub hosts: Arc<Hosts>,
    /// How uncompressed layers are pushed; `None`: zstd, and gzip in docker's own manifests, which
    /// know nothing else.
    pub form: Option<LayerForm>,
    /// Push blobs in pieces of so many bytes; `None`: in one, and in pieces where that is refused.
    pub chunk: Option<u64>,
    pub proxies: Proxies,
    pub limits: Limits,
    /// Shared by all calls that are to go on with the tokens of earlier ones.
    pub tokens: TokenCache,
}

/// Whom to trust, and who we are to those who want to know by TLS.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates (DER) of authorities to trust besides the machine's.
    pub ca: Vec<Vec<u8>>,
    pub identity: Option<Identity>,
    /// Trust anyone.
    pub unchecked: bool,
}

/// A client's certificate.
#[derive(Clone)]
pub struct Identity {
    /// DER, its own certificate first.
    pub chain: Vec<Vec<u8>>,
    /// DER.
    pub key: Vec<u8>,
}

/// HTTP proxies, as the usual environment variables give them.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// `http_proxy`: for registries spoken to in plain HTTP.
    pub http: Option<String>,
    /// `https_proxy`: for all others, by `CONNECT`.
    pub https: Option<String>,
    /// `no_proxy`: comma-separated hosts and domain suffixes, or `*`. This machine's own
    /// addresses never go through a proxy.
    pub no_proxy: String,
}

/// Times and numbers that keep a pull from hanging or overloading anything.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Blobs that travel at a time.
    pub parallel: usize,
    /// To connect, including TLS.
    pub connect: Duration,
    /// To answer a request, and between two pieces of a body.
    pub idle: Duration,
    /// Attempts in a row that bring nothing before a request is given up.
    pub attempts: u32,
    /// The pause after the first failed attempt; it doubles with each further one.
    pub backoff: Duration,
}

impl Options {
    /// Anonymous, over HTTPS, for `platform`.
    pub fn new(platform: Platform) -> Self {
        Self {
            plain_http: false,
            tls: Tls::default(),
            platform,
            auth: None,
            hosts: Arc::default(),
            form: None,
            chunk: None,
            proxies: Proxies::default(),
            limits: Limits::default(),
            tokens: TokenCache::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parallel: 3,
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            attempts: 5,
            backoff: Duration::from_millis(250),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
