//! git's index, and the tree that it is.

use std::collections::BTreeMap;

use super::objects::{Id, object_id};

/// A file of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) id: Id,
    /// As git writes it in trees: `100644`, `120000`.
    pub(super) mode: u32,
    /// The lowest 32 bits, least significant byte first.
    pub(super) size: [u8; 4],
    pub(super) mtime: (u32, u32),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) entries: Vec<Entry>,
}

/// Reads numbers and strings from the front.
struct Front<'a>(&'a [u8]);

impl<'a> Front<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn until_nul(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// git's number of variable length, as in names of version 4.
    fn varint(&mut self) -> Option<usize> {
        let mut byte = self.take(1)?[0];
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.take(1)?[0];
            value = value.checked_add(1)?.checked_mul(128)? | usize::from(byte & 0x7f);
        }
        Some(value)
    }
}

impl Index {
    /// Versions 2 to 4. An index with conflicts, or one that is spread over files, is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut front = Front(bytes);
        if front.take(4)? != b"DIRC" {
            return None;
        }
        let version = front.number()?;
        let count = front.number()?;
        if !(2..=4).contains(&version) {
            return None;
        }
        let mut index = Self::default();
        let mut name = Vec::new();
        for _ in 0..count {
            let entry = entry(&mut front, version, &mut name)?;
            index.entries.push(entry);
        }
        // `link`: the rest is in a shared index; `sdir`: some entries are directories.
        let extensions = [b"link", b"sdir"];
        let spread = front.0.get(..4).is_some_and(|name| extensions.iter().any(|own| *own == name));
        (!spread).then_some(index)
    }

    /// The id of the tree that a commit of this index has.
    pub(super) fn tree(&self) -> Option<Id> {
        let mut root = Directory::default();
        for entry in &self.entries {
            root.add(&entry.path, entry);
        }
        root.id(0)
    }
}

fn entry(front: &mut Front<'_>, version: u32, name: &mut Vec<u8>) -> Option<Entry> {
    let before = front.0.len();
    front.take(8)?; // change time
    let mtime = (front.number()?, front.number()?);
    front.take(8)?; // device and inode
    let mode = front.number()?;
    front.take(8)?; // owner
    let size = front.number()?.to_le_bytes();
    let id: Id = front.take(20)?.try_into().ok()?;
    let flags = front.short()?;
    if flags & 0x3000 != 0 {
        return None; // a conflict
    }
    if flags & 0x4000 != 0 {
        let extended = front.short()?;
        if extended & 0x2000 != 0 {
            return None; // only intended to be added
        }
    }
    if version == 4 {
        let cut = front.varint()?;
        name.truncate(name.len().checked_sub(cut)?);
        name.extend_from_slice(front.until_nul()?);
    } else {
        *name = front.until_nul()?.to_vec();
        let length = before - front.0.len();
        // Entries are filled up with NULs to a multiple of eight; one was taken.
        front.take((8 - length % 8) % 8)?;
    }
    let path = String::from_utf8(name.clone()).ok()?;
    Some(Entry { path, id, mode, size, mtime })
}

/// A directory of the index: what is in it by name, in git's order.
#[derive(Default)]
struct Directory<'a>(BTreeMap<String, Node<'a>>);

enum Node<'a> {
    File(&'a Entry),
    Directory(Directory<'a>),
}

/// Levels of directories at most.
const MAX_DEPTH: usize = 1000;

impl<'a> Directory<'a> {
    fn add(&mut self, path: &str, entry: &'a Entry) {
        match path.split_once('/') {
            None => drop(self.0.insert(path.to_owned(), Node::File(entry))),
            Some((name, rest)) => {
                // A directory is sorted as if its name ended with a slash.
                let node = self.0.entry(format!("{name}/"));
                let node = node.or_insert_with(|| Node::Directory(Self::default()));
                if let Node::Directory(directory) = node {
                    directory.add(rest, entry);
                }
            }
        }
    }

    fn id(&self, depth: usize) -> Option<Id> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut bytes = Vec::new();
        for (name, node) in &self.0 {
            let (mode, id) = match node {
                Node::File(entry) => (entry.mode, entry.id),
                Node::Directory(directory) => (0o40_000, directory.id(depth + 1)?),
            };
            bytes.extend(format!("{mode:o} {}\0", name.trim_end_matches('/')).bytes());
            bytes.extend(id);
        }
        Some(object_id("tree", &bytes))
    }
}
