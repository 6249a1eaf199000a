//! Bodies in both directions, streamed with the back pressure of the slower side.
//!
//! The end of a response body is the end of its request: dropping a [`ResponseBody`] gives the
//! connection back to the pool, ends the flight on the target, and makes the client's connection
//! idle again.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::target::Flight;
use crate::upstream::Lease;
use crate::worker::Conn;

/// What goes to a target.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None`: there is none, which is what a repeated request has.
    body: Option<Incoming>,
    conn: Option<Rc<Conn>>,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, conn: &Rc<Conn>) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self { body: Some(body), conn: Some(Rc::clone(conn)) }
    }

    pub(crate) fn empty() -> Self {
        Self { body: None, conn: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_none()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if let Some(conn) = &this.conn {
            // The response timeout begins when the request has been sent.
            conn.progress();
            conn.broken.set(matches!(frame, Some(Err(_))));
            if frame.is_none() || body.is_end_stream() {
                conn.unread.set(false);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What goes to a client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    kind: Kind,
    conn: Rc<Conn>,
}

#[derive(Debug)]
enum Kind {
    Text(Option<Bytes>),
    Target { body: Incoming, ended: bool, lease: Option<Lease>, flight: Flight },
}

impl ResponseBody {
    /// The proxy's own words; empty for a response that ends HTTP on the connection.
    pub(crate) fn text(text: Bytes, conn: &Rc<Conn>) -> Self {
        let text = (!text.is_empty()).then_some(text);
        Self { kind: Kind::Text(text), conn: Rc::clone(conn) }
    }

    pub(crate) fn target(body: Incoming, lease: Lease, flight: Flight, conn: &Rc<Conn>) -> Self {
        let kind = Kind::Target { body, ended: false, lease: Some(lease), flight };
        Self { kind, conn: Rc::clone(conn) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        match &mut this.kind {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Target { body, ended, flight, .. } => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                this.conn.progress();
                Poll::Ready(match frame {
                    Some(Err(error)) => {
                        flight.target().stats.cut();
                        // hyper closes the client's connection: a truncated body looks truncated.
                        Some(Err(io::Error::other(error)))
                    }
                    Some(Ok(frame)) => Some(Ok(frame)),
                    None => {
                        *ended = true;
                        None
                    }
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Text(text) => text.is_none(),
            Kind::Target { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Text(text) => {
                let length = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(length.try_into().unwrap_or(u64::MAX))
            }
            Kind::Target { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Kind::Target { body, ended, lease, .. } = &mut self.kind
            && let Some(lease) = lease.take()
            && (*ended || body.is_end_stream())
        {
            lease.give_back();
        }
        self.conn.idle();
    }
}
