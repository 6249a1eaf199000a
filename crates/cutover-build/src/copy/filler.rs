//! [`Filler`]: the files of one source on their way into a tree, in few system calls each.
//!
//! There may be many of them. Directories stay open from one file to the next, small files are read
//! and written at once, and nothing is set that is so already. What is below a directory that this
//! very copy has made hides nothing and is hidden by nothing: it is written where the overlay would
//! put it, without the overlay, which would do each thing twice. Everything but files of one name is
//! made first and in order; those then by several threads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Copier, CopyError, check_name, join};
use crate::select::{From, Item, Selected};
use crate::tree::{Dir, Filled, Kind, Meta, Tree, TreeError, copy_file, xattrs_of};

/// Threads that copy files: more only wait for the same disk.
const COPIERS: usize = 2;
/// Files that a thread takes at once: neighbours, most of them of one directory.
const CHUNK: usize = 32;

pub(super) struct Filler<'a> {
    copier: &'a Copier<'a>,
    from: &'a From<'a>,
    /// A directory that was made, and so is new with all that comes below it.
    made: Option<PathBuf>,
    /// Names of one file, within one source, become names of one file.
    links: HashMap<(u64, u64), PathBuf>,
    /// Files still to be copied.
    files: Vec<ToCopy<'a>>,
}

struct ToCopy<'a> {
    item: &'a Item,
    path: PathBuf,
    tree: &'a Tree,
}

impl<'a> Filler<'a> {
    /// `made` is a directory that was made for it.
    pub(super) fn new(copier: &'a Copier<'a>, from: &'a From<'a>, made: Option<PathBuf>) -> Self {
        Self { copier, from, made, links: HashMap::new(), files: Vec::new() }
    }

    /// Copies a source with all that was selected of it to `place`.
    pub(super) fn fill(mut self, selected: &'a Selected, place: &Path) -> Result<(), CopyError> {
        for item in &selected.items {
            let path = join(place, &item.below);
            check_name(&path)?;
            let tree = self.tree(&path);
            if item.meta.is_dir() {
                self.directory(tree, item, path)?;
            } else if item.is(Kind::File) {
                self.file(tree, item, path)?;
            } else {
                self.other(tree, item, &path)?;
            }
        }
        self.copy_files()?;
        // Filling a directory set its time.
        for item in selected.items.iter().rev().filter(|item| item.meta.is_dir()) {
            self.copier.to.touch(&join(place, &item.below), (self.copier.time, 0))?;
        }
        Ok(())
    }

    /// Where `path` is written: past the overlay if it is new with the directory that it is in.
    fn tree(&self, path: &Path) -> &'a Tree {
        match (self.copier.upper, &self.made) {
            (Some(upper), Some(made)) if path.starts_with(made) && path != made => upper,
            _ => self.copier.to,
        }
    }

    /// A source's own directory keeps what the destination has; those below it bring theirs.
    fn directory(&mut self, tree: &Tree, item: &Item, path: PathBuf) -> Result<(), CopyError> {
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

    fn file(&mut self, tree: &'a Tree, item: &'a Item, path: PathBuf) -> Result<(), CopyError> {
        let to_copy = ToCopy { item, path, tree };
        if item.meta.links == 1 {
            self.files.push(to_copy);
            return Ok(());
        }
        let inode = (item.meta.dev, item.meta.ino);
        if let Some(first) = self.links.get(&inode) {
            self.copier.make_room(&to_copy.path)?;
            // Only the whole tree has both names.
            return Ok(self.copier.to.make_hard_link(first, &to_copy.path)?);
        }
        self.links.insert(inode, to_copy.path.clone());
        Hand::new(self.copier, self.from).copy(&to_copy)
    }

    fn other(&self, tree: &Tree, item: &Item, path: &Path) -> Result<(), CopyError> {
        self.copier.make_room_in(tree, path)?;
        match item.meta.kind {
            Kind::Link => tree.make_link(&self.from.tree.link(&item.path)?, path)?,
            kind => tree.make_node(path, kind, item.meta.rdev)?,
        }
        self.finish(tree, item, path)
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

    fn copy_files(&self) -> Result<(), CopyError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut hand = Hand::new(self.copier, self.from);
            loop {
                let first = next.fetch_add(CHUNK, Ordering::Relaxed);
                let Some(rest) = self.files.get(first..) else { return Ok(()) };
                let copied = rest.iter().take(CHUNK).try_for_each(|file| hand.copy(file));
                if copied.is_err() {
                    // The others stop, too.
                    next.store(self.files.len(), Ordering::Relaxed);
                    return copied;
                }
            }
        };
        if self.files.len() <= CHUNK {
            return work();
        }
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..COPIERS).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                let ended = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result = result.and(ended);
            }
            result
        })
    }
}

/// What one thread copies files with.
struct Hand<'a> {
    copier: &'a Copier<'a>,
    sources: Way<'a>,
    targets: Way<'a>,
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

impl<'a> Hand<'a> {
    fn new(copier: &'a Copier<'a>, from: &'a From<'a>) -> Self {
        let (sources, targets) = (Way::new(from.tree), Way::new(copier.to));
        Self { copier, sources, targets, buffer: Vec::new() }
    }

    /// A regular file: opened once on each side.
    fn copy(&mut self, file: &ToCopy<'a>) -> Result<(), CopyError> {
        let ToCopy { item, path, tree } = file;
        if !std::ptr::eq(self.targets.tree, *tree) {
            self.targets = Way::new(tree);
        }
        let source = self.sources.parent(&item.path)?.file(&item.path)?;
        let mode = self.copier.mode(&item.meta);
        let directory = self.targets.parent(path)?;
        let target = match directory.make_file(path, mode) {
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => {
                self.copier.make_room_in(tree, path)?;
                directory.make_file(path, mode)?
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
        let filled = Filled { owner: self.copier.owner_of(&item.meta), mode, xattrs };
        filled
            .describe(&target, (self.copier.time, 0))
            .map_err(TreeError::at("set the attributes of", path))?;
        Ok(())
    }
}
