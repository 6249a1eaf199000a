//! Entries of an archive written below a directory, nothing outside of it.
//!
//! The directory is the root for everything in the archive: `..` and absolute names cannot leave
//! it, and symlinks that the archive itself brings are resolved below it too. What a header may ask
//! for is bounded by the store's tar reader.

use std::ffi::OsStr;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use cutover_store::tar::{self, Entry, Limits, Reader, TarError};

use super::archive::{self, ArchiveError};
use super::{Copier, CopyError, Owner, check_name};
use crate::tree::{Kind, Tree, TreeError};

/// Limits of an archive: it may come from anywhere.
const LIMITS: Limits =
    Limits { entries: 5_000_000, depth: 256, path: 4095, extension: 1 << 20, segments: 1 << 20 };
/// Most bytes that one archive may unpack to.
const MAX_BYTES: u64 = 256 << 30;

impl Copier<'_> {
    /// Unpacks `file` at the destination if it is an archive; says whether it was.
    pub(super) fn unpack(&self, file: impl Read, name: &str) -> Result<bool, CopyError> {
        let Some(bytes) = archive::open(file) else { return Ok(false) };
        let place = self.to.resolve(&super::relative(&self.op.destination))?;
        let made = self.to.make_dirs(&place, 0o755, self.owner.map(Owner::ids))?;
        for path in made.iter().rev() {
            self.to.touch(path, (self.time, 0))?;
        }
        let below = self.to.subtree(&place)?;
        unpack(bytes, &below, name, self.owner)?;
        Ok(true)
    }
}

/// Writes every entry of the tar `bytes` below `to`. Owners are the archive's unless one is given.
pub(crate) fn unpack(
    bytes: impl Read,
    to: &Tree,
    name: &str,
    owner: Option<Owner>,
) -> Result<(), CopyError> {
    let mut reader = Reader::new(BufReader::with_capacity(256 << 10, bytes), LIMITS);
    let mut unpacking =
        Unpacking { to, owner, name: name.to_owned(), bytes: 0, directories: Vec::new() };
    let tar = |source| ArchiveError::Tar { name: name.to_owned(), source };
    while let Some(entry) = reader.next().map_err(tar)? {
        unpacking.entry(&entry, &mut reader)?;
    }
    Ok(unpacking.finish()?)
}

struct Unpacking<'a> {
    to: &'a Tree,
    owner: Option<Owner>,
    name: String,
    bytes: u64,
    /// Directories and their times: set last.
    directories: Vec<(PathBuf, (i64, u32))>,
}

