//! Connections: accepting, one thread a core, and the limits of slow clients.
//!
//! Each thread has a runtime of its own and accepts from the same socket, as the proxy's workers do.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::handle::{Shared, handle};
use super::wire::{Outlet, Wire};

/// From the start of a connection, or the end of an answer, to a whole head.
const HEAD: Duration = Duration::from_secs(30);
/// Open connections of one thread.
const CONNECTIONS: usize = 4096;
/// What a connection may hold of a head or a body that nobody has read yet.
const BUFFER: usize = 256 << 10;
/// Threads of each runtime that read and write files.
const FILE_THREADS: usize = 16;
/// How long requests may still run when the server is told to end.
const GRACE: Duration = Duration::from_secs(10);

/// One thread that serves.
pub(super) fn worker(
    name: String,
    listener: TcpListener,
    shared: Arc<Shared>,
    ending: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .build()?;
    std::thread::Builder::new().name(name).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, serve(listener, shared, ending));
    })
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mut ending: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    let open = Rc::new(AtomicUsize::new(0));
    loop {
        tokio::select! { biased;
            _ = ending.changed() => break,
            accepted = listener.accept(), if open.load(Ordering::Relaxed) < CONNECTIONS => {
                match accepted {
                    Ok((stream, peer)) => {
                        open.fetch_add(1, Ordering::Relaxed);
                        let (shared, open) = (Arc::clone(&shared), Rc::clone(&open));
                        let ending = ending.clone();
                        tokio::task::spawn_local(async move {
                            connection(stream, peer, shared, ending).await;
                            open.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
            // one has to end before the next one is taken in
            () = tokio::time::sleep(Duration::from_millis(50)),
                if open.load(Ordering::Relaxed) >= CONNECTIONS => {}
        }
    }
    drop(listener);
    let over = async {
        while open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    drop(tokio::time::timeout(GRACE, over).await);
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    ending: watch::Receiver<bool>,
) {
    stream.set_nodelay(true).ok();
    let Some(tls) = shared.tls.clone() else {
        let stream = Wire::new(stream);
        let outlet = Some(stream.outlet.clone());
        return requests(stream, outlet, peer, shared, ending).await;
    };
    match tls.accept(stream).await {
        Ok(stream) => requests(stream, None, peer, shared, ending).await,
        Err(error) => tracing::debug!(%error, %peer, "no TLS connection"),
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    outlet: Option<Outlet>,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut ending: watch::Receiver<bool>,
) {
    let address = peer.ip().to_canonical();
    // pieces of the hole must reach the connection as they are, not copied together with others
    let vectored = outlet.is_some();
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let shared = Arc::clone(&shared);
        if let Some(outlet) = &outlet {
            request.extensions_mut().insert(outlet.clone());
        }
        async move { Ok::<_, std::convert::Infallible>(handle(shared, address, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER);
    if vectored {
        http.writev(true);
    }
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = &mut serving => served,
        _ = ending.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}
