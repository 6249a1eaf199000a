//! A request's body into an upload's file, hashed on the way.
//!
//! Two pieces are in memory at most: one that comes from the network and one that another thread
//! hashes and writes. What has come when a client breaks off stays, and can be gone on with.

use std::io::{self, IoSlice, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{Held, Session, Uploads};
use crate::server::refusal::{Code, Refusal};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Limits {
    /// Without a single byte.
    pub(in crate::server) idle: Duration,
    /// Bytes in a second that a body has to have on average, after its first minute.
    pub(in crate::server) rate: u64,
}

/// Bytes on their way to the file.
type Writing = JoinHandle<(Held, io::Result<()>)>;

/// Appends a body to an upload: exactly `exact` bytes, if that is known.
pub(in crate::server) async fn receive(
    uploads: &Uploads,
    slot: &mut Option<Held>,
    mut body: Incoming,
    exact: Option<u64>,
    limits: Limits,
) -> Result<(), Refusal> {
    uploads.receiving.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(&uploads.receiving);
    receive_all(uploads, slot, &mut body, exact, limits).await
}

/// One body, for as long as it is received.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn receive_all(
    uploads: &Uploads,
    slot: &mut Option<Held>,
    body: &mut Incoming,
    exact: Option<u64>,
    limits: Limits,
) -> Result<(), Refusal> {
    let start = slot.as_ref().map_or(0, |session| session.size);
    let mut pieces = Pieces { begun: Instant::now(), came: 0, limits };
    let mut writing: Option<Writing> = None;
    let mut trouble = None;
    loop {
        let (piece, end) = pieces.next(body, uploads.piece()).await;
        settle(slot, writing.take()).await?;
        if exact.is_some_and(|exact| pieces.came > exact) {
            trouble = Some(wrong_size());
            break;
        }
        if !piece.is_empty() {
            let mut session = slot.take().ok_or_else(lost)?;
            writing = Some(tokio::task::spawn_blocking(move || {
                let written = session.append(&piece);
                (session, written)
            }));
        }
        match end {
            End::More => {}
            End::Done => break,
            End::Broken(refusal) => {
                trouble = Some(refusal);
                break;
            }
        }
    }
    settle(slot, writing.take()).await?;
    let short = exact.is_some_and(|exact| pieces.came < exact) && trouble.is_none();
    if short || trouble.as_ref().is_some_and(|refusal| refusal.code == Code::SizeInvalid) {
        // the chunk is not what its head said: as if it had not come
        let session = slot.as_mut().ok_or_else(lost)?;
        session.cut(start).map_err(|error| Refusal::storage("cut the upload", &error))?;
        return Err(trouble.unwrap_or_else(wrong_size));
    }
    trouble.map_or(Ok(()), Err)
}

/// Waits until what was handed to the other thread is written.
async fn settle(slot: &mut Option<Held>, writing: Option<Writing>) -> Result<(), Refusal> {
    let Some(writing) = writing else { return Ok(()) };
    let (session, written) = writing.await.map_err(|_panic| lost())?;
    *slot = Some(session);
    written.map_err(|error| Refusal::storage("write the upload", &error))
}

fn lost() -> Refusal {
    let error = io::Error::other("the thread that wrote it died");
    Refusal::internal("write the upload", &error)
}

fn wrong_size() -> Refusal {
    Refusal::bad(Code::SizeInvalid, "the body has another size than its range")
}

struct Pieces {
    begun: Instant,
    came: u64,
    limits: Limits,
}

enum End {
    More,
    Done,
    Broken(Refusal),
}

impl Pieces {
    /// Gathers what comes until there are `enough` bytes.
    async fn next(&mut self, body: &mut Incoming, enough: usize) -> (Vec<Bytes>, End) {
        let (mut piece, mut size) = (Vec::new(), 0);
        while size < enough {
            match next_data(body, self.limits.idle).await {
                Ok(Some(data)) => {
                    size += data.len();
                    self.came += data.len() as u64;
                    piece.push(data);
                }
                Ok(None) => return (piece, End::Done),
                Err(refusal) => return (piece, End::Broken(refusal)),
            }
            let seconds = self.begun.elapsed().as_secs();
            if seconds >= 60 && self.came / seconds < self.limits.rate {
                return (piece, End::Broken(too_slow()));
            }
        }
        (piece, End::More)
    }
}

fn too_slow() -> Refusal {
    let message = "the body comes too slowly";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, Code::BlobUploadInvalid, message)
}

/// The next bytes of a body, within a time.
async fn next_data(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = timeout(idle, body.frame()).await.map_err(|_elapsed| too_slow())?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => {}
            },
            Some(Err(error)) => {
                tracing::debug!(%error, "a body broke off");
                let message = "the body broke off";
                return Err(Refusal::bad(Code::BlobUploadInvalid, message));
            }
        }
    }
}

/// Reads away what a refused request still sends, so that its client reads the answer rather than a
/// reset connection; not for ever.
/// Whether all of it was read.
pub(in crate::server) async fn discard(mut body: Incoming, idle: Duration) -> bool {
    const ENOUGH: u64 = 32 << 20;
    let mut came = 0;
    if body.size_hint().lower() > ENOUGH {
        return false;
    }
    while came < ENOUGH {
        match next_data(&mut body, idle.min(Duration::from_secs(5))).await {
            Ok(Some(data)) => came += data.len() as u64,
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
    false
}

impl Session {
    /// Writes at the end. After a failure the file is cut back, so that size and hash stay true.
    fn append(&mut self, piece: &[Bytes]) -> io::Result<()> {
        use std::io::Seek as _;
        let before = self.size;
        self.file.seek(io::SeekFrom::Start(before))?;
        if let Err(error) = write_all(&mut self.file, piece) {
            drop(self.cut(before));
            return Err(error);
        }
        for bytes in piece {
            self.size += bytes.len() as u64;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(bytes);
            }
        }
        Ok(())
    }
}

fn write_all(file: &mut fs_err::File, piece: &[Bytes]) -> io::Result<()> {
    let mut rest: Vec<Bytes> = piece.to_vec();
    let mut first = 0;
    while first < rest.len() {
        let slices: Vec<IoSlice<'_>> =
            rest[first..].iter().take(64).map(|bytes| IoSlice::new(bytes)).collect();
        let mut written = file.write_vectored(&slices)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while first < rest.len() && written >= rest[first].len() {
            written -= rest[first].len();
            first += 1;
        }
        if written > 0 {
            rest[first].advance(written);
        }
    }
    Ok(())
}
