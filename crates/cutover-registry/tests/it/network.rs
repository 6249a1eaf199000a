//! TLS and proxies.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fixture::{Bench, Content};
use crate::server::{Reply, Server};

fn tls() -> Option<Arc<rustls::ServerConfig>> {
    let certificate = CertificateDer::from(&include_bytes!("testdata/server.der")[..]);
    let key = PrivateKeyDer::try_from(&include_bytes!("testdata/server.key.der")[..]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Some(Arc::new(config))
}

#[test]
fn tls_with_an_authority_of_ones_own() {
    let content = Content::image(2);
    let server = Server::start_with(tls(), move |request| content.answer(request));
    let name = format!("{}/team/app:1.0", server.host());
    let mut bench = Bench::new();
    let failure = bench.failure(&name);
    assert!(failure.contains("caused by: no trusted TLS connection to `HOST`"), "{failure}");
    assert!(failure.contains("hint: give the registry's certificate authority"), "{failure}");
    bench.options.tls.ca = vec![include_bytes!("testdata/authority.der").to_vec()];
    bench.pull(&name).unwrap();
    bench.assert_clean();
}

#[test]
fn plain_http_through_a_proxy() {
    let content = Content::image(1);
    // the proxy is the registry too: it sees the whole address
    let proxy = Server::start(move |request| {
        let mut inner = request.clone();
        let Some(path) = request.target.strip_prefix("http://registry.test") else {
            return Reply::new(400, "");
        };
        assert_eq!(request.header("host"), Some("registry.test"));
        assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
        inner.target = path.to_owned();
        content.answer(&inner)
    });
    let mut bench = Bench::new();
    bench.options.plain_http = true;
    bench.options.proxies.http = Some(format!("http://me:secret@{}", proxy.host()));
    bench.pull("registry.test/team/app:1.0").unwrap();
}

#[test]
fn https_through_a_proxy_that_refuses() {
    let proxy = Server::start(|_| Reply::new(403, ""));
    let mut bench = Bench::new();
    bench.options.proxies.https = Some(format!("http://{}", proxy.host()));
    let failure = bench.failure("registry.test/team/app:1.0").replace(&proxy.host(), "PROXY");
    insta::assert_snapshot!(failure, @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: proxy `PROXY`: answered 403 Forbidden to a connection to `HOST:443`
      hint: check the proxy settings
    ");
    let requests = proxy.requests("registry.test:443");
    assert_eq!(requests[0].method, "CONNECT");
}

/// A proxy that takes one `CONNECT` after another to `port` of this machine, whatever was asked
/// for. Says what that was.
fn tunnels(port: u16, count: usize) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own_port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for _ in 0..count {
            let (client, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut lines = Vec::new();
            while lines.last().is_none_or(|line| line != "\r\n") {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                lines.push(line);
            }
            asked.push(lines[0].trim().to_owned());
            let target = TcpStream::connect(("127.0.0.1", port)).unwrap();
            (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), target.try_clone().unwrap()), (target, client)]
            {
                // each way ends with its connection
                std::thread::spawn(move || {
                    let _ended = std::io::copy(&mut from, &mut to);
                    to.shutdown(Shutdown::Write).ok();
                });
            }
        }
        asked
    });
    (own_port, thread)
}

#[test]
fn https_through_a_tunnel() {
    let content = Content::image(1);
    let server = Server::start_with(tls(), move |request| content.answer(request));
    let (port, proxy) = tunnels(server.port, 1);
    let mut bench = Bench::new();
    // one blob at a time needs one connection, which is used for everything
    bench.options.limits.parallel = 1;
    bench.options.tls.ca = vec![include_bytes!("testdata/authority.der").to_vec()];
    bench.options.proxies.https = Some(format!("127.0.0.1:{port}"));
    bench.pull("registry.test/team/app:1.0").unwrap();
    assert_eq!(proxy.join().unwrap(), ["CONNECT registry.test:443 HTTP/1.1"]);
    bench.assert_clean();
}
