//! Where the last lines of a file begin.

use std::io;
use std::os::unix::fs::FileExt;

use fs_err as fs;

const BLOCK: usize = 64 << 10;

/// The offset of the last `wanted` lines, and how many there are (fewer when the file is shorter).
pub(super) fn offset_of_last(file: &fs::File, wanted: usize) -> io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    if wanted == 0 {
        return Ok((end, 0));
    }
    let mut block = vec![0; BLOCK];
    let mut found = 0;
    let size = end;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let length = usize::try_from(end - start).unwrap_or(BLOCK);
        file.file().read_exact_at(&mut block[..length], start)?;
        for (at, _) in block[..length].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n')
        {
            let next = start + at as u64 + 1;
            // The newline at the very end closes the last line and begins none.
            if next == size {
                continue;
            }
            found += 1;
            if found == wanted {
                return Ok((next, wanted));
            }
        }
        end = start;
    }
    let first_line = usize::from(size > 0);
    Ok((0, found + first_line))
}
