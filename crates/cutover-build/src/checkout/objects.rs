//! git's objects: ids, and commits loose or in packs.

use std::io::Read;
use std::path::Path;

use sha1::{Digest as _, Sha1};

use super::read;

/// SHA-1 of an object.
pub(super) type Id = [u8; 20];

/// What matters of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) tree: Id,
    /// The committer's, in seconds since 1970.
    pub(super) time: i64,
}

/// Most bytes of a commit.
const MAX_COMMIT: u64 = 1 << 20;
/// Deltas upon deltas: git's own limit is 4095, its default 50.
const MAX_DELTAS: usize = 100;

pub(super) fn object_id(kind: &str, bytes: &[u8]) -> Id {
    let mut hash = Sha1::new();
    hash.update(format!("{kind} {}\0", bytes.len()));
    hash.update(bytes);
    hash.finalize().into()
}

pub(super) fn blob_id(bytes: &[u8]) -> Id {
    object_id("blob", bytes)
}

/// 40 hex digits.
fn parse_id(text: &str) -> Option<Id> {
    let mut id = [0; 20];
    if text.len() != 40 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(id)
}

/// Reads the commit with this id, and checks that it is it.
pub(super) fn commit(objects: &Path, hex: &str) -> Option<Commit> {
    let id = parse_id(hex)?;
    let bytes = loose(objects, hex).or_else(|| packed(objects, &id))?;
    if object_id("commit", &bytes) != id {
        return None;
    }
    let text = String::from_utf8_lossy(&bytes);
    let head = text.split("\n\n").next()?;
    let field =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let committer = field("committer")?;
    let mut words = committer.rsplit(' ').skip(1);
    Some(Commit { tree: parse_id(field("tree")?)?, time: words.next()?.parse().ok()? })
}

fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    flate2::read::ZlibDecoder::new(bytes).take(MAX_COMMIT).read_to_end(&mut out).ok()?;
    Some(out)
}

fn loose(objects: &Path, hex: &str) -> Option<Vec<u8>> {
    let path = objects.join(&hex[..2]).join(&hex[2..]);
    if !path.is_file() {
        return None;
    }
    let object = inflate(&read(&path)?)?;
    let end = object.iter().position(|byte| *byte == 0)?;
    object.starts_with(b"commit ").then(|| object[end + 1..].to_vec())
}

fn packed(objects: &Path, id: &Id) -> Option<Vec<u8>> {
    let entries = fs_err::read_dir(objects.join("pack")).ok()?;
    let mut indexes = entries.filter_map(|entry| Some(entry.ok()?.path()));
    indexes.find_map(|path| {
        if path.extension()? != "idx" {
            return None;
        }
        let offset = offset(&read(&path)?, id)?;
        let pack = fs_err::File::open(path.with_extension("pack")).ok()?;
        object(&pack, offset, MAX_DELTAS)
    })
}

/// Where an object is in the pack of this index (version 2).
fn offset(index: &[u8], id: &Id) -> Option<u64> {
    let number =
        |at: usize| Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?) as usize);
    if index.get(..8)? != [0xff, b't', b'O', b'c', 0, 0, 0, 2] {
        return None;
    }
    let fanout = |byte: usize| number(8 + 4 * byte);
    let count = fanout(255)?;
    let first = usize::from(id[0]);
    let low = if first == 0 { 0 } else { fanout(first - 1)? };
    let names = 8 + 4 * 256;
    let name = |place: usize| index.get(names + 20 * place..names + 20 * place + 20);
    let place = (low..fanout(first)?).find(|place| name(*place) == Some(id.as_slice()))?;
    let offsets = names + 24 * count;
    let small = number(offsets + 4 * place)?;
    if small & 0x8000_0000 == 0 {
        return Some(small as u64);
    }
    let large = offsets + 4 * count + 8 * (small & 0x7fff_ffff);
    Some(u64::from_be_bytes(index.get(large..large + 8)?.try_into().ok()?))
}

/// The bytes of the object at `offset`. Deltas against objects of other packs are not followed.
fn object(pack: &fs_err::File, offset: u64, deltas: usize) -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt as _;
    let deltas = deltas.checked_sub(1)?;
    let mut head = vec![0; 64];
    let length = pack.file().read_at(&mut head, offset).ok()?;
    head.truncate(length);
    let mut bytes = head.into_iter();
    let mut used = 1;
    let mut byte = bytes.next()?;
    let kind = byte >> 4 & 7;
    while byte & 0x80 != 0 {
        byte = bytes.next()?;
        used += 1;
    }
    let base = match kind {
        1 => None,
        6 => {
            byte = bytes.next()?;
            used += 1;
            let mut back = u64::from(byte & 0x7f);
            while byte & 0x80 != 0 {
                byte = bytes.next()?;
                used += 1;
                back = back.checked_add(1)?.checked_mul(128)? | u64::from(byte & 0x7f);
            }
            Some(offset.checked_sub(back)?)
        }
        _ => return None,
    };
    let mut packed = vec![0; usize::try_from(MAX_COMMIT).ok()?];
    let length = pack.file().read_at(&mut packed, offset + used).ok()?;
    let data = inflate(&packed[..length])?;
    match base {
        None => Some(data),
        Some(base) => patch(&object(pack, base, deltas)?, &data),
    }
}

/// Applies a delta.
fn patch(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = delta.iter().copied();
    for _ in 0..2 {
        // The sizes of both.
        while bytes.next()? & 0x80 != 0 {}
    }
    let mut out = Vec::new();
    while let Some(command) = bytes.next() {
        if command & 0x80 == 0 {
            out.extend(bytes.by_ref().take(command.into()));
            continue;
        }
        let mut number = |bits: std::ops::Range<u8>| {
            let mut value = 0_usize;
            for (place, bit) in bits.enumerate() {
                if command >> bit & 1 == 1 {
                    value |= usize::from(bytes.next()?) << (8 * place);
                }
            }
            Some(value)
        };
        let (start, length) = (number(0..4)?, number(4..7)?);
        let length = if length == 0 { 0x10000 } else { length };
        out.extend(base.get(start..start.checked_add(length)?)?);
        if out.len() as u64 > MAX_COMMIT {
            return None;
        }
    }
    Some(out)
}
