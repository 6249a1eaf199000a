//! [`Wire`]: a plain connection whose answers can be parts of files, sent by the kernel.
//!
//! The HTTP library writes bytes only. So the body of a file's part is made of pieces of [`HOLE`],
//! memory that stands for "the next bytes of the file" and is never read: where the connection is
//! asked to write a piece of it, it has the kernel send from the file that the body has handed over.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fs::sendfile;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Never read, so it takes no memory.
pub(super) static HOLE: [u8; 1 << 20] = [0; 1 << 20];

/// How long a client may take to read anything at all.
const STALL: Duration = Duration::from_secs(60);

/// Files that a connection is to send, with how far they are sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Outlet(Arc<Mutex<VecDeque<Part>>>);

#[derive(Debug)]
struct Part {
    file: fs_err::File,
    next: u64,
    end: u64,
}

impl Outlet {
    /// The next pieces of [`HOLE`], as many bytes as the part has, stand for it.
    pub(super) fn push(&self, file: fs_err::File, part: std::ops::Range<u64>) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push_back(Part { file, next: part.start, end: part.end });
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Sends from the first file. Does not block on the network.
    fn send(&self, stream: &TcpStream, most: usize) -> io::Result<usize> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.front_mut().ok_or(io::ErrorKind::UnexpectedEof)?;
        let rest = usize::try_from(part.end - part.next).unwrap_or(usize::MAX);
        let sent = sendfile(stream, part.file.file(), Some(&mut part.next), rest.min(most))?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if part.next >= part.end {
            parts.pop_front();
        }
        Ok(sent)
    }
}

/// A connection without TLS.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    pub(super) outlet: Outlet,
    /// Since when the client reads nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// Whether these bytes are a piece of [`HOLE`].
fn is_hole(bytes: &[u8]) -> bool {
    HOLE.as_ptr_range().contains(&bytes.as_ptr())
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, outlet: Outlet::default(), stalled: None }
    }

    /// As many bytes of a file as the socket takes.
    fn poll_send(&self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let sent =
                self.stream.try_io(Interest::WRITABLE, || self.outlet.send(&self.stream, most));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Lets a write pass, and ends the connection when none does for too long.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let empty = slices.iter().take_while(|slice| slice.is_empty()).count();
        let slices = &slices[empty..];
        let holes = slices.iter().take_while(|slice| is_hole(slice));
        let most: usize = holes.map(|slice| slice.len()).sum();
        let written = if most > 0 {
            self.poll_send(cx, most)
        } else {
            let plain = slices.iter().take_while(|slice| !is_hole(slice)).count();
            Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..plain])
        };
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
