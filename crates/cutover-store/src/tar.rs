//! Tar as layers use it: ustar, GNU and PAX read, a deterministic PAX subset written.
//!
//! An own reader, because a layer's tar comes from strangers: what a header may make us hold in
//! memory is bounded, every number is checked, a truncated archive is an error that says where,
//! and a path is cleaned in one place ([`clean`]). It never touches the file system.

mod format;
mod header;
mod pax;
mod reader;
mod sparse;

pub(crate) use format::{TRAILER, padding, write_header};
pub use reader::Reader;

/// What a tar may ask of us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: u64,
    /// Path components: removing a tree and mounting it both walk them.
    pub depth: usize,
    /// Bytes of a path or link target: the kernel's PATH_MAX.
    pub path: usize,
    /// Bytes of one entry's PAX records, or of its GNU long name.
    pub extension: u64,
    /// Segments of a sparse file.
    pub segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 10_000_000, depth: 512, path: 4095, extension: 1 << 20, segments: 1 << 20 }
    }
}

/// Seconds since 1970, and nanoseconds after them, also before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    /// To another entry's path, in `Entry::link`.
    HardLink,
    /// To the text in `Entry::link`.
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// Bytes of a sparse file that are in the archive; the rest are zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// A header with its extensions applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written, not cleaned.
    pub path: Vec<u8>,
    pub kind: Kind,
    pub link: Vec<u8>,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Bytes of the file; 0 for other kinds.
    pub size: u64,
    pub device: (u32, u32),
    /// Sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<Vec<Segment>>,
}

/// Why bytes are not a tar that we accept.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("the tar is truncated: it ends {place} (byte {offset})")]
    Truncated { place: String, offset: u64 },
    #[error("not a tar: the header at byte {offset} has a wrong checksum")]
    Checksum { offset: u64 },
    #[error("the header at byte {offset} has a bad {field}")]
    Field { offset: u64, field: &'static str },
    #[error("entry `{path}` has an unknown type `{flag}`")]
    Type { path: String, flag: char },
    #[error("entry `{path}` has a bad PAX record `{record}`")]
    Pax { path: String, record: String },
    #[error("entry `{path}` has a bad sparse map")]
    Sparse { path: String },
    #[error("entry `{path}` exceeds a limit: {limit}")]
    Limit { path: String, limit: String },
    #[error("the tar has more than {0} entries")]
    Entries(u64),
    #[error("cannot read the tar at byte {offset}")]
    Read { offset: u64, source: std::io::Error },
}

/// `bytes` for a message: readable and short.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(300).collect();
    text.escape_debug().to_string()
}

/// The path below the root that an entry means, without `.`, `..` and empty parts: `..` stops at
/// the root, as in a chroot. Empty for the root itself. `None` if it cannot be a path.
pub fn clean(path: &[u8]) -> Option<Vec<u8>> {
    if path.contains(&0) {
        return None;
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// The folder and the name of a clean path; the folder is empty for the root.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests;
