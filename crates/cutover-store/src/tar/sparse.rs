//! Sparse files: GNU's old format and its three PAX formats, brought to one list of segments.

use super::header::{BLOCK, gnu_segments};
use super::pax::{PaxSparse, decimal};
use super::{Limits, Segment};

/// The segments that PAX records spell out (formats 0.0 and 0.1).
pub(super) fn from_records(sparse: &PaxSparse) -> Option<Vec<Segment>> {
    if !sparse.map.len().is_multiple_of(2) {
        return None;
    }
    let pairs = sparse.map.chunks_exact(2);
    Some(pairs.map(|pair| Segment { offset: pair[0], length: pair[1] }).collect())
}

/// Reads format 1.0's map, which precedes the file's data in whole blocks: the count, then
/// offsets and lengths, one decimal number a line. Returns the blocks used, too.
pub(super) fn from_data<E>(
    limits: &Limits,
    mut next: impl FnMut() -> Result<[u8; BLOCK], E>,
) -> Result<Option<(Vec<Segment>, u64)>, E> {
    let (mut numbers, mut line): (Vec<u64>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut blocks = 0;
    loop {
        let block = next()?;
        blocks += 1;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let Some(number) = decimal(&line) else { return Ok(None) };
            line.clear();
            numbers.push(number);
            let count = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
            if count > limits.segments {
                return Ok(None);
            }
            if numbers.len() == 1 + 2 * count {
                let pairs = numbers[1..].chunks_exact(2);
                let segments = pairs.map(|pair| Segment { offset: pair[0], length: pair[1] });
                return Ok(Some((segments.collect(), blocks)));
            }
        }
        if line.len() > 20 {
            return Ok(None);
        }
    }
}

/// The segments of one of GNU's extension blocks, and whether another follows.
pub(super) fn from_block(block: &[u8; BLOCK]) -> Option<(Vec<Segment>, bool)> {
    Some((gnu_segments(&block[..504])?, block[504] != 0))
}

/// Whether the segments are in order, within the file, and as long as the stored data.
pub(super) fn is_valid(segments: &[Segment], size: u64, stored: u64) -> bool {
    let (mut end, mut total) = (0, 0_u64);
    for segment in segments {
        let Some(next) = segment.offset.checked_add(segment.length) else { return false };
        if segment.offset < end || next > size {
            return false;
        }
        end = next;
        total += segment.length; // cannot overflow: segments are disjoint and below `size`
    }
    total == stored
}
