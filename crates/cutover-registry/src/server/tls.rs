//! TLS by a certificate and a key in files, which are read again when they change: whatever renews
//! them need not tell.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::access::watched::{WatchError, Watched};

/// From a connection to the end of its handshake.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Takes connections in.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// `chain` and `key` are in PEM; the server's own certificate comes first.
    pub fn open(chain: PathBuf, key: PathBuf) -> Result<Self, WatchError> {
        let certificate = Watched::open(vec![chain.clone(), key], parse, Instant::now())?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| WatchError { path: chain, reason: error.to_string() })?;
        let resolver = Arc::new(Resolver(certificate));
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE, self.0.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_elapsed) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// The certificate of the moment.
#[derive(Debug)]
struct Resolver(Watched<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get(Instant::now()))
    }
}

fn parse(files: &[Vec<u8>]) -> Result<CertifiedKey, String> {
    let [chain, key] = files else { return Err("two files are needed".to_owned()) };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("its key is not one in PEM: {error}"))?;
    // also refuses a key of another certificate, as between the writes of a renewal
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| error.to_string())
}
