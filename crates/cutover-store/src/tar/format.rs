//! Writing headers: ustar where it can say the entry, PAX records where it cannot.
//!
//! Pure and deterministic: the same entry gives the same bytes on every machine, so a layer's
//! digest does not depend on who made its tar. No user names, no access times; mtimes are whole
//! seconds, as every other builder writes them.

use super::header::BLOCK;
use super::{Entry, Kind};

/// The end mark: two empty blocks.
pub(crate) const TRAILER: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What the fields of a header block can hold.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;

/// The zeros that fill the last block of data of this size.
pub(crate) fn padding(size: u64) -> &'static [u8] {
    let used = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if used == 0 { &[] } else { &ZEROS[used..] }
}

/// Appends the entry's header blocks to `out`. `entry.path` must be clean and not empty, and a
/// directory's is written with a slash at its end.
pub(crate) fn write_header(out: &mut Vec<u8>, entry: &Entry) {
    let mut path = entry.path.clone();
    if entry.kind == Kind::Directory {
        path.push(b'/');
    }
    let records = records(entry, &path);
    if !records.is_empty() {
        let name = extension_name(&entry.path);
        let mut block = block(&name, b'x', 0o644, records.len() as u64);
        seal(&mut block);
        out.extend_from_slice(&block);
        out.extend_from_slice(&records);
        out.extend_from_slice(padding(records.len() as u64));
    }
    let size = if entry.kind == Kind::File { entry.size } else { 0 };
    let mut block = block(&path, flag(entry.kind), entry.mode, size);
    put_octal(&mut block[108..116], u64::from(entry.uid));
    put_octal(&mut block[116..124], u64::from(entry.gid));
    put_octal(&mut block[136..148], u64::try_from(entry.mtime.seconds).unwrap_or(0));
    put_text(&mut block[157..257], &entry.link);
    if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
        put_octal(&mut block[329..337], u64::from(entry.device.0));
        put_octal(&mut block[337..345], u64::from(entry.device.1));
    }
    seal(&mut block);
    out.extend_from_slice(&block);
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// The PAX records that the entry needs, sorted by key.
fn records(entry: &Entry, path: &[u8]) -> Vec<u8> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));
    for (name, value) in &entry.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value.clone());
    }
    if entry.gid > MAX_ID {
        add(b"gid", entry.gid.to_string().into_bytes());
    }
    if !entry.link.is_ascii() || entry.link.len() > 100 {
        add(b"linkpath", entry.link.clone());
    }
    let seconds = entry.mtime.seconds;
    if !(0..=MAX_SIZE.cast_signed()).contains(&seconds) {
        add(b"mtime", seconds.to_string().into_bytes());
    }
    if !path.is_ascii() || split_name(path).is_none() {
        add(b"path", path.to_vec());
    }
    if entry.kind == Kind::File && entry.size > MAX_SIZE {
        add(b"size", entry.size.to_string().into_bytes());
    }
    if entry.uid > MAX_ID {
        add(b"uid", entry.uid.to_string().into_bytes());
    }
    records.sort();
    records.iter().flat_map(|(key, value)| record(key, value)).collect()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3; // blank, `=`, newline
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// The name of the block of records: only old programs see it, as a file.
fn extension_name(path: &[u8]) -> Vec<u8> {
    let (dir, name) = super::split(path);
    let mut out = if dir.is_empty() { Vec::new() } else { [dir, b"/"].concat() };
    out.extend_from_slice(b"PaxHeaders.0/");
    out.extend_from_slice(name);
    out.retain(u8::is_ascii);
    out.truncate(100);
    out
}

/// A block with the fields that every header has.
fn block(path: &[u8], flag: u8, mode: u32, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    match split_name(path).filter(|_| path.is_ascii()) {
        Some((prefix, name)) => {
            put_text(&mut block[..100], name);
            put_text(&mut block[345..500], prefix);
        }
        None => {
            // A cut after a slash would make the file a directory to old readers.
            let cut = &path[..path.len().min(100)];
            put_text(&mut block[..100], cut.strip_suffix(b"/").unwrap_or(cut));
        }
    }
    put_octal(&mut block[100..108], u64::from(mode & 0o7777));
    put_octal(&mut block[108..116], 0);
    put_octal(&mut block[116..124], 0);
    put_octal(&mut block[124..136], size);
    put_octal(&mut block[136..148], 0);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    put_octal(&mut block[329..337], 0);
    put_octal(&mut block[337..345], 0);
    block
}

/// Where ustar would cut the path into prefix and name; `None` if it cannot hold it.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((&[], path));
    }
    // Not at the slash that ends a directory's path; the name must not be empty.
    let body = path.strip_suffix(b"/").unwrap_or(path);
    let cut = body.iter().take(156).rposition(|&byte| byte == b'/').filter(|cut| *cut > 0)?;
    let name = &path[cut + 1..];
    (name.len() <= 100).then(|| (&path[..cut], name))
}

/// What does not fit is in the PAX records; the field holds its beginning, which nobody reads.
fn put_text(field: &mut [u8], text: &[u8]) {
    let count = text.len().min(field.len());
    field[..count].copy_from_slice(&text[..count]);
}

/// Octal digits and a NUL. What does not fit is in the PAX records; the field holds 0.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    let text = if text.len() > digits { "0".repeat(digits) } else { text };
    field[..digits].copy_from_slice(text.as_bytes());
}

fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    let text = format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(text.as_bytes());
}
