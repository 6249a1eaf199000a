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
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use self::whiteouts::{Note, note_of};
use super::attributes::Attributes;
use super::lower::{Found, Lower};
use crate::error::IoError;
use crate::tar::{Entry, Kind, Limits, Reader, TarError, Time, clean, shown};

mod folders;
mod nodes;
mod whiteouts;

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

    /// In a first layer it is only noted: what it says is of the directory that someone packed, and
    /// a private one (0700) would lock every user but root out. containerd, and so BuildKit, never
    /// applies it. Further up it says that a step changed the root, and counts.
    fn root_entry(&mut self, entry: &mut Entry) -> Result<(), ApplyError> {
        self.unpacked.root = true;
        if self.lower.lookup(b"")?.is_none() {
            return Ok(());
        }
        let attributes = Attributes::of_entry(entry);
        attributes.set(self.root.as_fd()).map_err(at(b"/", "set attributes of"))?;
        self.dirs.insert(Vec::new(), attributes.mtime);
        Ok(())
    }
}

fn read_attributes(found: &Found) -> Result<Attributes, IoError> {
    Attributes::read(&found.path, &found.stat)
        .map_err(IoError::at("read attributes of", &found.path))
}

fn at<'a>(path: &'a [u8], action: &'static str) -> impl FnOnce(Errno) -> ApplyError + 'a {
    move |errno| ApplyError::Entry { path: shown(path), action, source: errno.into() }
}
