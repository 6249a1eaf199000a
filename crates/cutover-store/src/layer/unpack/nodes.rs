//! Creating what an entry describes: files, links, devices. Everything is created anew; what exists
//! is removed first, never written through.

use std::io::BufRead;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat,
    readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::folders::Own;
use super::{ApplyError, DIR, Unpacker, at, read_attributes};
use crate::error::IoError;
use crate::layer::attributes::Attributes;
use crate::layer::lower::{Found, file_type};
use crate::layer::write::FileWriter;
use crate::scratch::remove_at;
use crate::tar::{Entry, Reader, clean, shown, split};

impl Unpacker<'_> {
    pub(super) fn file<R: BufRead>(
        &mut self,
        path: &[u8],
        entry: &mut Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), ApplyError> {
        let attributes = Attributes::of_entry(entry);
        let file = self.create(path, |dir, name| {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let mut writer = FileWriter::new(file);
        match entry.sparse.take() {
            None => copy(reader, &mut writer, u64::MAX, path)?,
            Some(segments) => {
                for segment in segments {
                    writer.seek(segment.offset);
                    copy(reader, &mut writer, segment.length, path)?;
                }
            }
        }
        let file = writer.finish(entry.size).map_err(at(path, "write"))?;
        attributes.set(file.as_fd()).map_err(at(path, "set attributes of"))
    }

    pub(super) fn directory(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
    ) -> Result<(), ApplyError> {
        let (_, name) = split(path);
        let parent = self.parent(path)?;
        match mkdirat(parent, name, Mode::RWXU) {
            // An earlier entry, or an implied parent: only the attributes change.
            Err(Errno::EXIST) if is_dir(parent, name).map_err(at(path, "inspect"))? => {}
            Err(Errno::EXIST) => {
                unlinkat(parent, name, AtFlags::empty()).map_err(at(path, "replace"))?;
                mkdirat(parent, name, Mode::RWXU).map_err(at(path, "create"))?;
            }
            other => other.map_err(at(path, "create"))?,
        }
        let parent = self.parent(path)?;
        let dir = openat(parent, name, DIR, Mode::empty()).map_err(at(path, "open"))?;
        attributes.set(dir.as_fd()).map_err(at(path, "set attributes of"))?;
        self.dirs.insert(path.to_vec(), attributes.mtime);
        Ok(())
    }

    pub(super) fn symlink(&mut self, path: &[u8], entry: &mut Entry) -> Result<(), ApplyError> {
        let attributes = Attributes::of_entry(entry);
        self.create(path, |dir, name| symlinkat(entry.link.as_slice(), dir, name))?;
        self.set_at(path, &attributes, true)
    }

    pub(super) fn node(
        &mut self,
        path: &[u8],
        entry: &mut Entry,
        kind: FileType,
    ) -> Result<(), ApplyError> {
        let attributes = Attributes::of_entry(entry);
        let device = makedev(entry.device.0, entry.device.1);
        self.make_node(path, kind, device, &attributes)
    }

    pub(super) fn make_node(
        &mut self,
        path: &[u8],
        kind: FileType,
        device: Dev,
        attributes: &Attributes,
    ) -> Result<(), ApplyError> {
        let mode = Mode::from_raw_mode(attributes.mode);
        self.create(path, |dir, name| mknodat(dir, name, kind, mode, device))?;
        self.set_at(path, attributes, false)
    }

    /// Attributes of a link's target were set with the target; setting them again from the link's
    /// header would clear its capabilities.
    pub(super) fn hard_link(&mut self, path: &[u8], entry: &Entry) -> Result<(), ApplyError> {
        let missing =
            || ApplyError::LinkTarget { path: shown(&entry.path), target: shown(&entry.link) };
        let target = clean(&entry.link).filter(|target| !target.is_empty()).ok_or_else(missing)?;
        if target == path {
            return Err(missing());
        }
        match self.own(&target)? {
            Own::Other => {}
            Own::Directory => {
                let reason = "a hard link cannot point at a directory";
                return Err(ApplyError::Refused { path: shown(&entry.path), reason });
            }
            // As overlayfs would: copy it up, then link.
            Own::Absent => match self.lower.lookup(&target)? {
                Some(found) if !found.is_dir() => self.copy_up(&target, &found)?,
                _ => return Err(missing()),
            },
        }
        let (dir, target_name) = split(&target);
        let dir = self.open(dir).map_err(at(&target, "open the folder of"))?;
        let link = |parent: BorrowedFd<'_>, name: &[u8]| {
            linkat(&dir, target_name, parent, name, AtFlags::empty())
        };
        match self.create(path, link) {
            Err(ApplyError::Entry { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Err(missing())
            }
            other => other,
        }
    }

    /// Copies a file, link or device of a lower layer into this one.
    pub(super) fn copy_up(&mut self, path: &[u8], found: &Found) -> Result<(), ApplyError> {
        let attributes = read_attributes(found)?;
        match file_type(&found.stat) {
            FileType::RegularFile => {
                let io = |error| IoError::at("copy", &found.path)(error);
                let mut source = fs_err::File::open(&found.path).map_err(io)?;
                let file = self.create(path, |dir, name| {
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                    openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
                })?;
                let mut file = std::fs::File::from(file);
                std::io::copy(source.file_mut(), &mut file).map_err(io)?;
                attributes.set(file.as_fd()).map_err(at(path, "set attributes of"))
            }
            FileType::Symlink => {
                let text = readlinkat(CWD, &found.path, Vec::new())
                    .map_err(IoError::at("read", &found.path))?;
                self.create(path, |dir, name| symlinkat(&text, dir, name))?;
                self.set_at(path, &attributes, true)
            }
            kind => self.make_node(path, kind, found.stat.st_rdev, &attributes),
        }
    }

    /// Creates `path` with `make`, which must fail if it exists; then what exists is removed.
    pub(super) fn create<T>(
        &mut self,
        path: &[u8],
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, ApplyError> {
        let (_, name) = split(path);
        match make(self.parent(path)?, name) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(at(path, "create")),
        }
        self.remove(path)?;
        make(self.parent(path)?, name).map_err(at(path, "create"))
    }

    pub(super) fn set_at(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
        is_symlink: bool,
    ) -> Result<(), ApplyError> {
        let (_, name) = split(path);
        let parent = self.parent(path)?;
        attributes.set_at(parent, name, is_symlink).map_err(at(path, "set attributes of"))
    }

    /// Removes what an earlier entry made.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<(), ApplyError> {
        let (_, name) = split(path);
        remove_at(self.parent(path)?, name).map_err(at(path, "replace"))?;
        self.dirs.remove(path);
        let below: Vec<_> = self.below(path).cloned().collect();
        for path in below {
            self.dirs.remove(&path);
        }
        if self.parent.as_ref().is_some_and(|(dir, _)| is_in(dir, path)) {
            self.parent = None;
        }
        Ok(())
    }

    pub(super) fn below(&self, path: &[u8]) -> impl Iterator<Item = &Vec<u8>> {
        let from = [path, b"/"].concat();
        let to = [path, b"0"].concat(); // the byte after the slash
        self.dirs.range((Bound::Included(from), Bound::Excluded(to))).map(|(path, _)| path)
    }
}

/// Copies up to `length` bytes of the entry's data.
fn copy<R: BufRead>(
    reader: &mut Reader<R>,
    writer: &mut FileWriter,
    length: u64,
    path: &[u8],
) -> Result<(), ApplyError> {
    let mut left = length;
    while left > 0 {
        let bytes = reader.data()?;
        if bytes.is_empty() {
            break;
        }
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        writer.write(&bytes[..count]).map_err(at(path, "write"))?;
        reader.consume(count);
        left -= count as u64;
    }
    Ok(())
}
fn is_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(file_type(&stat) == FileType::Directory)
}
/// Whether `path` is `dir` or in it.
fn is_in(path: &[u8], dir: &[u8]) -> bool {
    match path.strip_prefix(dir) {
        Some(rest) => rest.is_empty() || dir.is_empty() || rest[0] == b'/',
        None => false,
    }
}