impl Unpacking<'_> {
    fn refuse(&self, entry: &Entry, problem: &str) -> CopyError {
        let path = String::from_utf8_lossy(&entry.path).escape_debug().to_string();
        let problem = format!("entry `{path}` {problem}");
        ArchiveError::Entry { name: self.name.clone(), problem }.into()
    }

    /// A name in the archive as a path below the destination.
    fn path(&self, entry: &Entry, written: &[u8]) -> Result<PathBuf, CopyError> {
        let cleaned =
            tar::clean(written).ok_or_else(|| self.refuse(entry, "has a name that is no path"))?;
        let path = PathBuf::from(OsStr::from_bytes(&cleaned));
        if path.components().count() > LIMITS.depth {
            let (limit, what) = (LIMITS.depth as u64, "levels of directories");
            return Err(ArchiveError::Limit { name: self.name.clone(), limit, what }.into());
        }
        Ok(path)
    }

    fn entry<R: io::BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), CopyError> {
        let path = self.path(entry, &entry.path)?;
        let is_dir = entry.kind == tar::Kind::Directory;
        if path.as_os_str().is_empty() && !is_dir {
            return Ok(());
        }
        check_name(&path)?;
        let path = self.to.resolve_parent(&path)?;
        if let Some(parent) = path.parent() {
            self.to.make_dirs(parent, 0o755, None)?;
        }
        let existing = self.to.meta(&path)?;
        let merges = is_dir && existing.is_some_and(|meta| meta.is_dir());
        if existing.is_some() && !merges {
            self.to.remove(&path)?;
        }
        if self.create(entry, reader, &path, merges)? {
            self.describe(entry, &path)?;
        }
        Ok(())
    }

    /// Makes the file; says whether it has metadata of its own.
    fn create<R: io::BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
        path: &Path,
        exists: bool,
    ) -> Result<bool, CopyError> {
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        match entry.kind {
            tar::Kind::Directory if exists => {}
            tar::Kind::Directory => self.to.make_dir(path)?,
            tar::Kind::Symlink if entry.link.is_empty() => {
                return Err(self.refuse(entry, "is a link without a target"));
            }
            tar::Kind::Symlink => {
                self.to.make_link(Path::new(OsStr::from_bytes(&entry.link)), path)?;
            }
            tar::Kind::HardLink => {
                let first = self.to.resolve_parent(&self.path(entry, &entry.link)?)?;
                self.to.make_hard_link(&first, path)?;
                return Ok(false);
            }
            tar::Kind::CharDevice => self.to.make_node(path, Kind::Char, device)?,
            tar::Kind::BlockDevice => self.to.make_node(path, Kind::Block, device)?,
            tar::Kind::Fifo => self.to.make_node(path, Kind::Fifo, 0)?,
            tar::Kind::File => self.file(entry, reader, path)?,
        }
        Ok(true)
    }

    fn file<R: io::BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
        path: &Path,
    ) -> Result<(), CopyError> {
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > MAX_BYTES {
            let (limit, what) = (MAX_BYTES, "bytes");
            return Err(ArchiveError::Limit { name: self.name.clone(), limit, what }.into());
        }
        let mut file = self.to.make_file(path)?;
        let failed = |error| self.fail(error, path);
        match &entry.sparse {
            None => copy(reader, &mut file, u64::MAX).map_err(failed)?,
            Some(segments) => {
                for segment in segments {
                    file.seek(SeekFrom::Start(segment.offset))
                        .map_err(Fail::Write)
                        .map_err(failed)?;
                    copy(reader, &mut file, segment.length).map_err(failed)?;
                }
            }
        }
        // Zeros were skipped, at the end too.
        file.set_len(entry.size).map_err(Fail::Write).map_err(failed)
    }

    fn fail(&self, error: Fail, path: &Path) -> CopyError {
        match error {
            Fail::Read(source) => ArchiveError::Tar { name: self.name.clone(), source }.into(),
            Fail::Write(error) => TreeError::at("write", path)(error).into(),
        }
    }

    fn describe(&mut self, entry: &Entry, path: &Path) -> Result<(), CopyError> {
        self.to.own(path, self.owner.map_or((entry.uid, entry.gid), Owner::ids))?;
        if entry.kind != tar::Kind::Symlink {
            self.to.permit(path, entry.mode & 0o7777)?;
        }
        if matches!(entry.kind, tar::Kind::Directory | tar::Kind::File) {
            for (name, value) in &entry.xattrs {
                if let Some(name) = std::str::from_utf8(name).ok().filter(|name| travels(name)) {
                    self.to.set_xattr(path, name, value)?;
                }
            }
        }
        let mtime = (entry.mtime.seconds, entry.mtime.nanoseconds);
        match entry.kind {
            tar::Kind::Directory => self.directories.push((path.to_owned(), mtime)),
            _ => self.to.touch(path, mtime)?,
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), TreeError> {
        for (path, mtime) in self.directories.iter().rev() {
            // A later entry may have replaced it.
            if self.to.meta(path)?.is_some() {
                self.to.touch(path, *mtime)?;
            }
        }
        Ok(())
    }
}

/// Who failed: the archive or the disk.
enum Fail {
    Read(TarError),
    Write(io::Error),
}

/// Copies at most `most` bytes of the entry. Runs of zeros become holes: a small archive that says
/// "zeros" cannot fill the disk.
fn copy<R: io::BufRead>(
    reader: &mut Reader<R>,
    file: &mut std::fs::File,
    most: u64,
) -> Result<(), Fail> {
    let mut left = most;
    while left > 0 {
        let bytes = reader.data().map_err(Fail::Read)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = &bytes[..count];
        if count >= 4096 && bytes.iter().all(|&byte| byte == 0) {
            let by = i64::try_from(count).unwrap_or(0);
            file.seek(SeekFrom::Current(by)).map_err(Fail::Write)?;
        } else {
            file.write_all(bytes).map_err(Fail::Write)?;
        }
        reader.consume(count);
        left -= count as u64;
    }
    Ok(())
}

/// Attributes that belong into an image.
fn travels(name: &str) -> bool {
    name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay.")
}
