//! Accepting: from sockets that all workers (and other processes) accept from too.
//!
//! Whoever is awake takes the connection; if it has more connections than the least loaded worker,
//! it passes the new one on, so that a burst does not end up on one core.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::net::SocketFlags;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::linger::Lingering;
use super::{Command, Slot, Worker};
use crate::handler::{Pick, handle};
use crate::listen;

/// One listening socket of one worker.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Rc<TcpListener>,
    task: AbortHandle,
}

impl Acceptor {
    pub(super) fn start(worker: &Rc<Worker>, socket: OwnedFd) -> io::Result<Self> {
        let listener = Rc::new(TcpListener::from_std(listen::tcp(socket)?)?);
        let accepting = accept_all(Rc::clone(worker), Rc::clone(&listener));
        let task = tokio::task::spawn_local(accepting).abort_handle();
        Ok(Self { listener, task })
    }

    /// Stops accepting, after whoever waits in the queue has been taken in.
    pub(super) fn stop(self, worker: &Rc<Worker>) {
        self.task.abort();
        loop {
            match accept_waiting(&self.listener) {
                Ok((stream, peer)) => worker.place(stream, peer),
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    }
}

async fn accept_all(worker: Rc<Worker>, listener: Rc<TcpListener>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => worker.place(stream, peer),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                // Out of files or memory: more of the same helps nobody.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // Others may have less to do: let them see the next one first.
        tokio::task::yield_now().await;
    }
}

/// Accepts without asking the runtime, which may not have heard of the connection yet.
fn accept_waiting(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = std::net::TcpStream::from(rustix::net::accept_with(listener, flags)?);
    let peer = stream.peer_addr()?;
    Ok((TcpStream::from_std(stream)?, peer))
}

/// Errors of the one connection that would have been accepted, see accept(2).
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
        || error.raw_os_error() == Some(rustix::io::Errno::PROTO.raw_os_error())
}

impl Worker {
    /// Serves a new connection here, or has a less busy worker do it.
    fn place(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        let hub = &self.hub;
        hub.accepted.fetch_add(1, Ordering::Relaxed);
        let loads = hub.loads.iter().take(hub.acceptors().len()).enumerate();
        let least = loads.min_by_key(|(_, load)| load.load(Ordering::Relaxed));
        let mine = hub.loads[self.index].load(Ordering::Relaxed);
        if let Some((other, load)) = least
            && load.load(Ordering::Relaxed) + 1 < mine
        {
            let Ok(stream) = stream.into_std() else { return };
            load.fetch_add(1, Ordering::Relaxed);
            if hub.commands[other].send(Command::Adopt(stream, peer)).is_err() {
                // Only while the process ends, and then nothing was promised to this one.
                load.fetch_sub(1, Ordering::Relaxed);
            }
            return;
        }
        hub.loads[self.index].fetch_add(1, Ordering::Relaxed);
        self.serve(stream, peer);
    }

    /// Takes in a connection that another worker accepted and counted.
    pub(super) fn adopt(self: &Rc<Self>, stream: std::net::TcpStream, peer: SocketAddr) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.serve(stream, peer),
            Err(error) => {
                self.hub.loads[self.index].fetch_sub(1, Ordering::Relaxed);
                tracing::error!(%error, "cannot serve a connection");
            }
        }
    }

    /// Serves a connection that is already counted.
    fn serve(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        let peer = HeaderValue::try_from(peer.ip().to_canonical().to_string())
            .expect("an address is a header value");
        let slot = Slot::connection(self, peer);
        // Without it a small response may wait for the client's acknowledgement of the last one.
        stream.set_nodelay(true).ok();
        let stream = TokioIo::new(Lingering::new(stream, slot.conn.unread.clone()));
        let task = serve_http(Rc::clone(self), slot, stream, Pick::Routes);
        tokio::task::spawn_local(task);
    }
}

/// Speaks HTTP on a connection until it ends. The one path of all requests, probes included.
pub(crate) async fn serve_http<I>(worker: Rc<Worker>, slot: Slot, io: I, pick: Pick)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let conn = Rc::clone(&slot.conn);
    let (requests_of, pick) = (Rc::clone(&worker), Rc::new(pick));
    let service = service_fn(move |request| {
        handle(Rc::clone(&requests_of), Rc::clone(&conn), Rc::clone(&pick), request)
    });
    let mut http = std::pin::pin!(worker.http.serve_connection(io, service).with_upgrades());
    let ended = slot.conn.drive(|cx, finish| {
        if finish {
            http.as_mut().graceful_shutdown();
        }
        http.as_mut().poll(cx)
    });
    if let Some(Err(error)) = ended.await {
        tracing::debug!(%error, "client connection ended");
    }
}
