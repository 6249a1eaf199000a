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
    /// The connection sends the file itself.
    Sent(SentPart),
}

/// A part of a file that is still to be sent. One piece is read ahead on another thread.
#[derive(Debug)]
struct FilePart {
    file: Option<fs_err::File>,
    rest: Range<u64>,
    reading: Option<JoinHandle<io::Result<(fs_err::File, Bytes)>>>,
}

/// A part of a file that the connection sends. It gets the file when the body is first asked for bytes:
/// of an answer that is dropped before that, nothing may wait in the connection.
#[derive(Debug)]
struct SentPart {
    pending: Option<(Outlet, fs_err::File, Range<u64>)>,
    /// Bytes that are still to be asked for.
    rest: u64,
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
            let rest = part.end - part.start;
            let pending = Some((outlet.clone(), file, part));
            return Self(Kind::Sent(SentPart { pending, rest }));
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
            Kind::Sent(part) => Poll::Ready(part.next().map(|hole| Ok(Frame::data(hole)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::File(part) => part.rest.is_empty(),
            Kind::Sent(part) => part.rest == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Kind::Full(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Kind::File(part) => part.rest.end - part.rest.start,
            Kind::Sent(part) => part.rest,
        })
    }
}

impl SentPart {
    fn next(&mut self) -> Option<Bytes> {
        if let Some((outlet, file, part)) = self.pending.take() {
            outlet.push(file, part);
        }
        let size = usize::try_from(self.rest).unwrap_or(usize::MAX).min(HOLE.len());
        self.rest -= size as u64;
        (size > 0).then(|| Bytes::from_static(&HOLE[..size]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_dropped_leaves_no_file_to_send() {
        let outlet = Outlet::default();
        let path = tempfile::NamedTempFile::new().unwrap();
        let file = || fs_err::File::open(path.path()).unwrap();
        drop(Body::file(file(), 0..5, Some(&outlet)));
        assert!(outlet.is_empty());
        let Body(Kind::Sent(mut part)) = Body::file(file(), 0..5, Some(&outlet)) else {
            panic!("the connection sends it");
        };
        assert_eq!(part.next().unwrap().len(), 5);
        assert!(!outlet.is_empty());
        assert_eq!(part.next(), None);
    }
}
