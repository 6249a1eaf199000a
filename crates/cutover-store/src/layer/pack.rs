//! [`Packer`]: the deterministic tar of an overlayfs directory, as a stream.
//!
//! The same directory gives the same bytes on every machine: names sorted, whiteouts before their
//! siblings, PAX records only where ustar cannot say it, no owner names, whole seconds, none of
//! overlayfs's own attributes. The tar of a built layer is never stored; its digest is the layer's
//! identity, and its bytes are made again when the layer leaves the machine.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Stat, major, minor, readlinkat};

use super::attributes::{Attributes, xattr_names};
use super::lower::{file_type, is_opaque, is_whiteout, stat};
use super::normalize::join;
use super::{METACOPY_XATTR, OPAQUE, REDIRECT_XATTR, WHITEOUT};
use crate::error::IoError;
use crate::tar::{Entry, Kind, TRAILER, Time, padding, shown, write_header};

/// Why a directory cannot become a layer.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("`{path}` cannot be stored in a layer: names that begin with `.wh.` are reserved")]
    Reserved { path: String },
    #[error("`{path}` was only partly copied up: mount with `redirect_dir=off,metacopy=off`")]
    Redirect { path: String },
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Reads as the tar of a directory.
#[derive(Debug)]
pub(crate) struct Packer {
    root: PathBuf,
    entries: std::vec::IntoIter<Entry>,
    /// Headers, padding or the end mark, and how much of them was read.
    bytes: Vec<u8>,
    at: usize,
    file: Option<Open>,
    ended: bool,
}

/// The file whose contents are next.
#[derive(Debug)]
struct Open {
    file: fs_err::File,
    size: u64,
    left: u64,
}

impl Packer {
    /// The tar of `root`; with `include_root`, the root's own attributes are in it.
    pub(crate) fn new(root: &Path, include_root: bool) -> Result<Self, PackError> {
        let entries = scan(root, include_root)?.into_iter();
        let root = root.to_owned();
        Ok(Self { root, entries, bytes: Vec::new(), at: 0, file: None, ended: false })
    }

    /// Whether nothing is in the layer.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.as_slice().is_empty()
    }

    /// Prepares the next piece; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        self.bytes.clear();
        self.at = 0;
        let Some(entry) = self.entries.next() else {
            if self.ended {
                return Ok(false);
            }
            self.ended = true;
            self.bytes.extend_from_slice(&TRAILER);
            return Ok(true);
        };
        write_header(&mut self.bytes, &entry);
        if entry.kind == Kind::File && entry.size > 0 {
            let path = self.root.join(OsStr::from_bytes(&entry.path));
            let file = fs_err::File::open(&path)?;
            self.file = Some(Open { file, size: entry.size, left: entry.size });
        }
        Ok(true)
    }
}

impl Read for Packer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let ready = &self.bytes[self.at..];
            if !ready.is_empty() {
                let count = ready.len().min(buffer.len());
                buffer[..count].copy_from_slice(&ready[..count]);
                self.at += count;
                return Ok(count);
            }
            let Some(open) = &mut self.file else {
                if self.advance()? {
                    continue;
                }
                return Ok(0);
            };
            let most = usize::try_from(open.left).unwrap_or(usize::MAX).min(buffer.len());
            let count = open.file.read(&mut buffer[..most])?;
            if count == 0 {
                let text = format!("`{}` became shorter", open.file.path().display());
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            open.left -= count as u64;
            if open.left == 0 {
                self.bytes.clear();
                self.bytes.extend_from_slice(padding(open.size));
                self.at = 0;
                self.file = None;
            }
            return Ok(count);
        }
    }
}

/// Every entry of the tar, in order.
fn scan(root: &Path, include_root: bool) -> Result<Vec<Entry>, PackError> {
    let mut scan = Scan { root, entries: Vec::new(), links: HashMap::new() };
    if include_root {
        let stat = existing(root)?;
        let entry = scan.entry(b".".to_vec(), Kind::Directory, root, &stat)?;
        scan.entries.push(entry);
    }
    // What is still to do, last first: a directory's names go on top when it is met.
    let mut todo = scan.names(b"")?;
    while let Some(path) = todo.pop() {
        if scan.file(&path)? {
            todo.extend(scan.names(&path)?);
        }
    }
    Ok(scan.entries)
}

