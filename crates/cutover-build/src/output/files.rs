//! The file system of an image: as files of a directory, or as a tar.
//!
//! A directory is merged into, as BuildKit does it. The files are an image's, so anybody's: links
//! never lead out of the directory, all become the caller's, no program runs as its owner any more,
//! and devices are left out. A tar has all of it as it is.

use std::io::Write;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use cutover_runtime::mounts;
use cutover_runtime::spec::Rootfs;
use cutover_store::{Image, Store};

use super::{OutputError, at};
use crate::tree::{Kind, Meta, Tree, TreeError, copy_bytes};

/// What [`write_files`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilesOut {
    pub files: u64,
    /// Devices and FIFOs that were left out.
    pub left_out: u64,
}

/// Bits that make a program run as its owner.
const AS_OWNER: u32 = 0o6000;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Writes the image's files into the directory `to`, which is made; they become those of `owner`.
pub fn write_files(
    store: &Store,
    image: &Image,
    to: &Path,
    owner: (u32, u32),
) -> Result<FilesOut, OutputError> {
    fs_err::create_dir_all(to).map_err(at(to))?;
    let failed = |error: Error| OutputError::Files(error);
    let from = mounted(store, image)?;
    let to = Tree::open(to).map_err(|error| failed(error.into()))?;
    let mut out = FilesOut::default();
    let writer = Writer { from: &from, to: &to, owner };
    writer.directory(Path::new(""), &mut out).map_err(|error| failed(error.into()))?;
    Ok(out)
}

/// Writes the image's files as a tar.
pub fn write_tar(store: &Store, image: &Image, out: &mut dyn Write) -> Result<(), OutputError> {
    let _lease = store.lease().map_err(|error| OutputError::Store(error.into()))?;
    let Some(root) = mount(store, image)? else {
        let empty = tempfile::tempdir_in(store.root().join("tmp")).map_err(OutputError::Archive)?;
        return pack(empty.path(), out);
    };
    // a detached mount has a path only through its descriptor
    pack(Path::new(&format!("/proc/self/fd/{}/.", root.as_raw_fd())), out)
}

fn pack(root: &Path, out: &mut dyn Write) -> Result<(), OutputError> {
    let mut tar =
        cutover_store::tree_tar(root).map_err(|error| OutputError::Files(error.into()))?;
    std::io::copy(&mut tar, out).map_err(OutputError::Archive)?;
    out.flush().map_err(OutputError::Archive)
}

/// The image's files, where only we see them.
pub(crate) fn mounted(store: &Store, image: &Image) -> Result<Tree, OutputError> {
    match mount(store, image)? {
        Some(root) => Ok(Tree::of(root)),
        None => {
            let empty = tempfile::tempdir_in(store.root().join("tmp"));
            let empty = empty.map_err(|error| OutputError::Files(error.into()))?;
            Tree::open(empty.path()).map_err(|error| OutputError::Files(error.into()))
        }
    }
}

fn mount(store: &Store, image: &Image) -> Result<Option<std::os::fd::OwnedFd>, OutputError> {
    let failed = |error: Error| OutputError::Image { digest: image.digest.clone(), source: error };
    let lowers = store.snapshots().ensure(image, &mut |_| {});
    let lowers = lowers.map_err(|error| failed(error.into()))?;
    if lowers.is_empty() {
        return Ok(None);
    }
    let rootfs =
        Rootfs::Overlay { lowers, upper: None, work: None, read_only: false, volatile: true };
    mounts::rootfs(&rootfs).map(Some).map_err(|error| failed(error.into()))
}

struct Writer<'a> {
    from: &'a Tree,
    to: &'a Tree,
    owner: (u32, u32),
}

impl Writer<'_> {
    /// Copies what is in the directory `path`, whose copy is there.
    fn directory(&self, path: &Path, out: &mut FilesOut) -> Result<(), TreeError> {
        for (path, meta) in self.from.entries(path)? {
            match meta.kind {
                Kind::Dir => {
                    self.make_dir(&path)?;
                    self.directory(&path, out)?;
                    self.describe(&path, &meta)?;
                }
                Kind::File => {
                    self.make_room(&path)?;
                    let mut from = self.from.file(&path)?;
                    let mut to = self.to.make_file(&path)?;
                    copy_bytes(&mut from, &mut to).map_err(TreeError::at("copy", &path))?;
                    self.describe(&path, &meta)?;
                    out.files += 1;
                }
                Kind::Link => {
                    self.make_room(&path)?;
                    self.to.make_link(&self.from.link(&path)?, &path)?;
                    self.to.own(&path, self.owner)?;
                    self.to.touch(&path, meta.mtime)?;
                    out.files += 1;
                }
                Kind::Socket => {}
                Kind::Char | Kind::Block | Kind::Fifo => out.left_out += 1,
            }
        }
        Ok(())
    }

    fn make_dir(&self, path: &Path) -> Result<(), TreeError> {
        match self.to.meta(path)? {
            Some(meta) if meta.is_dir() => Ok(()),
            Some(_) => {
                self.to.remove(path)?;
                self.to.make_dir(path)
            }
            None => self.to.make_dir(path),
        }
    }

    fn make_room(&self, path: &Path) -> Result<(), TreeError> {
        match self.to.meta(path)? {
            None => Ok(()),
            Some(_) => self.to.remove(path),
        }
    }

    fn describe(&self, path: &Path, meta: &Meta) -> Result<(), TreeError> {
        self.to.own(path, self.owner)?;
        self.to.permit(path, meta.mode & !AS_OWNER)?;
        self.to.touch(path, meta.mtime)
    }
}
