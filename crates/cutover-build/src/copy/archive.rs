//! Recognising and decompressing archives, by content and never by name.

use std::io::{self, BufRead, BufReader, Read};

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("archive `{name}` is compressed with {format}, which is not supported yet")]
    Compression { name: String, format: &'static str },
    #[error("archive `{name}` cannot be read")]
    Read { name: String, source: io::Error },
    #[error("archive `{name}` has more than {limit} {what}")]
    Limit { name: String, limit: u64, what: &'static str },
}

/// The bytes of an archive, decompressed. `Err` names a compression that is known and not read.
pub(super) fn decompress<'a>(
    file: impl Read + 'a,
) -> io::Result<Result<Box<dyn Read + 'a>, &'static str>> {
    let mut file = BufReader::with_capacity(64 * 1024, file);
    let start = file.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Ok(Box::new(zstd::stream::read::Decoder::with_buffer(file)?))
        }
        [b'B', b'Z', b'h', ..] => Err("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err("xz"),
        _ => Ok(Box::new(file)),
    })
}

/// Whether these are the first bytes of a tar: a header whose checksum is right, or the end mark.
pub(super) fn is_tar(header: &[u8]) -> bool {
    let Some(header) = header.get(..512) else { return false };
    let field = &header[148..156];
    let text: String = field.iter().map(|&byte| char::from(byte)).collect();
    let Ok(wanted) = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8) else { return false };
    let spaces = 8 * u32::from(b' ');
    let others = header.iter().enumerate().filter(|(at, _)| !(148..156).contains(at));
    others.map(|(_, &byte)| u32::from(byte)).sum::<u32>() + spaces == wanted
}
