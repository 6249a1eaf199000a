//! Writing a file's contents: zeros in bulk become holes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::ftruncate;
use rustix::io::{Errno, pwrite};

/// A run of zeros shorter than this is written: a hole costs an extent, and page-sized ones would
/// riddle ordinary programs. `useradd` with a large id makes files that are gigabytes of nothing.
const HOLE: usize = 64 << 10;
/// Zeros are looked for in pieces of this size.
const PIECE: usize = 4 << 10;
static ZEROS: [u8; HOLE] = [0; HOLE];

/// Writes to a new, empty file.
#[derive(Debug)]
pub(super) struct FileWriter {
    file: OwnedFd,
    at: u64,
    /// Zeros after `at` that were not written: more may follow.
    zeros: u64,
    /// Where written bytes end; the file must be extended from here if it ends in a hole.
    end: u64,
}

impl FileWriter {
    pub(super) fn new(file: OwnedFd) -> Self {
        Self { file, at: 0, zeros: 0, end: 0 }
    }

    /// Goes on at `offset`, which is not before what was written.
    pub(super) fn seek(&mut self, offset: u64) {
        self.at = offset;
        self.zeros = 0;
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        // `bytes[start..at]` is data that is to be written.
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() {
            let zeros = leading_zeros(&bytes[at..]);
            if zeros == 0 {
                at = bytes.len().min(at + PIECE);
                continue;
            }
            let end = at + zeros;
            if at == start {
                self.zeros += zeros as u64;
                start = end;
            } else if end == bytes.len() || zeros >= HOLE {
                self.write_data(&bytes[start..at])?;
                self.zeros = zeros as u64;
                start = end;
            } // else too few, and data follows: written with it
            at = end;
        }
        self.write_data(&bytes[start..])
    }

    fn write_data(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        match usize::try_from(std::mem::take(&mut self.zeros)) {
            Ok(few) if few < HOLE => self.write_all(&ZEROS[..few])?,
            Ok(many) => self.at += many as u64,
            Err(_) => return Err(Errno::FBIG),
        }
        self.write_all(bytes)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
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

/// Bytes of the pieces of zeros that `bytes` begins with.
fn leading_zeros(bytes: &[u8]) -> usize {
    let zero = |piece: &&[u8]| **piece == ZEROS[..piece.len()];
    bytes.chunks(PIECE).take_while(zero).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Writes the pieces; returns whether the file has a hole.
    fn check(pieces: &[Vec<u8>]) -> bool {
        let file = tempfile::tempfile().unwrap();
        let mut writer = FileWriter::new(file.into());
        for piece in pieces {
            writer.write(piece).unwrap();
        }
        let expected = pieces.concat();
        let file = std::fs::File::from(writer.finish(expected.len() as u64).unwrap());
        let mut actual = vec![1; expected.len() + 1];
        let count = rustix::io::pread(&file, &mut actual, 0).unwrap();
        assert!(actual[..count] == expected);
        file.metadata().unwrap().blocks() * 512 < expected.len() as u64
    }

    #[test]
    fn what_is_written_is_read() {
        let (zeros, data) = (|n: usize| vec![0; n], |n: usize| vec![7; n]);
        assert!(!check(&[]));
        assert!(!check(&[data(10), zeros(10), data(10)]));
        assert!(!check(&[data(5000), [zeros(HOLE - 1), data(1)].concat()]));
        assert!(check(&[zeros(1 << 20)]));
        assert!(check(&[zeros(100_000), zeros(100_000), data(1)]));
        assert!(check(&[[data(5000), zeros(20_000)].concat(), zeros(70_000), data(3)]));
        assert!(check(&[[data(4096), zeros(3 * HOLE), data(4096)].concat()]));
        assert!(check(&[data(1), zeros(HOLE), zeros(1), data(1), zeros(200_000)]));
    }
}
