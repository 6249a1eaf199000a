//! The files of a log directory: `container.log`, and older ones with growing numbers.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

/// The file with number `n`; 0 is the one being written.
pub(super) fn path(dir: &Path, n: u32) -> PathBuf {
    match n {
        0 => dir.join("container.log"),
        n => dir.join(format!("container.log.{n}")),
    }
}

/// An open log file, known by its inode: its name changes under rotation.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: fs::File,
    pub(super) inode: u64,
}

/// Opens the files newest first, up to (without) the one with inode `known`. In this order a
/// rotation in between can only show a file twice, never hide one.
pub(super) fn newest_first(dir: &Path, known: Option<u64>) -> io::Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for n in 0.. {
        let file = match fs::File::open(path(dir, n)) {
            Ok(file) => file,
            // A rotation that is half done has no file 0 for a moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound && n == 0 => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        if Some(inode) == known {
            break;
        }
        if parts.iter().all(|part| part.inode != inode) {
            parts.push(Part { file, inode });
        }
    }
    Ok(parts)
}
