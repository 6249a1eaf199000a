//! COPY and ADD: selected files into a stage's tree, as BuildKit's copier does it.
//!
//! Destinations are resolved inside the tree, symlinks and all. Directories merge; a file replaces
//! a file; neither replaces the other. Order per file: create, owner, permissions, attributes,
//! time, because each clears what comes after it.

mod archive;
mod filler;
mod owner;
mod unpack;

use std::path::{Path, PathBuf};

use self::filler::Filler;
use crate::op::CopyOp;
use crate::select::{From, Selected};
use crate::tree::{Kind, Meta, Tree, TreeError, copy_bytes};

pub(crate) use archive::{ArchiveError, decompress, open as open_archive};
pub(crate) use owner::{Owner, OwnerError};
pub(crate) use unpack::unpack;

/// Why files cannot be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("cannot replace the directory `/{}` with a file", path.display())]
    FileOverDirectory { path: PathBuf },
    #[error("cannot copy a directory over `/{}`, which is not a directory", path.display())]
    DirectoryOverFile { path: PathBuf },
    #[error("`/{}` changed while it was copied", path.display())]
    Changed { path: PathBuf },
    #[error("`/{}` cannot be in an image: names starting with `.wh.` mark deletions", path.display())]
    Whiteout { path: PathBuf },
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A file that was fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched<'a> {
    pub(crate) path: &'a Path,
    /// At a destination directory.
    pub(crate) name: &'a str,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    pub(crate) unpack: bool,
}

/// What all files of one copy share.
#[derive(Debug)]
pub(crate) struct Copier<'a> {
    pub(crate) to: &'a Tree,
    /// Where the files of `to` are written by the overlay that it is, if it is one.
    pub(crate) upper: Option<&'a Tree>,
    pub(crate) op: &'a CopyOp,
    /// `--chown`; otherwise owners are kept, or root for files from the context.
    pub(crate) owner: Option<Owner>,
    /// Whether owners of the source count at all.
    pub(crate) keep_owners: bool,
    /// Time of all files that do not come out of an archive: seconds. Where they come from they may
    /// have another one, which is no part of the key.
    pub(crate) time: i64,
}

impl Copier<'_> {
    /// Copies everything that was selected of one source.
    pub(crate) fn copy(&self, from: &From<'_>, selected: &Selected) -> Result<(), CopyError> {
        let source = &selected.items[0];
        if self.op.unpack && source.is(Kind::File) {
            let name = format!("/{}", source.path.display());
            if self.unpack(from.tree.file(&source.path)?, &name)? {
                return Ok(());
            }
        }
        let (place, made) = self.place(source.meta.is_dir(), &selected.name)?;
        Filler::new(self, from, made.then(|| place.clone())).fill(selected, &place)
    }

    /// Writes a file that is in the Dockerfile itself.
    pub(crate) fn inline(&self, name: &str, content: &str) -> Result<(), CopyError> {
        use std::io::Write as _;
        let (path, _) = self.place(false, Path::new(name))?;
        check_name(&path)?;
        self.make_room(&path)?;
        let mut file = self.to.make_file(&path)?;
        file.write_all(content.as_bytes()).map_err(TreeError::at("write", &path))?;
        let mode = self.op.chmod.as_ref().map_or(0o644, |chmod| chmod.apply(0o644, false));
        self.to.own(&path, self.owner.map_or((0, 0), Owner::ids))?;
        self.to.permit(&path, mode)?;
        Ok(self.to.touch(&path, (self.time, 0))?)
    }

    /// Writes a file that came from elsewhere, unpacked where the instruction says so.
    pub(crate) fn fetched(&self, file: &Fetched<'_>) -> Result<(), CopyError> {
        let open = || fs_err::File::open(file.path).map_err(TreeError::at("open", file.path));
        if file.unpack && self.unpack(open()?, file.name)? {
            return Ok(());
        }
        let (path, _) = self.place(false, Path::new(file.name))?;
        check_name(&path)?;
        self.make_room(&path)?;
        let mut target = self.to.make_file(&path)?;
        let mut source = open()?.into_parts().0;
        copy_bytes(&mut source, &mut target).map_err(TreeError::at("write", &path))?;
        let mode = self.op.chmod.as_ref().map_or(0o600, |chmod| chmod.apply(0o600, false));
        self.to.own(&path, self.owner.map_or((0, 0), Owner::ids))?;
        self.to.permit(&path, mode)?;
        Ok(self.to.touch(&path, (file.modified, 0))?)
    }

    /// Where a source goes; missing directories on the way are made. Also whether the place itself
    /// was made, as a directory.
    fn place(&self, is_dir: bool, name: &Path) -> Result<(PathBuf, bool), CopyError> {
        let destination = self.op.destination.as_str();
        let names_directory = destination.ends_with('/') || destination.ends_with("/.");
        let whole = relative(destination);
        let ensured =
            if names_directory { whole.as_path() } else { whole.parent().unwrap_or(&whole) };
        self.make_dirs(&self.to.resolve(ensured)?)?;
        let mut place = self.to.resolve(&whole)?;
        let existing = self.to.meta(&place)?;
        if !is_dir && existing.is_some_and(|meta| meta.is_dir()) {
            place.push(name);
        }
        let needed = match existing {
            None if is_dir => place.as_path(),
            _ => place.parent().unwrap_or(Path::new("")),
        };
        let made = self.make_dirs(needed)? && needed == place;
        Ok((place, made))
    }

    /// Says whether `path` itself was made.
    fn make_dirs(&self, path: &Path) -> Result<bool, CopyError> {
        let mode = self.op.chmod.as_ref().map_or(0o755, |chmod| chmod.parent_mode());
        let made = self.to.make_dirs(path, mode, self.owner.map(Owner::ids))?;
        for each in made.iter().rev() {
            check_name(each)?;
            self.to.touch(each, (self.time, 0))?;
        }
        Ok(made.last().is_some_and(|last| last == path))
    }

    /// Removes what a new file replaces.
    fn make_room(&self, path: &Path) -> Result<(), CopyError> {
        self.make_room_in(self.to, path)
    }

    fn make_room_in(&self, tree: &Tree, path: &Path) -> Result<(), CopyError> {
        match tree.meta(path)? {
            None => Ok(()),
            Some(meta) if meta.is_dir() => {
                Err(CopyError::FileOverDirectory { path: path.to_owned() })
            }
            Some(_) => Ok(tree.remove(path)?),
        }
    }

    fn owner_of(&self, meta: &Meta) -> (u32, u32) {
        let kept = if self.keep_owners { (meta.uid, meta.gid) } else { (0, 0) };
        self.owner.map_or(kept, Owner::ids)
    }

    fn mode(&self, meta: &Meta) -> u32 {
        self.op.chmod.as_ref().map_or(meta.mode, |chmod| chmod.apply(meta.mode, meta.is_dir()))
    }
}

/// A name that means something else in a layer.
fn check_name(path: &Path) -> Result<(), CopyError> {
    let name = path.file_name().unwrap_or_default();
    if name.as_encoded_bytes().starts_with(b".wh.") {
        return Err(CopyError::Whiteout { path: path.to_owned() });
    }
    Ok(())
}

/// [`Path::join`] that adds no slash for an empty second part.
fn join(place: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { place.to_owned() } else { place.join(below) }
}

/// An absolute path of the image as a path of its tree.
pub(crate) fn relative(path: &str) -> PathBuf {
    Path::new(path)
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}

#[cfg(test)]
mod tests;
