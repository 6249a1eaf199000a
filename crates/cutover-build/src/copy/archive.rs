//! Recognising and decompressing archives, by content and never by name.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cutover_store::tar::TarError;

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("archive `{name}` cannot be unpacked")]
    Tar { name: String, source: TarError },
    #[error("archive `{name}`: {problem}")]
    Entry { name: String, problem: String },
    #[error("archive `{name}` has more than {limit} {what}")]
    Limit { name: String, limit: u64, what: &'static str },
}

/// What is unpacked before anybody asks how small it was.
const FREE: u64 = 1 << 30;
/// gzip cannot do better than 1,032; what expands more is zeros, and meant to fill the disk.
const MAX_RATIO: u64 = 1100;

/// Bytes of a header block: what tells a tar.
pub(crate) const HEADER: usize = 512;

/// The bytes of an archive, decompressed. What is not compressed in a known way comes as it is.
pub(crate) fn decompress<'a>(file: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let read = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: file, read: Arc::clone(&read) };
    let mut file = BufReader::with_capacity(64 * 1024, counted);
    let start = file.fill_buf()?;
    let inner: Box<dyn Read + 'a> = match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        // the second is a skippable frame, which may precede the first
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::stream::read::Decoder::with_buffer(file)?)
        }
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(lzma_rust2::XzReader::new(file, true)),
        _ => return Ok(Box::new(file)),
    };
    Ok(Box::new(Bounded { inner, read, made: 0 }))
}

/// Whether these are the first bytes of a tar: a header whose checksum is right.
pub(crate) fn is_tar(header: &[u8]) -> bool {
    let Some(header) = header.get(..HEADER) else { return false };
    let field = &header[148..156];
    let text: String = field.iter().map(|&byte| char::from(byte)).collect();
    let Ok(wanted) = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8) else { return false };
    let spaces = 8 * u32::from(b' ');
    let others = header.iter().enumerate().filter(|(at, _)| !(148..156).contains(at));
    others.map(|(_, &byte)| u32::from(byte)).sum::<u32>() + spaces == wanted
}

/// The decompressed bytes of `file` if it is a tar, compressed or not. What cannot even be looked
/// into is none.
pub(crate) fn open<'a>(file: impl Read + 'a) -> Option<Box<dyn Read + 'a>> {
    let mut bytes = decompress(file).ok()?;
    let mut header = Vec::with_capacity(HEADER);
    bytes.by_ref().take(HEADER as u64).read_to_end(&mut header).ok()?;
    is_tar(&header).then(|| Box::new(io::Cursor::new(header).chain(bytes)) as Box<dyn Read + 'a>)
}

/// Says how much of the compressed bytes was read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Ends what expands out of all proportion.
struct Bounded<R> {
    inner: R,
    read: Arc<AtomicU64>,
    made: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.made += count as u64;
        let most = self.read.load(Ordering::Relaxed).saturating_mul(MAX_RATIO).max(FREE);
        if self.made > most {
            let problem = format!("it expands to more than {MAX_RATIO} times its size");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        }
        Ok(count)
    }
}
