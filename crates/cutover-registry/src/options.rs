//! [`Options`]: everything about a pull that the reference does not say.

use std::fmt;
use std::time::Duration;

use cutover_core::oci::Platform;

/// How to pull. Nothing here is read from the environment: the caller hands on what it wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// Speak plain HTTP. Registries on this machine (`localhost`, `127.0.0.0/8`, `[::1]`) are
    /// spoken to that way anyway, as docker does.
    pub plain_http: bool,
    /// Certificates (DER) of authorities to trust besides the machine's.
    pub ca: Vec<Vec<u8>>,
    /// Which image of an index to take.
    pub platform: Platform,
    /// `None`: anonymous.
    pub auth: Option<Basic>,
    pub proxies: Proxies,
    pub limits: Limits,
}

/// A user name and password (or access token) for one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    pub username: String,
    pub password: String,
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
    /// Layers downloaded at a time.
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
            ca: Vec::new(),
            platform,
            auth: None,
            proxies: Proxies::default(),
            limits: Limits::default(),
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

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("username", &self.username).finish_non_exhaustive()
    }
}
