//! Detached mounts, made on the host's side before a container exists: its root file system and the sources of
//! its volumes.
//!
//! A detached mount is a descriptor; it is in no mount table and vanishes when it is closed, so nothing here
//! leaves anything behind. Sources are opened once and carried by descriptor: swapping a path later changes nothing.

mod overlay;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::OpenTreeFlags;

use crate::spec::{Propagation, Rootfs};
use crate::sys::mount::{Attributes, READ_ONLY, set_attributes};

/// A mount that could not be prepared.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{}`", path.display())]
pub struct MountError {
    /// The operation.
    pub what: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Adds the operation and its subject to an error.
fn context<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl Fn(rustix::io::Errno) -> MountError + 'a {
    move |errno| MountError { what, path: path.to_owned(), source: errno.into() }
}

/// The root file system, detached and writable as far as it will ever be (`read_only` is applied after the mount
/// points were made). Files can be read and written through the descriptor with `openat2(RESOLVE_IN_ROOT)`.
pub fn rootfs(rootfs: &Rootfs) -> Result<OwnedFd, MountError> {
    match rootfs {
        Rootfs::Overlay { lowers, upper, work, volatile, .. } => {
            let writable = upper.as_deref().zip(work.as_deref());
            overlay::mount(&overlay::Layers { lowers, writable, volatile: *volatile })
        }
        Rootfs::Dir { path, .. } => {
            let root = clone_tree(CWD, path, true)?;
            set(root.as_fd(), path, false, Propagation::Private)?;
            Ok(root)
        }
    }
}

/// The source of a bind mount.
#[derive(Debug)]
pub struct Source {
    /// The detached mount.
    pub tree: OwnedFd,
    /// Whether it is a directory (else some file).
    pub is_directory: bool,
}

/// How a bind mount's source is opened.
#[derive(Debug, Clone, Copy)]
pub struct Bind<'a> {
    /// On the host.
    pub source: &'a Path,
    /// Below it, resolved without leaving it.
    pub subpath: Option<&'a str>,
    /// Read-only, with everything below.
    pub read_only: bool,
    /// Mounts below come along.
    pub recursive: bool,
    /// Make a missing source directory.
    pub create_source: bool,
    /// Sharing of later mounts.
    pub propagation: Propagation,
}

/// Opens a bind mount's source.
pub fn bind(bind: Bind<'_>) -> Result<Source, MountError> {
    let path = bind.source;
    if bind.create_source && fs_err::symlink_metadata(path).is_err() {
        fs_err::create_dir_all(path).map_err(|source| MountError {
            what: "create the source directory",
            path: path.to_owned(),
            source,
        })?;
    }
    let tree = match bind.subpath {
        None => clone_tree(CWD, path, bind.recursive)?,
        Some(below) => {
            let opened = open_below(path, below)?;
            clone_tree(opened.as_fd(), Path::new(""), bind.recursive)
                .map_err(|error| MountError { path: path.join(below), ..error })?
        }
    };
    set(tree.as_fd(), path, bind.read_only, bind.propagation)?;
    let stat = rustix::fs::fstat(&tree).map_err(context("look at the source", path))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(Source { tree, is_directory })
}

/// A path below a directory that may be changing under us (CVE-2024-23651).
fn open_below(path: &Path, below: &str) -> Result<OwnedFd, MountError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = rustix::fs::open(path, flags, Mode::empty())
        .map_err(context("open the source directory", path))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&base, below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(context("open the source path", &path.join(below)))
}

fn clone_tree(
    directory: BorrowedFd<'_>,
    path: &Path,
    recursive: bool,
) -> Result<OwnedFd, MountError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(directory, path, flags).map_err(context("open the source", path))
}

fn set(
    tree: BorrowedFd<'_>,
    path: &Path,
    read_only: bool,
    propagation: Propagation,
) -> Result<(), MountError> {
    let propagation = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
    };
    let attributes = Attributes {
        set: if read_only { READ_ONLY } else { 0 },
        propagation,
        ..Attributes::default()
    };
    set_attributes(tree, true, attributes).map_err(context("set the mount options of", path))
}

/// Type and numbers of a host device: `(is block, mode, device number, uid, gid)`.
pub(crate) fn device(path: &Path) -> Result<rustix::fs::Stat, MountError> {
    rustix::fs::statat(CWD, path, AtFlags::empty()).map_err(context("look at the device", path))
}
