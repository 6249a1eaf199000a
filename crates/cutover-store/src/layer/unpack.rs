//! Unpacking a layer's tar into an overlayfs directory, as the image specification's layer.md
//! says.
//!
//! The tar is hostile until proven otherwise:
//!
//! - Every directory is opened with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)` below the
//!   layer's own root; a link in the way is replaced by a directory, never followed.
//! - Every leaf is created with `O_EXCL` or its like: nothing that exists is written through.
//! - A path that exists is removed first, unless both are directories.
//!
//! Whiteouts hide what is below the layer, never what is in it, "regardless of ordering": they are
//! noted while reading and made at the end, and only where there is something to hide, because
//! overlayfs lists a needless one. Directories' times are set last.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Mode, OFlags, ResolveFlags, XattrFlags, fsetxattr, linkat,
    makedev, mkdirat, mknodat, openat, openat2, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::attributes::{Attributes, times};
use super::lower::{Found, Lower, file_type};
use super::write::FileWriter;
use super::{AUFS, OPAQUE, OPAQUE_VALUE, OPAQUE_XATTR, WHITEOUT};
use crate::error::IoError;
use crate::scratch::remove_at;
use crate::tar::{Entry, Kind, Limits, Reader, TarError, Time, clean, shown, split};

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("cannot {action} `{path}` of the layer")]
    Entry { path: String, action: &'static str, source: std::io::Error },
    #[error("entry `{path}` is refused: {reason}")]
    Refused { path: String, reason: &'static str },
    #[error(
        "entry `{path}` is a hard link to `{target}`, which is not in the layer before it nor below it"
    )]
    LinkTarget { path: String, target: String },
    #[error(transparent)]
    Io(#[from] IoError),
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Whether the tar had an entry for the root itself.
    pub(crate) root: bool,
    pub(crate) entries: u64,
}

const DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Unpacks `tar` into the empty directory `root`, on top of `lower`.
pub(crate) fn unpack<R: BufRead>(
    reader: &mut Reader<R>,
    root: &Path,
    lower: &mut Lower,
    limits: &Limits,
) -> Result<Unpacked, ApplyError> {
    let fd = openat(CWD, root, DIR, Mode::empty()).map_err(IoError::at("open", root))?;
    let mut unpacker = Unpacker {
        root: fd,
        lower,
        depth: limits.depth,
        parent: None,
        dirs: BTreeMap::new(),
        whiteouts: BTreeSet::new(),
        opaques: BTreeSet::new(),
        unpacked: Unpacked { root: false, entries: 0 },
    };
    unpacker.inherit_root()?;
    while let Some(mut entry) = reader.next()? {
        unpacker.entry(&mut entry, reader)?;
    }
    unpacker.finish()
}

#[derive(Debug)]
struct Unpacker<'a> {
    root: OwnedFd,
    lower: &'a mut Lower,
    depth: usize,
    /// The folder of the last entry: entries come folder by folder.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Times to set at the end.
    dirs: BTreeMap<Vec<u8>, Time>,
    whiteouts: BTreeSet<Vec<u8>>,
    opaques: BTreeSet<Vec<u8>>,
    unpacked: Unpacked,
}

/// What the layer itself has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Absent,
    Directory,
    /// Something else is there, or in the way.
    Other,
}

