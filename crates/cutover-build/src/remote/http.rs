//! Files over HTTP: asked for with the mark of what is kept, and kept by their digest.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cutover_core::Digest;
use cutover_core::digest::{Algorithm, Hasher};
use serde::{Deserialize, Serialize};

use super::{FetchRequest, RemoteError, Remotes, kept, url};
use crate::Cancel;

/// Most bytes of one file.
const MAX_BYTES: u64 = 32 << 30;
/// Most bytes of a record.
const MAX_RECORD: u64 = 64 << 10;

/// A file that was fetched.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    /// Seconds since 1970; the beginning of time when the server does not say.
    pub(crate) modified: i64,
}

/// What is known of an address.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    etag: Option<String>,
    last_modified: Option<i64>,
    digest: Digest,
}

impl Remotes<'_> {
    /// The file at `address`. With a checksum, what is kept and fits is not asked for again.
    pub(crate) fn download(
        &self,
        address: &str,
        checksum: Option<&Digest>,
    ) -> Result<Download, RemoteError> {
        let directory = kept::directory(self.root, "http")?;
        let record_path = directory.join(format!("{}.json", kept::name(address)));
        let record = read(&record_path).filter(|it| body(&directory, &it.digest).exists());
        let to_download = |record: &Record| Download {
            path: body(&directory, &record.digest),
            digest: record.digest.clone(),
            modified: record.last_modified.unwrap_or(0),
        };
        if let (Some(record), Some(checksum)) = (&record, checksum)
            && record.digest == *checksum
        {
            return Ok(to_download(record));
        }
        let algorithm = checksum.map_or(Algorithm::Sha256, Digest::algorithm);
        let mut body_file = Hashed {
            file: tempfile::NamedTempFile::new_in(&directory)?,
            hasher: Hasher::new(algorithm),
            cancel: self.cancel,
        };
        let authorization = self.authorization(address);
        // Another kind of digest would have to be made anew.
        let usable = record.as_ref().filter(|it| it.digest.algorithm() == algorithm);
        let request = FetchRequest {
            url: address,
            authorization: authorization.as_deref(),
            etag: usable.and_then(|record| record.etag.as_deref()),
            max: MAX_BYTES,
        };
        let fetched = self
            .fetcher
            .fetch(&request, &mut body_file)
            .map_err(|source| RemoteError::Fetch { url: url::shown(address), source })?;
        if self.cancel.is_raised() {
            return Err(RemoteError::Interrupted);
        }
        let record = match usable {
            Some(_) if fetched.unchanged => record.expect("it is what `usable` is of"),
            _ => Record {
                etag: fetched.etag,
                last_modified: fetched.last_modified,
                digest: body_file.hasher.finish(),
            },
        };
        if let Some(expected) = checksum.filter(|expected| **expected != record.digest) {
            let (url, actual) = (url::shown(address), record.digest);
            return Err(RemoteError::Checksum { url, actual, expected: expected.clone() });
        }
        if !fetched.unchanged {
            let target = body(&directory, &record.digest);
            body_file.file.persist(&target).map_err(|error| error.error)?;
            write(&directory, &record_path, &record)?;
        }
        Ok(to_download(&record))
    }

    /// `HTTP_AUTH_HEADER_host` or `HTTP_AUTH_TOKEN_host`.
    fn authorization(&self, address: &str) -> Option<String> {
        let host = url::host(address);
        let header = self.secret(&format!("HTTP_AUTH_HEADER_{host}")).map(str::to_owned);
        header.or_else(|| {
            let token = self.secret(&format!("HTTP_AUTH_TOKEN_{host}"))?;
            Some(format!("Bearer {token}"))
        })
    }
}

fn body(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join(format!("{}-{}", digest.algorithm().as_str(), digest.hex()))
}

/// A record that cannot be read is none.
fn read(path: &Path) -> Option<Record> {
    let bytes = crate::context::read_bounded(path, MAX_RECORD).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn write(directory: &Path, path: &Path, record: &Record) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A file that is hashed while it is written.
struct Hashed<'a> {
    file: tempfile::NamedTempFile,
    hasher: Hasher,
    cancel: &'a Cancel,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_raised() {
            return Err(io::Error::other("the build was interrupted"));
        }
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
