//! Whiteouts: telling them from entries, and making them once all of the layer is there.

use std::collections::BTreeSet;

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags, fsetxattr, makedev, mknodat, utimensat};

use super::folders::Own;
use super::{ApplyError, Unpacked, Unpacker, at};
use crate::layer::attributes::times;
use crate::layer::{AUFS, OPAQUE, OPAQUE_VALUE, OPAQUE_XATTR, WHITEOUT};
use crate::tar::split;

/// What a name says beyond itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Note {
    Nothing,
    Whiteout(Vec<u8>),
    /// The directory.
    Opaque(Vec<u8>),
    Aufs,
}

pub(super) fn note_of(path: &[u8]) -> Result<Note, &'static str> {
    let (dir, name) = split(path);
    let reserved = |part: &[u8]| part.starts_with(WHITEOUT);
    if dir.split(|&byte| byte == b'/').any(|part| part.starts_with(AUFS)) {
        return Ok(Note::Aufs);
    }
    if dir.split(|&byte| byte == b'/').any(reserved) {
        return Err("names that begin with `.wh.` are reserved");
    }
    if name == OPAQUE {
        return Ok(Note::Opaque(dir.to_vec()));
    }
    if name.starts_with(AUFS) {
        return Ok(Note::Aufs);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Note::Nothing),
        Some(b"" | b"." | b"..") => Err("a whiteout must name what it hides"),
        Some(hidden) if dir.is_empty() => Ok(Note::Whiteout(hidden.to_vec())),
        Some(hidden) => Ok(Note::Whiteout([dir, b"/", hidden].concat())),
    }
}
impl Unpacker<'_> {
    /// Makes the whiteouts and sets the directories' times.
    pub(super) fn finish(mut self) -> Result<Unpacked, ApplyError> {
        let mut opaque = BTreeSet::new();
        if self.opaques.remove(b"".as_slice()) {
            // overlayfs does not ask a layer's root: hide each name of the root instead
            self.whiteouts.extend(self.lower.names(b"")?);
        }
        for dir in std::mem::take(&mut self.opaques) {
            let deleted = self.whiteouts.contains(&dir) || is_in_any(&dir, &self.whiteouts);
            if is_in_any(&dir, &opaque) || (deleted && self.own(&dir)? == Own::Absent) {
                continue;
            }
            if self.make_opaque(&dir)? {
                opaque.insert(dir);
            }
        }
        for path in std::mem::take(&mut self.whiteouts) {
            // Sorted: a directory that becomes opaque here comes before what is in it.
            if is_in_any(&path, &opaque) {
                continue;
            }
            match self.own(&path)? {
                Own::Other => {}
                Own::Directory => {
                    if self.make_opaque(&path)? {
                        opaque.insert(path);
                    }
                }
                Own::Absent => self.make_whiteout(&path)?,
            }
        }
        self.parent = None;
        for (path, mtime) in &self.dirs {
            let path = if path.is_empty() { b"." } else { path.as_slice() };
            utimensat(&self.root, path, &times(*mtime), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(at(path, "set the time of"))?;
        }
        Ok(self.unpacked)
    }

    /// Marks a directory as hiding all below it; false where there is nothing to hide.
    pub(super) fn make_opaque(&mut self, path: &[u8]) -> Result<bool, ApplyError> {
        let hides = self.lower.lookup(path)?.is_some_and(|found| found.is_dir());
        if !hides || self.own(path)? == Own::Other {
            return Ok(false);
        }
        let dir = self.make_dirs(path)?;
        fsetxattr(&dir, OPAQUE_XATTR, OPAQUE_VALUE, XattrFlags::empty())
            .map_err(at(path, "mark as opaque"))?;
        Ok(true)
    }

    pub(super) fn make_whiteout(&mut self, path: &[u8]) -> Result<(), ApplyError> {
        if self.lower.lookup(path)?.is_none() {
            return Ok(());
        }
        let (_, name) = split(path);
        let parent = self.parent(path)?;
        mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
            .map_err(at(path, "make the whiteout of"))
    }
}

/// Whether `path` is strictly in one of `dirs`.
fn is_in_any(path: &[u8], dirs: &BTreeSet<Vec<u8>>) -> bool {
    let mut dir = path;
    while !dir.is_empty() {
        dir = split(dir).0;
        if dirs.contains(dir) {
            return true;
        }
    }
    false
}
