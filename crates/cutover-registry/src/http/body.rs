//! [`Body`]: what is sent with a request, read while it is sent.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// Bytes that are read and sent at a time.
const PIECE: u64 = 256 << 10;

/// Counts what the network took, and tells it.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    count: Arc<AtomicU64>,
    told: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

/// The receiving end of a stream with a known number of bytes, taken by the first who sends it.
#[derive(Clone, Debug)]
pub(crate) struct Source(Arc<Mutex<Option<Incoming>>>);

#[derive(Debug)]
pub(crate) struct Incoming {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    /// Further bytes may come and are for another request.
    cut: bool,
    sent: Sent,
}

/// A request's body.
#[derive(Debug)]
pub(crate) enum Body {
    Bytes(Option<Bytes>),
    File { file: Arc<File>, at: u64, left: u64, sent: Sent },
    Stream(Option<Incoming>),
}

impl Sent {
    /// Calls `told` with each number of bytes more.
    pub(crate) fn telling(told: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { count: Arc::default(), told: Some(Arc::new(told)) }
    }

    /// Bytes so far, over all attempts: it grows for as long as something moves.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.count.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(told) = &self.told {
            told(bytes as u64);
        }
    }
}

impl Source {
    pub(crate) fn new(chunks: mpsc::Receiver<io::Result<Bytes>>, size: u64, sent: Sent) -> Self {
        Self(Arc::new(Mutex::new(Some(Incoming { chunks, left: size, cut: false, sent }))))
    }

    /// The same, ended after `size` bytes.
    pub(crate) fn limited(self, size: u64) -> Self {
        if let Some(incoming) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            incoming.left = incoming.left.min(size);
            incoming.cut = true;
        }
        self
    }

    pub(super) fn take(&self) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Body {
    /// What counts the bytes that move.
    pub(super) fn sent(&self) -> Sent {
        match self {
            Self::Bytes(_) | Self::Stream(None) => Sent::default(),
            Self::File { sent, .. } | Self::Stream(Some(Incoming { sent, .. })) => sent.clone(),
        }
    }

    fn left(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::File { left, .. } | Self::Stream(Some(Incoming { left, .. })) => *left,
            Self::Stream(None) => 0,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File { file, at, left, sent } => Poll::Ready(read(file, at, left, sent)),
            Self::Stream(None) => Poll::Ready(Some(Err(io::Error::other("it was sent already")))),
            Self::Stream(Some(incoming)) => incoming.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

/// The next piece of a file. It is in the page cache or nearly so: it was just written, or is read
/// in order.
fn read(
    file: &File,
    at: &mut u64,
    left: &mut u64,
    sent: &Sent,
) -> Option<io::Result<Frame<Bytes>>> {
    if *left == 0 {
        return None;
    }
    let most = usize::try_from(PIECE.min(*left)).unwrap_or(usize::MAX);
    let mut piece = vec![0; most];
    match file.read_at(&mut piece, *at) {
        Ok(0) => Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"))),
        Ok(count) => {
            piece.truncate(count);
            *at += count as u64;
            *left -= count as u64;
            sent.add(count);
            Some(Ok(Frame::data(Bytes::from(piece))))
        }
        Err(error) => Some(Err(error)),
    }
}

impl Incoming {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let wrong = |text| Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, text))));
        match self.chunks.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => wrong("the source ended early"),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(Some(Ok(chunk))) => match self.left.checked_sub(chunk.len() as u64) {
                None if self.cut => {
                    let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                    self.left = 0;
                    self.sent.add(most);
                    Poll::Ready(Some(Ok(Frame::data(chunk.slice(..most)))))
                }
                None => wrong("the source has more bytes than announced"),
                Some(left) => {
                    self.left = left;
                    self.sent.add(chunk.len());
                    Poll::Ready(Some(Ok(Frame::data(chunk))))
                }
            },
        }
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sent").field(&self.count()).finish()
    }
}
