//! [`Body`]: what answers are made of: bytes in memory, or a part of a file read as it is sent.

use std::future::Future as _;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::wire::{HOLE, Outlet};

/// How much of a file is read at a time.
const READ: u64 = 256 << 10;

/// The body of an answer.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Full(Option<Bytes>),
    File(FilePart),
    /// The connection sends the file itself; what is left to be asked for.
    Sent(u64),
}

/// A part of a file that is still to be sent. One piece is read ahead on another thread.
#[derive(Debug)]
struct FilePart {
    file: Option<fs_err::File>,
    rest: Range<u64>,
    reading: Option<JoinHandle<io::Result<(fs_err::File, Bytes)>>>,
}

impl Body {
    pub fn empty() -> Self {
        Self(Kind::Full(None))
    }

    pub fn full(bytes: Bytes) -> Self {
        Self(Kind::Full((!bytes.is_empty()).then_some(bytes)))
    }

    /// These bytes of a file, which must have them: sent by the kernel where the connection can.
    pub(super) fn file(file: fs_err::File, part: Range<u64>, outlet: Option<&Outlet>) -> Self {
        if let Some(outlet) = outlet {
            let size = part.end - part.start;
            outlet.push(file, part);
            return Self(Kind::Sent(size));
        }
        Self(Kind::File(FilePart { file: Some(file), rest: part, reading: None }))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::File(part) => part.poll(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Kind::Sent(0) => Poll::Ready(None),
            Kind::Sent(rest) => {
                let size = usize::try_from(*rest).unwrap_or(usize::MAX).min(HOLE.len());
                *rest -= size as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&HOLE[..size])))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::File(part) => part.rest.is_empty(),
            Kind::Sent(rest) => *rest == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Kind::Full(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Kind::File(part) => part.rest.end - part.rest.start,
            Kind::Sent(rest) => *rest,
        })
    }
}

impl FilePart {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            let Some(file) = self.file.take() else { return Poll::Ready(None) };
            let (from, size) = (self.rest.start, READ.min(self.rest.end - self.rest.start));
            self.reading = Some(tokio::task::spawn_blocking(move || read(file, from, size)));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let (file, bytes) = read.map_err(io::Error::other).and_then(|read| read)?;
        self.file = Some(file);
        self.rest.start += bytes.len() as u64;
        Poll::Ready(Some(Ok(bytes)))
    }
}

fn read(file: fs_err::File, from: u64, size: u64) -> io::Result<(fs_err::File, Bytes)> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.file().read_exact_at(&mut bytes, from)?;
    Ok((file, bytes.into()))
}