impl Unpacker<'_> {
    /// The root's attributes come from the topmost layer, so each layer must repeat them.
    fn inherit_root(&mut self) -> Result<(), ApplyError> {
        let attributes = match self.lower.lookup(b"")? {
            Some(found) => read_attributes(&found)?,
            None => Attributes::of_missing_parent(),
        };
        attributes.set(self.root.as_fd()).map_err(at(b"/", "set attributes of"))?;
        self.dirs.insert(Vec::new(), attributes.mtime);
        Ok(())
    }

    fn entry<R: BufRead>(
        &mut self,
        entry: &mut Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), ApplyError> {
        self.unpacked.entries += 1;
        let refused = |reason| ApplyError::Refused { path: shown(&entry.path), reason };
        let path = clean(&entry.path).ok_or_else(|| refused("its path holds a NUL byte"))?;
        if path.iter().filter(|&&byte| byte == b'/').count() >= self.depth {
            return Err(refused("its path is too deep"));
        }
        if path.is_empty() {
            return match entry.kind {
                Kind::Directory => self.root_entry(entry),
                _ => Err(refused("only a directory can be the root")),
            };
        }
        match note_of(&path).map_err(refused)? {
            Note::Nothing => {}
            Note::Aufs => return Ok(()),
            Note::Opaque(dir) => {
                self.opaques.insert(dir);
                return Ok(());
            }
            Note::Whiteout(hidden) => {
                self.whiteouts.insert(hidden);
                return Ok(());
            }
        }
        match entry.kind {
            Kind::File => self.file(&path, entry, reader),
            Kind::Directory => self.directory(&path, &Attributes::of_entry(entry)),
            Kind::HardLink => self.hard_link(&path, entry),
            Kind::Symlink => self.symlink(&path, entry),
            Kind::CharDevice if entry.device == (0, 0) => {
                Err(refused("overlayfs reads the device 0:0 as a deleted file"))
            }
            Kind::CharDevice => self.node(&path, entry, FileType::CharacterDevice),
            Kind::BlockDevice => self.node(&path, entry, FileType::BlockDevice),
            Kind::Fifo => self.node(&path, entry, FileType::Fifo),
        }
    }

    fn root_entry(&mut self, entry: &mut Entry) -> Result<(), ApplyError> {
        let attributes = Attributes::of_entry(entry);
        attributes.set(self.root.as_fd()).map_err(at(b"/", "set attributes of"))?;
        self.dirs.insert(Vec::new(), attributes.mtime);
        self.unpacked.root = true;
        Ok(())
    }

    fn file<R: BufRead>(
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

    fn directory(&mut self, path: &[u8], attributes: &Attributes) -> Result<(), ApplyError> {
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

    fn symlink(&mut self, path: &[u8], entry: &mut Entry) -> Result<(), ApplyError> {
        let attributes = Attributes::of_entry(entry);
        self.create(path, |dir, name| symlinkat(entry.link.as_slice(), dir, name))?;
        self.set_at(path, &attributes, true)
    }

    fn node(&mut self, path: &[u8], entry: &mut Entry, kind: FileType) -> Result<(), ApplyError> {
        let attributes = Attributes::of_entry(entry);
        let device = makedev(entry.device.0, entry.device.1);
        self.make_node(path, kind, device, &attributes)
    }

    fn make_node(
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
    fn hard_link(&mut self, path: &[u8], entry: &Entry) -> Result<(), ApplyError> {
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
    fn copy_up(&mut self, path: &[u8], found: &Found) -> Result<(), ApplyError> {
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
    fn create<T>(
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

    fn set_at(
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
    fn remove(&mut self, path: &[u8]) -> Result<(), ApplyError> {
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

    fn below(&self, path: &[u8]) -> impl Iterator<Item = &Vec<u8>> {
        let from = [path, b"/"].concat();
        let to = [path, b"0"].concat(); // the byte after the slash
        self.dirs.range((Bound::Included(from), Bound::Excluded(to))).map(|(path, _)| path)
    }

    /// The folder of `path`, made if it is missing.
    fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, ApplyError> {
        let (dir, _) = split(path);
        if dir.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.parent.as_ref().is_none_or(|(cached, _)| cached != dir) {
            let fd = match self.open(dir) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.make_dirs(dir)?,
                Err(errno) => return Err(at(dir, "open")(errno)),
            };
            self.parent = Some((dir.to_vec(), fd));
        }
        Ok(self.parent.as_ref().expect("set above").1.as_fd())
    }

    fn open(&self, dir: &[u8]) -> Result<OwnedFd, Errno> {
        let dir = if dir.is_empty() { b"." } else { dir };
        let resolve = ResolveFlags::IN_ROOT
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        openat2(&self.root, dir, DIR, Mode::empty(), resolve)
    }

    /// Makes `dir` and its parents: with the attributes that the layers below give them, so that
    /// a file in /tmp does not take its sticky bit away. Anything else in the way is removed.
    fn make_dirs(&mut self, dir: &[u8]) -> Result<OwnedFd, ApplyError> {
        let mut current = self.open(b"").map_err(at(b"/", "open"))?;
        let ends = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([dir.len()]) {
            let path = &dir[..end];
            let (_, name) = split(path);
            match openat(&current, name, DIR, Mode::empty()) {
                Ok(next) => {
                    current = next;
                    continue;
                }
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    unlinkat(&current, name, AtFlags::empty()).map_err(at(path, "replace"))?;
                }
                Err(errno) => return Err(at(path, "open")(errno)),
            }
            mkdirat(&current, name, Mode::RWXU).map_err(at(path, "create"))?;
            let attributes = match self.lower.lookup(path)? {
                Some(found) if found.is_dir() => read_attributes(&found)?,
                _ => Attributes::of_missing_parent(),
            };
            current = openat(&current, name, DIR, Mode::empty()).map_err(at(path, "open"))?;
            attributes.set(current.as_fd()).map_err(at(path, "set attributes of"))?;
            self.dirs.insert(path.to_vec(), attributes.mtime);
        }
        Ok(current)
    }

    fn own(&self, path: &[u8]) -> Result<Own, ApplyError> {
        let (dir, name) = split(path);
        let found = self.open(dir).and_then(|dir| {
            statat(&dir, if name.is_empty() { b"." } else { name }, AtFlags::SYMLINK_NOFOLLOW)
        });
        match found {
            Ok(stat) if file_type(&stat) == FileType::Directory => Ok(Own::Directory),
            Ok(_) | Err(Errno::NOTDIR | Errno::LOOP) => Ok(Own::Other),
            Err(Errno::NOENT) => Ok(Own::Absent),
            Err(errno) => Err(at(path, "inspect")(errno)),
        }
    }

    /// Makes the whiteouts and sets the directories' times.
    fn finish(mut self) -> Result<Unpacked, ApplyError> {
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
    fn make_opaque(&mut self, path: &[u8]) -> Result<bool, ApplyError> {
        let hides = self.lower.lookup(path)?.is_some_and(|found| found.is_dir());
        if !hides || self.own(path)? == Own::Other {
            return Ok(false);
        }
        let dir = self.make_dirs(path)?;
        fsetxattr(&dir, OPAQUE_XATTR, OPAQUE_VALUE, XattrFlags::empty())
            .map_err(at(path, "mark as opaque"))?;
        Ok(true)
    }

    fn make_whiteout(&mut self, path: &[u8]) -> Result<(), ApplyError> {
        if self.lower.lookup(path)?.is_none() {
            return Ok(());
        }
        let (_, name) = split(path);
        let parent = self.parent(path)?;
        mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
            .map_err(at(path, "make the whiteout of"))
    }
}

/// What a name says beyond itself.
#[derive(Debug, PartialEq, Eq)]
enum Note {
    Nothing,
    Whiteout(Vec<u8>),
    /// The directory.
    Opaque(Vec<u8>),
    Aufs,
}

fn note_of(path: &[u8]) -> Result<Note, &'static str> {
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

fn read_attributes(found: &Found) -> Result<Attributes, IoError> {
    Attributes::read(&found.path, &found.stat)
        .map_err(IoError::at("read attributes of", &found.path))
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

fn at<'a>(path: &'a [u8], action: &'static str) -> impl FnOnce(Errno) -> ApplyError + 'a {
    move |errno| ApplyError::Entry { path: shown(path), action, source: errno.into() }
}