struct Scan<'a> {
    root: &'a Path,
    entries: Vec<Entry>,
    /// The first path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl Scan<'_> {
    /// Paths in the directory `dir`, sorted backwards. Whiteouts are not among them: they are
    /// added to the entries at once, so that they precede their siblings.
    fn names(&mut self, dir: &[u8]) -> Result<Vec<Vec<u8>>, PackError> {
        let full = self.root.join(OsStr::from_bytes(dir));
        let io = |error: io::Error| IoError::at("list", &full)(error);
        let (mut names, mut whiteouts) = (Vec::new(), Vec::new());
        for entry in fs_err::read_dir(&full).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().as_bytes().to_vec();
            let path = join(dir, &name);
            if name.starts_with(WHITEOUT) {
                return Err(PackError::Reserved { path: shown(&path) });
            }
            let is_device = {
                use std::os::unix::fs::FileTypeExt;
                entry.file_type().map_err(io)?.is_char_device()
            };
            if is_device && is_whiteout(&existing(&entry.path())?) {
                whiteouts.push(join(dir, &[WHITEOUT, &name].concat()));
            } else {
                names.push(path);
            }
        }
        if !dir.is_empty() && is_opaque(&full)? {
            self.entries.push(whiteout(join(dir, OPAQUE)));
        }
        whiteouts.sort_unstable();
        self.entries.extend(whiteouts.into_iter().map(whiteout));
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// Adds the entry of `path`; true for a directory.
    fn file(&mut self, path: &[u8]) -> Result<bool, PackError> {
        let full = self.root.join(OsStr::from_bytes(path));
        let stat = existing(&full)?;
        let kind = match file_type(&stat) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            // A socket is nothing without the process that listens.
            _ => return Ok(false),
        };
        let mut entry = self.entry(path.to_vec(), kind, &full, &stat)?;
        if kind == Kind::Symlink {
            entry.link = readlinkat(CWD, &full, Vec::new())
                .map_err(IoError::at("read", &full))?
                .into_bytes();
        }
        if kind != Kind::Directory && stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            match self.links.get(&id) {
                None => drop(self.links.insert(id, path.to_vec())),
                Some(first) => {
                    let link = first.clone();
                    entry = Entry { kind: Kind::HardLink, link, xattrs: Vec::new(), ..entry };
                }
            }
        }
        self.entries.push(entry);
        Ok(kind == Kind::Directory)
    }

    fn entry(
        &self,
        path: Vec<u8>,
        kind: Kind,
        full: &Path,
        stat: &Stat,
    ) -> Result<Entry, PackError> {
        let io = IoError::at("read attributes of", full);
        let names = match xattr_names(full) {
            Ok(names) => names,
            Err(error) => return Err(io(error).into()),
        };
        if names.iter().any(|name| name == REDIRECT_XATTR || name == METACOPY_XATTR) {
            return Err(PackError::Redirect { path: shown(&path) });
        }
        let attributes = if names.is_empty() {
            Attributes::without_xattrs(stat)
        } else {
            Attributes::read(full, stat).map_err(io)?
        };
        let Attributes { mode, uid, gid, mtime, xattrs } = attributes;
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        let size = match kind {
            Kind::File => u64::try_from(stat.st_size).unwrap_or(0),
            _ => 0,
        };
        let (link, sparse) = (Vec::new(), None);
        Ok(Entry { path, kind, link, mode, uid, gid, mtime, size, device, xattrs, sparse })
    }
}

fn existing(path: &Path) -> Result<Stat, IoError> {
    let gone = || IoError::at("inspect", path)(io::Error::from(io::ErrorKind::NotFound));
    stat(path)?.ok_or_else(gone)
}

fn whiteout(path: Vec<u8>) -> Entry {
    Entry {
        path,
        kind: Kind::File,
        link: Vec::new(),
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        size: 0,
        device: (0, 0),
        xattrs: Vec::new(),
        sparse: None,
    }
}
