//! ADD of a local archive: entries written below the destination, nothing outside of it.
//!
//! The destination is the root for everything in the archive: `..` and absolute names cannot leave
//! it, and symlinks that the archive itself brings are resolved below it too.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::archive::{self, ArchiveError};
use super::{Copier, CopyError, check_name};
use crate::select::{From, Item};
use crate::tree::{Kind, Tree, TreeError};

/// Limits of an archive: it may come from anywhere.
const MAX_ENTRIES: u64 = 5_000_000;
const MAX_DEPTH: usize = 256;

impl Copier<'_> {
    /// Unpacks `source` if it is an archive; says whether it was.
    pub(super) fn unpack(&self, from: &From<'_>, source: &Item) -> Result<bool, CopyError> {
        let name = || format!("/{}", source.path.display());
        let read = |error: io::Error| ArchiveError::Read { name: name(), source: error };
        let opened = archive::decompress(from.tree.file(&source.path)?);
        // What cannot even be looked into is a file to copy.
        let Ok(opened) = opened else { return Ok(false) };
        let mut bytes = match opened {
            Ok(bytes) => bytes,
            Err(format) if looks_like_archive(&source.path) => {
                return Err(ArchiveError::Compression { name: name(), format }.into());
            }
            Err(_) => return Ok(false),
        };
        let mut header = Vec::with_capacity(512);
        match bytes.by_ref().take(512).read_to_end(&mut header) {
            Ok(_) if archive::is_tar(&header) => {}
            _ => return Ok(false),
        }
        let place = self.to.resolve(&super::relative(&self.op.destination))?;
        let made = self.to.make_dirs(&place, 0o755, self.owner.map(super::Owner::ids))?;
        for path in made.iter().rev() {
            self.to.touch(path, (self.now, 0))?;
        }
        let below = self.to.subtree(&place)?;
        let mut archive = tar::Archive::new(io::Cursor::new(header).chain(bytes));
        let mut unpacking =
            Unpacking { copier: self, to: &below, name: name(), directories: Vec::new() };
        let mut count = 0;
        for entry in archive.entries().map_err(read)? {
            count += 1;
            if count > MAX_ENTRIES {
                let (limit, what) = (MAX_ENTRIES, "entries");
                return Err(ArchiveError::Limit { name: name(), limit, what }.into());
            }
            unpacking.entry(entry.map_err(read)?)?;
        }
        unpacking.finish()?;
        Ok(true)
    }
}

/// Formats that are not read are only an error where the name says "archive".
fn looks_like_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    [".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz"].iter().any(|end| name.ends_with(end))
}

struct Unpacking<'a> {
    copier: &'a Copier<'a>,
    to: &'a Tree,
    name: String,
    /// Directories and their times: set last.
    directories: Vec<(PathBuf, i64)>,
}

impl Unpacking<'_> {
    fn error(&self, source: io::Error) -> CopyError {
        ArchiveError::Read { name: self.name.clone(), source }.into()
    }

    /// An entry's name as a path below the destination.
    fn path(&self, written: &Path) -> Result<PathBuf, CopyError> {
        let cleaned = crate::path::clean(&format!("/{}", written.display()));
        // A name that is not UTF-8 keeps its bytes: `display` is only for those that are.
        let path = match written.to_str() {
            Some(_) => PathBuf::from(cleaned.trim_start_matches('/')),
            None => written
                .components()
                .filter(|part| matches!(part, std::path::Component::Normal(_)))
                .collect(),
        };
        if path.components().count() > MAX_DEPTH {
            let (limit, what) = (MAX_DEPTH as u64, "levels of directories");
            return Err(ArchiveError::Limit { name: self.name.clone(), limit, what }.into());
        }
        Ok(path)
    }

    fn entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), CopyError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let written = entry.path().map_err(|error| self.error(error))?.into_owned();
        let path = self.path(&written)?;
        if path.as_os_str().is_empty() && kind != EntryType::Directory {
            return Ok(());
        }
        check_name(&path)?;
        let path = self.to.resolve_parent(&path)?;
        if let Some(parent) = path.parent() {
            self.to.make_dirs(parent, 0o755, None)?;
        }
        let existing = self.to.meta(&path)?;
        let merges = kind == EntryType::Directory && existing.is_some_and(|meta| meta.is_dir());
        if existing.is_some() && !merges {
            self.to.remove(&path)?;
        }
        if self.create(&mut entry, kind, &path, merges)? {
            self.describe(&mut entry, &path)?;
        }
        Ok(())
    }

    /// Makes the file; says whether it has metadata of its own.
    fn create<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        kind: EntryType,
        path: &Path,
        exists: bool,
    ) -> Result<bool, CopyError> {
        let target = |entry: &tar::Entry<'_, R>| {
            let link = entry.link_name().map_err(|error| self.error(error))?;
            link.map(|link| link.into_owned())
                .ok_or_else(|| self.error(io::Error::other("a link without a target")))
        };
        match kind {
            EntryType::Directory if exists => {}
            EntryType::Directory => self.to.make_dir(path)?,
            EntryType::Symlink => self.to.make_link(&target(entry)?, path)?,
            EntryType::Link => {
                let first = self.to.resolve_parent(&self.path(&target(entry)?)?)?;
                self.to.make_hard_link(&first, path)?;
                return Ok(false);
            }
            EntryType::Char => self.node(entry, path, Kind::Char)?,
            EntryType::Block => self.node(entry, path, Kind::Block)?,
            EntryType::Fifo => self.to.make_node(path, Kind::Fifo, 0)?,
            _ => {
                let mut file = self.to.make_file(path)?;
                io::copy(entry, &mut file).map_err(|error| self.error(error))?;
            }
        }
        Ok(true)
    }

    fn node<R: Read>(
        &self,
        entry: &tar::Entry<'_, R>,
        path: &Path,
        kind: Kind,
    ) -> Result<(), CopyError> {
        let header = entry.header();
        let major = header.device_major().map_err(|error| self.error(error))?.unwrap_or(0);
        let minor = header.device_minor().map_err(|error| self.error(error))?.unwrap_or(0);
        Ok(self.to.make_node(path, kind, rustix::fs::makedev(major, minor))?)
    }

    fn describe<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &Path,
    ) -> Result<(), CopyError> {
        let header = entry.header().clone();
        let id = |id: io::Result<u64>| u32::try_from(id.unwrap_or(0)).unwrap_or(0);
        let own = (id(header.uid()), id(header.gid()));
        let kind = header.entry_type();
        self.to.own(path, self.copier.owner.map_or(own, super::Owner::ids))?;
        if kind != EntryType::Symlink {
            let mode = header.mode().map_err(|error| self.error(error))?;
            self.to.permit(path, mode & 0o7777)?;
        }
        if matches!(kind, EntryType::Directory | EntryType::Regular | EntryType::Continuous) {
            for (name, value) in xattrs(entry).map_err(|error| self.error(error))? {
                self.to.set_xattr(path, &name, &value)?;
            }
        }
        let mtime = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        match kind {
            EntryType::Directory => self.directories.push((path.to_owned(), mtime)),
            _ => self.to.touch(path, (mtime, 0))?,
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), TreeError> {
        for (path, mtime) in self.directories.iter().rev() {
            // A later entry may have replaced it.
            if self.to.meta(path)?.is_some() {
                self.to.touch(path, (*mtime, 0))?;
            }
        }
        Ok(())
    }
}

/// Attributes that belong into an image.
fn xattrs<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        if name == "security.capability"
            || name.starts_with("user.") && !name.starts_with("user.overlay.")
        {
            found.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    Ok(found)
}
