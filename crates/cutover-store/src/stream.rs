//! Byte streams: telling compressions apart by content, and a pipeline that reads, inflates and
//! hashes in one thread while another uses the bytes.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use cutover_core::Digest;
use cutover_core::digest::{Algorithm, Hasher};
use flate2::bufread::MultiGzDecoder;

/// Bytes that travel together: large enough to make the hand-over cheap, small enough to stay in
/// the second-level cache.
const CHUNK: usize = 256 << 10;
/// Chunks in flight.
const DEPTH: usize = 4;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the first bytes, never by a name or media type: those lie in the field.
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // a skippable frame, which may precede the first
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// `source` inflated, whatever it is compressed with: several gzip members or zstd frames are one
/// stream.
pub(crate) fn inflate<'a>(source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut source = BufReader::with_capacity(64 << 10, source);
    let start = peek(&mut source)?;
    Ok(match Compression::of(&start) {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source)?),
    })
}

/// The first bytes, left in place. A pipe may deliver fewer than asked; only none at all, or a
/// whole mark, can be judged.
fn peek<R: Read>(source: &mut BufReader<R>) -> io::Result<Vec<u8>> {
    Ok(source.fill_buf()?.iter().take(4).copied().collect())
}

/// What [`hashed`] found out besides what its consumer did.
#[derive(Debug)]
pub(crate) struct Hashed<T> {
    pub(crate) value: T,
    /// Of the whole stream.
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Who failed.
#[derive(Debug)]
pub(crate) enum HashError<E> {
    Consumer(E),
    /// Reading what the consumer left.
    Rest(io::Error),
}

/// Runs `consume` on the bytes of `source` while another thread reads and hashes them. Afterwards
/// the rest of the source is read as well, so the digest is of the whole stream.
pub(crate) fn hashed<T, E>(
    source: &mut (dyn Read + Send),
    algorithm: Algorithm,
    consume: impl FnOnce(&mut Piped) -> Result<T, E>,
) -> Result<Hashed<T>, HashError<E>> {
    std::thread::scope(|scope| {
        let (full_sender, full) = sync_channel(DEPTH);
        let (empty, empty_receiver) = channel();
        let producer =
            scope.spawn(move || produce(source, algorithm, &full_sender, &empty_receiver));
        let mut piped = Piped { full, empty, chunk: Vec::new(), at: 0, error: None };
        let value = consume(&mut piped).map_err(HashError::Consumer)?;
        piped.drain().map_err(HashError::Rest)?;
        drop(piped); // ends the producer, if it still has bytes
        match producer.join() {
            Ok((digest, size)) => Ok(Hashed { value, digest, size }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

type Chunk = io::Result<Vec<u8>>;

fn produce(
    source: &mut (dyn Read + Send),
    algorithm: Algorithm,
    full: &SyncSender<Chunk>,
    empty: &Receiver<Vec<u8>>,
) -> (Digest, u64) {
    let mut hasher = Hasher::new(algorithm);
    let mut size = 0;
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.clear();
        chunk.reserve_exact(CHUNK);
        let read = (&mut *source).take(CHUNK as u64).read_to_end(&mut chunk);
        let message = match read {
            Ok(0) => break,
            Ok(count) => {
                size += count as u64;
                hasher.update(&chunk);
                Ok(chunk)
            }
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        if full.send(message).is_err() || failed {
            break;
        }
    }
    (hasher.finish(), size)
}

/// The consumer's end of [`hashed`].
#[derive(Debug)]
pub(crate) struct Piped {
    full: Receiver<Chunk>,
    /// Used chunks go back, so that memory is allocated a few times only.
    empty: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    /// Told again if asked again: the producer has ended.
    error: Option<(io::ErrorKind, String)>,
}

impl Piped {
    fn drain(&mut self) -> io::Result<()> {
        loop {
            let count = self.fill_buf()?.len();
            if count == 0 {
                return Ok(());
            }
            self.consume(count);
        }
    }
}

impl BufRead for Piped {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some((kind, text)) = &self.error {
            return Err(io::Error::new(*kind, text.clone()));
        }
        if self.at == self.chunk.len() {
            let used = std::mem::take(&mut self.chunk);
            self.at = 0;
            // The producer is gone only at the end of the stream; then nobody needs the chunk.
            drop(self.empty.send(used));
            match self.full.recv() {
                Ok(Ok(chunk)) => self.chunk = chunk,
                Ok(Err(error)) => {
                    self.error = Some((error.kind(), error.to_string()));
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(compressed: &[u8], expected: &[u8]) {
        let mut out = Vec::new();
        let hashed = hashed(&mut inflate(compressed).unwrap(), Algorithm::Sha256, |piped| {
            piped.read_to_end(&mut out)
        });
        let hashed = hashed.unwrap();
        assert_eq!(out, expected);
        assert_eq!(hashed.value, expected.len());
        assert_eq!((hashed.digest, hashed.size), (Digest::sha256(expected), expected.len() as u64));
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn inflates_by_content() {
        check(b"", b"");
        check(b"plain", b"plain");
        check(&gzip(b"one"), b"one");
        let big = b"0123456789abcdef".repeat(100_000);
        check(&big, &big);
        check(&gzip(&big), &big);
        check(&zstd::encode_all(&big[..], 1).unwrap(), &big);
    }

    #[test]
    fn several_members_are_one_stream() {
        check(&[gzip(b"one"), gzip(b""), gzip(b"two")].concat(), b"onetwo");
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        check(&[frame(b"one"), frame(b"two")].concat(), b"onetwo");
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2];
        check(&[&skippable, frame(b"one").as_slice()].concat(), b"one");
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        for whole in [gzip(b"some bytes"), zstd::encode_all(&b"some bytes"[..], 1).unwrap()] {
            let cut = &whole[..whole.len() - 3];
            let result = hashed(&mut inflate(cut).unwrap(), Algorithm::Sha256, |piped| {
                piped.read_to_end(&mut Vec::new())
            });
            assert!(matches!(result, Err(HashError::Consumer(_))), "the consumer sees the cut");
        }
    }

    #[test]
    fn a_consumer_may_stop_early() {
        let result = hashed(&mut io::repeat(1), Algorithm::Sha256, |piped| {
            piped.read_exact(&mut [0; 10]).unwrap();
            Err::<(), _>("enough")
        });
        assert!(matches!(result, Err(HashError::Consumer("enough"))));
    }
}
