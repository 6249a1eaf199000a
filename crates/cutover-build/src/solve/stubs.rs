//! Mount points of a RUN step: a layer below the upper one, so that mounting writes nothing that
//! would end in the image.
//!
//! BuildKit makes mount points in the layer and removes those that are still empty, with the
//! directories that it made on the way. The result is the same: what the step itself adds beside a
//! mount point, or changes of it, is copied up by the kernel and stays; what is empty goes.

use std::path::{Path, PathBuf};

use cutover_runtime::mounts;
use cutover_runtime::spec::Rootfs;

use super::steps::Failure;
use crate::copy::relative;
use crate::tree::{Kind, Meta, Tree, TreeError};

/// What the runtime mounts in every container.
const DIRECTORIES: [&str; 4] = ["proc", "sys", "dev", "etc"];
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// Seconds and nanoseconds.
type Times = (i64, u32);

/// The layer of mount points.
#[derive(Debug)]
pub(super) struct Stubs {
    pub(super) path: PathBuf,
    /// Those that the image does not have, parents first.
    made: Vec<PathBuf>,
}

/// Makes it in `scratch`: directories that lead to a mount point look as in the image. `places` are
/// mount targets, and whether each is a file.
pub(super) fn make(
    scratch: &Path,
    lowers: &[PathBuf],
    places: &[(String, bool)],
) -> Result<Stubs, Failure> {
    let path = scratch.join("stubs");
    fs_err::create_dir(&path)?;
    let image = match lowers {
        [] => None,
        lowers => {
            let (lowers, upper, work) = (lowers.to_vec(), None, None);
            let root = Rootfs::Overlay { lowers, upper, work, read_only: true, volatile: false };
            Some(Tree::of(mounts::rootfs(&root)?))
        }
    };
    let stubs = Tree::open(&path)?;
    let mut maker =
        Maker { stubs: &stubs, image: image.as_ref(), made: Vec::new(), dressed: Vec::new() };
    for file in FILES {
        maker.file(Path::new(file))?;
    }
    maker.made.clear();
    for (target, is_file) in places {
        maker.place(&relative(target), *is_file, places)?;
    }
    for directory in DIRECTORIES {
        maker.directory(Path::new(directory))?;
    }
    maker.dress(Path::new(""))?;
    maker.touch()?;
    let made = maker.made;
    Ok(Stubs { path, made })
}

struct Maker<'a> {
    stubs: &'a Tree,
    image: Option<&'a Tree>,
    made: Vec<PathBuf>,
    /// Directories that are in the image too.
    dressed: Vec<(PathBuf, Times)>,
}

impl Maker<'_> {
    fn in_image(&self, path: &Path) -> Result<Option<Meta>, TreeError> {
        self.image.map_or(Ok(None), |image| image.meta(path))
    }

    /// The mount point of one target, unless it is there or lies in another mount.
    fn place(
        &mut self,
        target: &Path,
        is_file: bool,
        places: &[(String, bool)],
    ) -> Result<(), TreeError> {
        let covered = |(other, _): &(String, bool)| {
            let other = relative(other);
            other != target && target.starts_with(other)
        };
        let ours = DIRECTORIES[..3].iter().any(|path| target.starts_with(path));
        if ours || places.iter().any(covered) {
            return Ok(());
        }
        let target = match self.image {
            Some(image) => image.resolve(target)?,
            None => target.to_owned(),
        };
        if self.in_image(&target)?.is_some() || self.stubs.meta(&target)?.is_some() {
            return Ok(());
        }
        let mut at = PathBuf::new();
        for part in target.parent().unwrap_or(Path::new("")).components() {
            at.push(part);
            // A file on the way is an error that the runtime tells.
            if self.in_image(&at)?.is_some_and(|meta| !meta.is_dir()) {
                return Ok(());
            }
            self.directory(&at)?;
        }
        if is_file { self.file(&target) } else { self.directory(&target) }
    }

    /// Makes an empty file, with its directory, that looks as the image's if it has one.
    fn file(&mut self, path: &Path) -> Result<(), TreeError> {
        self.stubs.make_dirs(path.parent().unwrap_or(Path::new("")), 0o755, None)?;
        drop(self.stubs.make_file(path)?);
        self.stubs.permit(path, 0o644)?;
        match self.in_image(path)? {
            Some(meta) if meta.kind == Kind::File => {
                self.stubs.own(path, (meta.uid, meta.gid))?;
                self.stubs.permit(path, meta.mode)
            }
            Some(_) => Ok(()),
            None => {
                self.made.push(path.to_owned());
                Ok(())
            }
        }
    }

    /// Makes a directory unless it is there, and gives it the image's attributes.
    fn directory(&mut self, path: &Path) -> Result<(), TreeError> {
        if self.stubs.meta(path)?.is_none() {
            self.stubs.make_dirs(path, 0o755, None)?;
            if self.in_image(path)?.is_none() {
                self.made.push(path.to_owned());
            }
        }
        self.dress(path)
    }

    fn dress(&mut self, path: &Path) -> Result<(), TreeError> {
        let Some(image) = self.image else { return Ok(()) };
        let Some(meta) = image.meta(path)?.filter(Meta::is_dir) else { return Ok(()) };
        self.stubs.own(path, (meta.uid, meta.gid))?;
        self.stubs.permit(path, meta.mode)?;
        for (name, value) in image.xattrs(path, Kind::Dir)? {
            self.stubs.set_xattr(path, &name, &value)?;
        }
        self.dressed.push((path.to_owned(), meta.mtime));
        Ok(())
    }

    /// Last, because filling a directory sets its time.
    fn touch(&self) -> Result<(), TreeError> {
        self.dressed.iter().try_for_each(|(path, time)| self.stubs.touch(path, *time))
    }
}

impl Stubs {
    /// Removes mount points that the step changed but left empty, and the directories on the way.
    pub(super) fn sweep(&self, upper: &Path) -> Result<(), TreeError> {
        let upper = Tree::open(upper)?;
        for path in self.made.iter().rev() {
            let Some(meta) = upper.meta(path)? else { continue };
            let empty = match meta.kind {
                Kind::Dir => upper.names(path)?.is_empty(),
                Kind::File => meta.size == 0,
                _ => false,
            };
            if !empty {
                continue;
            }
            let parent = path.parent().unwrap_or(Path::new(""));
            let time = upper.meta(parent)?.map(|meta| meta.mtime);
            upper.remove(path)?;
            if let Some(time) = time {
                upper.touch(parent, time)?;
            }
        }
        Ok(())
    }
}
