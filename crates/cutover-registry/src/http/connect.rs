//! Opening a connection: TCP, through a proxy where there is one, with TLS where it is asked for.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Address;
use super::body::Body;
use super::proxy::Proxy;
use super::unchecked::Unchecked;
use crate::error::Cause;
use crate::options::{Identity, Tls};

pub(crate) type Sender = SendRequest<Body>;

/// The TLS settings: the machine's authorities and those of `tls`. A machine without any (a
/// container image, a fresh install) falls back to Mozilla's list.
pub(crate) fn tls_config(tls: &Tls) -> Result<Arc<ClientConfig>, Cause> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in &tls.ca {
        roots
            .add(CertificateDer::from(certificate.clone()))
            .map_err(|error| Cause::Certificate(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3");
    let builder = match tls.unchecked {
        true => builder.dangerous().with_custom_certificate_verifier(Unchecked::new(provider)),
        false => builder.with_root_certificates(roots),
    };
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => {
            let wrong = |error: String| Cause::Certificate(error);
            let chain = chain.iter().cloned().map(CertificateDer::from).collect();
            let key = PrivateKeyDer::try_from(key.clone()).map_err(|it| wrong(it.to_owned()))?;
            builder.with_client_auth_cert(chain, key).map_err(|it| wrong(it.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A connection to `address` that is ready for requests.
pub(crate) async fn connect(
    address: &Address,
    proxy: Option<&Proxy>,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Sender, Cause> {
    let stream = match proxy {
        None => tcp(&address.host, address.port, &address.authority()).await?,
        Some(proxy) => {
            let stream = tcp(&proxy.host, proxy.port, &proxy.name()).await?;
            if !address.tls {
                return handshake(TokioIo::new(stream), address).await;
            }
            return match tls {
                Some(config) => {
                    let tunnel = tunnel(stream, address, proxy).await?;
                    handshake(TokioIo::new(secure(tunnel, address, config).await?), address).await
                }
                None => handshake(TokioIo::new(stream), address).await,
            };
        }
    };
    match tls.filter(|_| address.tls) {
        Some(config) => {
            handshake(TokioIo::new(secure(stream, address, config).await?), address).await
        }
        None => handshake(TokioIo::new(stream), address).await,
    }
}

async fn tcp(host: &str, port: u16, shown: &str) -> Result<TcpStream, Cause> {
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|source| Cause::Connect { host: shown.to_owned(), source })?;
    // requests are small and waited for; a failure here costs only time
    stream.set_nodelay(true).ok();
    Ok(stream)
}

/// TLS over `stream`, with the certificate checked against the host's name.
async fn secure<S>(
    stream: S,
    address: &Address,
    config: &Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<S>, Cause>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let fail = |source| Cause::Tls { host: address.authority(), source };
    let name = ServerName::try_from(address.host.clone())
        .map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(fail)
}

/// A way through `proxy` to `address`, by `CONNECT`.
async fn tunnel(
    stream: TcpStream,
    address: &Address,
    proxy: &Proxy,
) -> Result<TokioIo<hyper::upgrade::Upgraded>, Cause> {
    let fail = |message: String| Cause::Proxy { proxy: proxy.name(), message };
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| fail(error.to_string()))?;
    // ends when the tunnel's stream is dropped, or with the runtime
    tokio::spawn(connection.with_upgrades());
    let host = if address.host.contains(':') {
        format!("[{}]", address.host)
    } else {
        address.host.clone()
    };
    let target = format!("{host}:{}", address.port);
    let mut request = Request::connect(&target).header(HOST, &target);
    if let Some(authorization) = &proxy.authorization {
        request = request.header("proxy-authorization", authorization);
    }
    let request = request.body(Empty::new()).map_err(|error| fail(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| fail(error.to_string()))?;
    if !response.status().is_success() {
        return Err(fail(format!("answered {} to a connection to `{target}`", response.status())));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| fail(error.to_string()))?;
    Ok(TokioIo::new(upgraded))
}

async fn handshake<T>(io: T, address: &Address) -> Result<Sender, Cause>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(io)
        .await
        .map_err(|source| Cause::Broken { host: address.authority(), source })?;
    // ends when the sender is dropped and its last response read, or with the runtime
    tokio::spawn(connection);
    Ok(sender)
}
