//! [`Filler`]: the files of one source on their way into a tree, in few system calls each.
//!
//! There may be many of them. Directories stay open from one file to the next, small files are read
//! and written at once, and nothing is set that is so already. What is below a directory that this
//! very copy has made hides nothing and is hidden by nothing: it is written where the overlay would
//! put it, without the overlay, which would do each thing twice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Copier, CopyError, check_name, join};
use crate::select::{From, Item, Selected};
use crate::tree::{Dir, Filled, Kind, Meta, Tree, TreeError, copy_file, xattrs_of};

pub(super) struct Filler<'a> {
    copier: &'a Copier<'a>,
    from: &'a From<'a>,
    sources: Way<'a>,
    targets: Way<'a>,
    /// Past the overlay.
    beside: Option<Way<'a>>,
    /// A directory that was made, and so is new with all that comes below it.
    made: Option<PathBuf>,
    /// Names of one file, within one source, become names of one file.
    links: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

/// A tree and the directory in it that was used last.
struct Way<'a> {
    tree: &'a Tree,
    open: Option<(PathBuf, Dir)>,
}

impl<'a> Way<'a> {
    fn new(tree: &'a Tree) -> Self {
        Self { tree, open: None }
    }

    /// The directory that holds `path`, open.
    fn parent(&mut self, path: &Path) -> Result<&Dir, TreeError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        match &mut self.open {
            Some((at, _)) if at == parent => {}
            open => *open = Some((parent.to_owned(), self.tree.dir(parent)?)),
        }
        Ok(&self.open.as_ref().expect("it was just opened").1)
    }
}

impl<'a> Filler<'a> {
    /// `made` is a directory that was made for it.
    pub(super) fn new(copier: &'a Copier<'a>, from: &'a From<'a>, made: Option<PathBuf>) -> Self {
        Self {
            copier,
            from,
            sources: Way::new(from.tree),
            targets: Way::new(copier.to),
            beside: copier.upper.map(Way::new),
            made,
            links: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Copies a source with all that was selected of it to `place`.
    pub(super) fn fill(mut self, selected: &Selected, place: &Path) -> Result<(), CopyError> {
        for item in &selected.items {
            let path = join(place, &item.below);
            check_name(&path)?;
            if item.meta.is_dir() {
                self.directory(item, path)?;
            } else {
                self.other(item, &path)?;
            }
        }
        // Filling a directory set its time.
        self.made = None;
        for item in selected.items.iter().rev().filter(|item| item.meta.is_dir()) {
            self.copier.to.touch(&join(place, &item.below), (self.copier.time, 0))?;
        }
        Ok(())
    }

    /// Where `path` is written.
    fn way(&mut self, path: &Path) -> &mut Way<'a> {
        match (&mut self.beside, &self.made) {
            (Some(beside), Some(made)) if path.starts_with(made) && path != made => beside,
            _ => &mut self.targets,
        }
    }

    /// A source's own directory keeps what the destination has; those below it bring theirs.
    fn directory(&mut self, item: &Item, path: PathBuf) -> Result<(), CopyError> {
        let tree = self.way(&path).tree;
        let made = match tree.meta(&path)? {
            None => {
                tree.make_dir(&path)?;
                true
            }
            Some(meta) if meta.is_dir() => false,
            Some(_) => return Err(CopyError::DirectoryOverFile { path }),
        };
        let is_source = item.below.as_os_str().is_empty();
        let keep = is_source || item.implied;
        if made || !keep {
            self.finish(tree, item, &path)?;
        }
        if made && !self.made.as_ref().is_some_and(|above| path.starts_with(above)) {
            self.made = Some(path);
        }
        Ok(())
    }

    fn other(&mut self, item: &Item, path: &Path) -> Result<(), CopyError> {
        let tree = self.way(path).tree;
        if item.is(Kind::File) {
            if item.meta.links > 1 {
                let inode = (item.meta.dev, item.meta.ino);
                if let Some(first) = self.links.get(&inode) {
                    self.copier.make_room(path)?;
                    // Of two ways only the whole tree has both names.
                    return Ok(self.copier.to.make_hard_link(first, path)?);
                }
                self.links.insert(inode, path.to_owned());
            }
            return self.file(item, path);
        }
        self.copier.make_room_in(tree, path)?;
        match item.meta.kind {
            Kind::Link => tree.make_link(&self.from.tree.link(&item.path)?, path)?,
            kind => tree.make_node(path, kind, item.meta.rdev)?,
        }
        self.finish(tree, item, path)
    }

    /// A regular file: opened once on each side.
    fn file(&mut self, item: &Item, path: &Path) -> Result<(), CopyError> {
        let source = self.sources.parent(&item.path)?.file(&item.path)?;
        let target = match self.way(path).parent(path)?.make_file(path) {
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => {
                let tree = self.way(path).tree;
                self.copier.make_room_in(tree, path)?;
                self.way(path).parent(path)?.make_file(path)?
            }
            made => made?,
        };
        copy_file(&source, &target, item.meta.size, &mut self.buffer)
            .map_err(TreeError::at("copy", &item.path))?;
        // The key was made from this file as it was listed: another content must not get it.
        let now = Meta::of_file(&source).map_err(TreeError::at("look at", &item.path))?;
        if !now.unchanged(&item.meta) {
            return Err(CopyError::Changed { path: item.path.clone() });
        }
        let xattrs =
            xattrs_of(&source).map_err(TreeError::at("read the attributes of", &item.path))?;
        let owner = self.copier.owner_of(&item.meta);
        let filled = Filled { owner, mode: self.copier.mode(&item.meta), xattrs };
        filled
            .describe(&target, (self.copier.time, 0))
            .map_err(TreeError::at("set the attributes of", path))?;
        Ok(())
    }

    fn finish(&self, tree: &Tree, item: &Item, path: &Path) -> Result<(), CopyError> {
        let (copier, meta) = (self.copier, &item.meta);
        tree.own(path, copier.owner_of(meta))?;
        if meta.kind != Kind::Link {
            tree.permit(path, copier.mode(meta))?;
        }
        for (name, value) in self.from.tree.xattrs(&item.path, meta.kind)? {
            tree.set_xattr(path, &name, &value)?;
        }
        Ok(tree.touch(path, (copier.time, 0))?)
    }
}
