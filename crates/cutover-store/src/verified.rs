//! [`Verified`]: bytes on their way, compared with their digest when they end.

use std::io::{self, Read};

use cutover_core::Digest;
use cutover_core::digest::Hasher;

/// Reads on; the end is an error if the bytes were not those of the digest.
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    /// Taken at the end.
    hasher: Option<Hasher>,
    expected: Digest,
    /// What is wrong when they differ, before the digest of what came.
    problem: String,
}

impl<R> Verified<R> {
    pub fn new(inner: R, expected: Digest, problem: impl Into<String>) -> Self {
        let hasher = Some(Hasher::new(expected.algorithm()));
        Self { inner, hasher, expected, problem: problem.into() }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if count == 0
            && !buffer.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            let actual = hasher.finish();
            if actual != self.expected {
                let text = format!("{} {actual}", self.problem);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(expected: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut reader = Verified::new(&b"bytes"[..], Digest::sha256(expected), "they are");
        reader.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn others_end_in_an_error() {
        assert_eq!(read(b"bytes").unwrap(), b"bytes");
        let error = read(b"other").unwrap_err();
        assert_eq!(error.to_string(), format!("they are {}", Digest::sha256(b"bytes")));
    }
}
