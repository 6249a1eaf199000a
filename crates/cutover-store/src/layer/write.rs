//! Writing a file's contents: zeros in bulk become holes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::ftruncate;
use rustix::io::{Errno, pwrite};

/// A run of zeros shorter than this is written: a hole costs an extent, and page-sized ones would
/// riddle ordinary programs. `useradd` with a large id makes files that are gigabytes of nothing.
const HOLE: usize = 64 << 10;
static ZEROS: [u8; HOLE] = [0; HOLE];

/// Writes to a new, empty file.
#[derive(Debug)]
pub(super) struct FileWriter {
    file: OwnedFd,
    at: u64,
    /// Where written bytes end; the file must be extended from here if it ends in a hole.
    end: u64,
}

impl FileWriter {
    pub(super) fn new(file: OwnedFd) -> Self {
        Self { file, at: 0, end: 0 }
    }

    /// Goes on at `offset`, which is not before what was written.
    pub(super) fn seek(&mut self, offset: u64) {
        self.at = offset;
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let zeros = leading_holes(bytes);
            self.at += zeros as u64;
            bytes = &bytes[zeros..];
            let data = until_hole(bytes);
            self.write_data(&bytes[..data])?;
            bytes = &bytes[data..];
        }
        Ok(())
    }

    fn write_data(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let count = match pwrite(&self.file, bytes, self.at) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            self.at += count as u64;
            self.end = self.at;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Gives the file its size. Returns it for its attributes.
    pub(super) fn finish(self, size: u64) -> Result<OwnedFd, Errno> {
        if self.end != size {
            ftruncate(self.file.as_fd(), size)?;
        }
        Ok(self.file)
    }
}

/// Bytes of whole holes that `bytes` begins with.
fn leading_holes(bytes: &[u8]) -> usize {
    bytes.chunks_exact(HOLE).take_while(|chunk| *chunk == ZEROS).count() * HOLE
}

/// Bytes before the next hole, seen in steps of one.
fn until_hole(bytes: &[u8]) -> usize {
    let holes = bytes.chunks_exact(HOLE).position(|chunk| chunk == ZEROS);
    holes.map_or(bytes.len(), |at| at * HOLE)
}
