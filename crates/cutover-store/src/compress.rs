//! Layers on their way out: a tar becomes a compressed blob, once, as a stream.
//!
//! The same tar in the same [`LayerForm`] gives the same bytes each time, whatever the number of
//! processors: gzip carries no time and no name, and zstd cuts its input into jobs of one size.
//! The result is in a file without a name, which is gone when it is closed or its owner dies.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::str::FromStr;

use cutover_core::Digest;
use cutover_core::digest::{Algorithm, Hasher};
use cutover_core::oci::media_type;

use crate::error::IoError;
use crate::store::Store;

/// Bytes that one of zstd's jobs compresses: with its window it is what a worker holds in memory.
const JOB: u32 = 2 << 20;
/// More workers cost memory (some 12 MB each) and gain little: the reader hashes at the speed of a
/// few of them.
const MAX_WORKERS: u32 = 4;
/// Bytes that are handed to a compressor at a time.
const PIECE: usize = 256 << 10;

/// How the layers of an image are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerForm {
    Uncompressed,
    /// Level 1 to 9. What every registry client reads.
    Gzip {
        level: u32,
    },
    /// Level 1 to 22. Docker reads it since 23, containerd since 1.5, podman since 2.
    Zstd {
        level: i32,
    },
}

/// Why a text is not a form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFormError {
    #[error("`{0}` is not a compression: use `gzip`, `zstd` or `uncompressed`")]
    Name(String),
    #[error("`{level}` is not a level of {name}: it has 1 to {max}")]
    Level { name: &'static str, level: String, max: i32 },
}

/// A blob that has no name yet.
#[derive(Debug)]
pub struct Spooled {
    pub digest: Digest,
    pub size: u64,
    pub file: File,
}

impl LayerForm {
    pub const GZIP: Self = Self::Gzip { level: 6 };
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// The form that `name` and `level` mean, as in `compression=zstd,compression-level=9`.
    pub fn parse(name: &str, level: Option<&str>) -> Result<Self, ParseFormError> {
        let number = |name, max: i32, default: i32| match level {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|level| (1..=max).contains(level))
                .ok_or_else(|| ParseFormError::Level { name, level: text.to_owned(), max }),
        };
        match name {
            "gzip" => Ok(Self::Gzip { level: u32::try_from(number("gzip", 9, 6)?).unwrap_or(6) }),
            "zstd" => Ok(Self::Zstd { level: number("zstd", 22, 3)? }),
            "uncompressed" | "none" => Ok(Self::Uncompressed),
            other => Err(ParseFormError::Name(other.chars().take(40).collect())),
        }
    }

    /// What the form is remembered under.
    pub fn key(self) -> String {
        match self {
            Self::Uncompressed => "tar".to_owned(),
            Self::Gzip { level } => format!("gzip:{level}"),
            Self::Zstd { level } => format!("zstd:{level}"),
        }
    }

    /// The media type of a layer in this form, in the OCI's words or docker's.
    pub fn media_type(self, docker: bool) -> &'static str {
        match (self, docker) {
            (Self::Uncompressed, false) => media_type::OCI_LAYER,
            (Self::Uncompressed, true) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Gzip { .. }, false) => media_type::OCI_LAYER_GZIP,
            (Self::Gzip { .. }, true) => media_type::DOCKER_LAYER_GZIP,
            (Self::Zstd { .. }, false) => media_type::OCI_LAYER_ZSTD,
            (Self::Zstd { .. }, true) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}

impl FromStr for LayerForm {
    type Err = ParseFormError;

    /// `gzip`, `zstd:9`, `uncompressed`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((name, level)) => Self::parse(name, Some(level)),
            None => Self::parse(text, None),
        }
    }
}

impl Store {
    /// Reads `tar` to its end and keeps it in `form` in a file of its own.
    pub fn spool(&self, mut tar: impl Read, form: LayerForm) -> Result<Spooled, IoError> {
        let tmp = self.tmp_dir();
        let file = tempfile::tempfile_in(&tmp).map_err(IoError::at("create a file in", &tmp))?;
        let sink = Hashing { file, hasher: Hasher::new(Algorithm::Sha256), size: 0 };
        let sink = BufWriter::with_capacity(256 << 10, sink);
        let written = compress(&mut tar, sink, form).map_err(IoError::at("write to", &tmp))?;
        Ok(Spooled { digest: written.hasher.finish(), size: written.size, file: written.file })
    }
}

fn compress(tar: &mut dyn Read, sink: BufWriter<Hashing>, form: LayerForm) -> io::Result<Hashing> {
    let sink = match form {
        LayerForm::Uncompressed => {
            let mut sink = sink;
            copy(tar, &mut sink)?;
            sink
        }
        LayerForm::Gzip { level } => {
            let level = flate2::Compression::new(level);
            let mut encoder = flate2::write::GzEncoder::new(sink, level);
            copy(tar, &mut encoder)?;
            encoder.finish()?
        }
        LayerForm::Zstd { level } => {
            let mut encoder = zstd::stream::write::Encoder::new(sink, level)?;
            // never 0: that is another algorithm, with other bytes
            encoder.multithread(workers())?;
            encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(JOB))?;
            copy(tar, &mut encoder)?;
            encoder.finish()?
        }
    };
    sink.into_inner().map_err(io::IntoInnerError::into_error)
}

fn workers() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(MAX_WORKERS).clamp(1, MAX_WORKERS)
}

/// Hands on pieces of one size, however the tar comes: deflate's result depends on them.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        if (&mut *from).take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(());
        }
        to.write_all(&piece)?;
    }
}

#[derive(Debug)]
struct Hashing {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;
    use crate::stream::inflate;

    /// Something that compresses, but not to nothing, and is several of zstd's jobs long.
    fn tar() -> Vec<u8> {
        let mut state = 1u32;
        (0..12_000_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0] & 0x1f
            })
            .collect()
    }

    #[test]
    fn each_form_comes_back_and_is_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let tar = tar();
        for form in [LayerForm::Uncompressed, LayerForm::Gzip { level: 1 }, LayerForm::ZSTD] {
            let mut first = store.spool(&tar[..], form).unwrap();
            // in small pieces, as a snapshot gives them
            let second = store.spool(Pieces(&tar), form).unwrap();
            assert_eq!((&first.digest, first.size), (&second.digest, second.size), "{form:?}");
            first.file.seek(SeekFrom::Start(0)).unwrap();
            let mut bytes = Vec::new();
            first.file.read_to_end(&mut bytes).unwrap();
            assert_eq!((Digest::sha256(&bytes), bytes.len() as u64), (first.digest, first.size));
            let mut back = Vec::new();
            inflate(&bytes[..]).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == tar, "{form:?} does not come back");
        }
        assert_eq!(fs_err::read_dir(store.tmp_dir()).unwrap().count(), 0);
    }

    struct Pieces<'a>(&'a [u8]);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(7_001);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn forms() {
        let check = |text: &str, key: &str| {
            assert_eq!(text.parse::<LayerForm>().unwrap().key(), key, "{text}");
        };
        check("gzip", "gzip:6");
        check("zstd", "zstd:3");
        check("zstd:19", "zstd:19");
        check("uncompressed", "tar");
        for bad in ["", "xz", "gzip:0", "gzip:10", "zstd:23", "zstd:x"] {
            assert!(bad.parse::<LayerForm>().is_err(), "{bad}");
        }
    }
}
