//! Digests of a context's files, remembered by what the kernel says of them.
//!
//! A file is the same if device, inode, size, modification and change time are: the change time
//! cannot be set back, so `touch` fools nobody. A file that changed less than a second before it
//! was read is not remembered: a later change could bear the same time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cutover_core::Digest;
use rusqlite::{OptionalExtension as _, params};
use sha2::Digest as _;

use super::Cache;
use crate::fingerprint::{FileDigests, ReadFiles};
use crate::select::From;
use crate::tree::{Meta, TreeError};

/// What the kernel says of a file: device, inode, size, times.
type Identity = [u64; 5];
/// The digest's 32 bytes.
type Sum = [u8; 32];

/// Bytes of one record: identity and sum.
const RECORD: usize = 5 * 8 + 32;

/// The remembered digests of one context.
#[derive(Debug)]
pub(crate) struct Files {
    context: String,
    known: HashMap<Identity, Sum>,
    /// Those that were asked for in this build: what is kept.
    used: Mutex<HashMap<Identity, Sum>>,
    fresh: AtomicBool,
    /// Seconds; younger files are not remembered.
    now: i64,
}

impl Files {
    /// Loads what is known of the context at `path`. A cache that cannot be read is empty.
    pub(crate) fn load(cache: &Cache, path: &Path, now: i64) -> Self {
        let context = path.to_string_lossy().into_owned();
        let query = "SELECT records FROM files WHERE context = ?1";
        let records: Option<Vec<u8>> = cache
            .db()
            .query_row(query, [&context], |row| row.get(0))
            .optional()
            .unwrap_or_default();
        let known = records.map(|bytes| decode(&bytes)).unwrap_or_default();
        Self { context, known, used: Mutex::default(), fresh: AtomicBool::new(false), now }
    }

    fn used(&self) -> MutexGuard<'_, HashMap<Identity, Sum>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_known(&self, meta: &Meta) -> bool {
        self.known.contains_key(&identity(meta))
    }

    /// Writes back what was learnt.
    pub(crate) fn save(&self, cache: &Cache) -> Result<(), rusqlite::Error> {
        if !self.fresh.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Another Dockerfile of the same context may use other files: theirs are kept too, within
        // reason.
        let mut all = self.used().clone();
        if self.known.len() < 4 * all.len() + 1000 {
            all.extend(&self.known);
        }
        let mut bytes = Vec::with_capacity(all.len() * RECORD);
        for (identity, sum) in &all {
            identity.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            bytes.extend(sum);
        }
        let insert = "INSERT OR REPLACE INTO files (context, records) VALUES (?1, ?2)";
        cache.db().execute(insert, params![self.context, bytes]).map(|_| ())
    }
}

impl FileDigests for Files {
    fn digest(&self, from: &From<'_>, path: &Path, meta: &Meta) -> Result<Digest, TreeError> {
        let identity = identity(meta);
        if let Some(sum) = self.known.get(&identity) {
            self.used().insert(identity, *sum);
            return Ok(to_digest(sum));
        }
        let digest = ReadFiles.digest(from, path, meta)?;
        if meta.ctime.0 + 1 < self.now
            && let Some(sum) = to_sum(&digest)
        {
            self.used().insert(identity, sum);
            self.fresh.store(true, Ordering::Relaxed);
        }
        Ok(digest)
    }
}

fn identity(meta: &Meta) -> Identity {
    let time = |(seconds, nanoseconds): (i64, u32)| {
        seconds.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(nanoseconds.into())
    };
    [meta.dev, meta.ino, meta.size, time(meta.mtime), time(meta.ctime)]
}

fn decode(bytes: &[u8]) -> HashMap<Identity, Sum> {
    let record = |bytes: &[u8]| {
        let mut identity = [0; 5];
        for (number, bytes) in identity.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        let mut sum = [0; 32];
        sum.copy_from_slice(&bytes[40..]);
        (identity, sum)
    };
    bytes.chunks_exact(RECORD).map(record).collect()
}

fn to_digest(sum: &Sum) -> Digest {
    let text = format!("sha256:{}", cutover_core::digest::hex(sum));
    // 64 hex digits are a digest; were they not, the empty one matches nothing.
    text.parse().unwrap_or_else(|_| Digest::sha256(b""))
}

fn to_sum(digest: &Digest) -> Option<Sum> {
    let mut sum = [0; 32];
    let hex = digest.hex();
    if hex.len() != 2 * sha2::Sha256::output_size() {
        return None;
    }
    for (index, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(sum)
}
