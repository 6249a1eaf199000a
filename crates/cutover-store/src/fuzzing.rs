//! Doors for the fuzz targets in `fuzz/`: what hostile bytes reach, without a store around it.

use std::path::{Path, PathBuf};

use crate::layer::{Lower, unpack};
use crate::tar::{Limits, Reader};

/// Small enough that one input takes milliseconds.
const LIMITS: Limits =
    Limits { entries: 1000, depth: 64, path: 4095, extension: 1 << 16, segments: 1 << 12 };

/// Reads all entries and all of their data; returns how many bytes of data there were.
pub fn read_tar(bytes: &[u8]) -> u64 {
    let mut reader = Reader::new(bytes, LIMITS);
    let mut total = 0;
    while let Ok(Some(_)) = reader.next() {
        while let Ok(data) = reader.data() {
            let count = data.len();
            if count == 0 {
                break;
            }
            total += count as u64;
            reader.consume(count);
        }
    }
    total
}

/// Unpacks a layer into the empty directory `root`, on top of `lower`.
pub fn unpack_layer(bytes: &[u8], root: &Path, lower: Vec<PathBuf>) -> bool {
    let mut reader = Reader::new(bytes, LIMITS);
    unpack(&mut reader, root, &mut Lower::new(lower), &LIMITS).is_ok()
}
