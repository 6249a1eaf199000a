//! [`LayerSource`]: where the layers of a cache are, and how one is read safely.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use cutover_core::Digest;
use cutover_core::digest::Hasher;
use cutover_core::oci::{Descriptor, Manifest};
use cutover_store::{MAX_DOCUMENT, Verified};
use rustix::fs::{Mode, OFlags};

use crate::output::REF_NAME;

/// A layer may expand to this many times its bytes, and to so much in any case.
const MAX_RATIO: u64 = 1100;
const FREE: u64 = 1 << 30;

/// Why a layer or a document cannot be had.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Where blobs of a cache are.
pub trait LayerSource: Send + Sync + fmt::Debug {
    /// The bytes of a blob; they may be others than its digest says.
    fn open(&self, blob: &Descriptor) -> Result<File, SourceError>;
}

/// A directory that is an OCI layout.
#[derive(Clone, Debug)]
pub struct FolderSource {
    pub path: PathBuf,
}

impl FolderSource {
    /// Manifest and config of the cache with this digest, or else of this tag.
    pub fn documents(
        &self,
        tag: &str,
        digest: Option<&Digest>,
    ) -> Result<(Vec<u8>, Vec<u8>), SourceError> {
        let index = crate::output::read_index(&self.path)?;
        let path = self.path.display();
        let index = index.ok_or_else(|| format!("`{path}` is no OCI layout: it has no index"))?;
        let wanted = |entry: &&Descriptor| match digest {
            Some(digest) => entry.digest == *digest,
            None => entry.annotations.get(REF_NAME).is_some_and(|name| name == tag),
        };
        let entry = index.manifests.iter().find(wanted);
        let entry = entry.ok_or_else(|| match digest {
            Some(digest) => format!("`{path}` has no cache {digest}"),
            None => format!("`{path}` has no cache with the tag `{tag}`"),
        })?;
        let manifest = self.document(&entry.digest)?;
        let parsed: Manifest = serde_json::from_slice(&manifest)?;
        let config = self.document(&parsed.config.digest)?;
        Ok((manifest, config))
    }

    /// A document, which must be what its digest says.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        let file = self.open(&Descriptor::new("", digest.clone(), 0))?;
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(format!("document {digest} has more than {MAX_DOCUMENT} bytes").into());
        }
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        match hasher.finish() {
            actual if actual == *digest => Ok(bytes),
            actual => Err(format!("document {digest} is corrupted: its bytes are {actual}").into()),
        }
    }
}

impl LayerSource for FolderSource {
    fn open(&self, blob: &Descriptor) -> Result<File, SourceError> {
        let path = self.path.join(crate::output::blob_path(&blob.digest));
        // nothing that is put there in place of a blob leads elsewhere, or makes us wait
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        let file = opened.map_err(|errno| format!("cannot open `{}`: {errno}", path.display()))?;
        let file = File::from(file);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(format!("`{}` is not a file", path.display()).into()),
        }
    }
}

/// The uncompressed tar of the blob in `file`: an error at its end if the bytes are not the blob,
/// and before that if they expand to more than the `size` that its record says.
pub fn layer_reader(blob: &Descriptor, file: File, size: u64) -> io::Result<Box<dyn Read + Send>> {
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let actual = file.metadata()?.len();
    if actual != blob.size {
        let (digest, expected) = (&blob.digest, blob.size);
        return Err(wrong(format!(
            "blob {digest} has {actual} bytes, not the {expected} expected"
        )));
    }
    if size > actual.saturating_mul(MAX_RATIO).max(FREE) {
        return Err(wrong(format!("{actual} bytes cannot be a layer of {size} bytes")));
    }
    let problem = format!("blob {} is corrupted: its bytes are", blob.digest);
    let checked = Verified::new(file, blob.digest.clone(), problem);
    let mut checked = BufReader::with_capacity(64 << 10, checked);
    let start = io::BufRead::fill_buf(&mut checked)?;
    let plain: Box<dyn Read + Send> = match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(checked)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(zstd::stream::read::Decoder::with_buffer(checked)?)
        }
        _ => Box::new(checked),
    };
    Ok(Box::new(plain.take(size.saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(bytes: &[u8], blob: &Descriptor, size: u64) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        io::Seek::rewind(&mut file)?;
        let mut out = Vec::new();
        layer_reader(blob, file, size)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn described(bytes: &[u8]) -> Descriptor {
        Descriptor::new("", Digest::sha256(bytes), bytes.len() as u64)
    }

    #[test]
    fn only_what_was_promised_is_read() {
        let tar = vec![7; 100_000];
        let packed = zstd::encode_all(&tar[..], 1).unwrap();
        assert_eq!(read(&packed, &described(&packed), 100_000).unwrap(), tar);
        assert_eq!(read(&tar, &described(&tar), 100_000).unwrap(), tar);
        // longer than the record says: cut, and so of another digest
        assert_eq!(read(&packed, &described(&packed), 10).unwrap().len(), 11);
        let other = Descriptor { digest: Digest::sha256(b"x"), ..described(&tar) };
        assert!(read(&tar, &other, 100_000).unwrap_err().to_string().contains("is corrupted"));
        let longer = Descriptor { size: 5, ..described(&tar) };
        assert!(read(&tar, &longer, 100_000).unwrap_err().to_string().contains("not the 5"));
        let huge = read(&packed, &described(&packed), 1 << 50).unwrap_err().to_string();
        assert!(huge.contains("cannot be a layer"), "{huge}");
    }
}
