//! COPY, ADD and WORKDIR on the mounted layers of a stage.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cutover_core::Digest;
use cutover_runtime::mounts;
use cutover_runtime::spec::Rootfs;
use cutover_store::Draft;

use super::elsewhere::Part;
use super::steps::{Failure, Step};
use super::{Done, Opened, Solver};
use crate::cache::Files;
use crate::context::Context;
use crate::copy::{Copier, Owner, relative};
use crate::error::boxed;
use crate::explain::Listing;
use crate::fingerprint::{self, FileDigests, Fingerprint, ReadFiles};
use crate::op::{CopyOp, Op};
use crate::select::{From, SelectError, Selected};
use crate::tree::{Tree, TreeError};
use crate::{BuildError, FetchedContext};

/// What a copy takes: known by its content, listed only if it was not known.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) content: Digest,
    pub(super) listed: Option<Vec<Selected>>,
    /// Each source by itself, where one is from elsewhere.
    pub(super) parts: Vec<Part>,
}

/// Files that a step depends on, and how to speak of where they are.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) source: String,
    pub(super) digest: Digest,
}

impl Selection {
    pub(super) fn content(&self, step: &Step<'_>) -> Content {
        let source = match step.op {
            Op::Copy(copy) => copy.from.as_deref(),
            _ => None,
        };
        let source = source.map_or("the build context".to_owned(), |from| format!("`{from}`"));
        Content { source, digest: self.content.clone() }
    }
}

impl Solver<'_> {
    /// Selects a copy's files and digests them.
    pub(super) fn select(&self, copy: &CopyOp, step: &Step<'_>) -> Result<Selection, BuildError> {
        let failed = |this: &Self, error: SelectError| BuildError::Step {
            place: (this.place)(step.instruction.lines),
            instruction: step.shown.to_owned(),
            source: Box::new(error),
        };
        if copy.sources.iter().any(|source| source.remote.is_some()) {
            return self.select_elsewhere(copy, step);
        }
        if let Some(source) = &step.source {
            return self.select_in(source, copy).map_err(|error| match error {
                SelectFailure::Select(error) => failed(self, error),
                SelectFailure::Build(error) => error,
            });
        }
        if copy.sources.is_empty() {
            let content = Fingerprint::new("no files").finish();
            return Ok(Selection { content, listed: Some(Vec::new()), parts: Vec::new() });
        }
        let opened = self.context_of(copy)?;
        let from = opened.from();
        let select = || {
            let listed = list(&from, copy)?;
            let (content, listing) =
                fingerprint::of_files(&from, &listed, opened.owners, opened.digests())?;
            Ok((Selection { content, listed: Some(listed), parts: Vec::new() }, listing))
        };
        let (selection, listing) = select().map_err(|error| failed(self, error))?;
        self.remember_listing(&selection.content, &listing)?;
        Ok(selection)
    }

    /// Keeps a list of files, to say next time which of them changed.
    fn remember_listing(&self, content: &Digest, listing: &Listing) -> Result<(), BuildError> {
        if self.cache.has_listing(content).map_err(boxed("read the build cache"))? {
            return Ok(());
        }
        let written = self.cache.remember_listing(content, listing);
        written.map_err(boxed("write the build cache"))
    }

    /// The build context, opened when first asked for.
    pub(super) fn context(&self) -> Result<Arc<Opened>, BuildError> {
        self.contexts.get(&String::new(), || {
            self.check_cancel()?;
            let step = self.started("[internal] load build context");
            let path = &self.options.context;
            let canonical = fs_err::canonicalize(path).map_err(boxed("open the build context"))?;
            let (root, owners, _material) = (canonical, false, None);
            let opened = match self.options.fetched {
                None => {
                    let context = Context::open(&root, self.dockerfile.as_deref())?;
                    let files = Some(Files::load(&self.cache, &root, self.options.now));
                    Opened { root, context, files, owners, _material }
                }
                Some(FetchedContext { owners, .. }) => {
                    let context = Context::all(&root)?;
                    Opened { root, context, files: None, owners, _material }
                }
            };
            self.done(step);
            Ok(Arc::new(opened))
        })
    }

    /// Files of a stage never change: their digest is remembered by the stage's layers.
    fn select_in(&self, source: &Done, copy: &CopyOp) -> Result<Selection, SelectFailure> {
        let mut selection = Fingerprint::new("selection 1");
        selection.field("in", source.top());
        for source in &copy.sources {
            selection.field("path", &source.path);
            selection.field("include", format!("{:?}", source.include));
        }
        selection.fields("exclude", &copy.exclude);
        selection.field("owners", if copy.chown.is_empty() { "kept" } else { "set" });
        let selection = selection.finish();
        let cached = self.cache.content(&selection).map_err(boxed("read the build cache"))?;
        if let Some(content) = cached.or_else(|| self.imported_content(&selection)) {
            self.travel.note_content(&selection, &content);
            return Ok(Selection { content, listed: None, parts: Vec::new() });
        }
        let tree = self.tree_of(source)?;
        let from = From { tree: &tree, visible: None };
        let listed = list(&from, copy)?;
        let keep_owners = copy.chown.is_empty();
        let (content, listing) = fingerprint::of_files(&from, &listed, keep_owners, &ReadFiles)
            .map_err(SelectError::from)?;
        self.remember_listing(&content, &listing)?;
        self.travel.note_content(&selection, &content);
        self.cache
            .remember_content(&selection, &content)
            .map_err(boxed("write the build cache"))?;
        // Another mount of the same layers shows the same files.
        Ok(Selection { content, listed: Some(listed), parts: Vec::new() })
    }

    /// The files of a finished stage, mounted where only we see them.
    pub(super) fn tree_of(&self, source: &Done) -> Result<Tree, BuildError> {
        self.materialize(source)?;
        let lowers = self.world.store.snapshots().lower_dirs(&source.chain_ids());
        let lowers = lowers.unwrap_or_default();
        if lowers.is_empty() {
            let empty = tempfile::tempdir_in(self.world.store.root().join("tmp"));
            let empty = empty.map_err(boxed("make a directory"))?;
            return Tree::open(empty.path()).map_err(boxed("open a directory"));
        }
        mount(lowers, None).map(Tree::of).map_err(boxed("mount the layers of a stage"))
    }

    pub(super) fn copy(
        &self,
        draft: &Draft,
        copy: &CopyOp,
        (step, selected): (&Step<'_>, &Selection),
        time: i64,
    ) -> Result<(), Failure> {
        let whole = mounted(draft)?;
        let upper = Tree::open(&draft.upper)?;
        let owner = match copy.chown.as_str() {
            "" => None,
            text => Some(Owner::parse(text, &whole)?),
        };
        let copier = Copier {
            // A linked copy does not look at what is below it.
            to: if copy.link { &upper } else { &whole },
            upper: (!copy.link && !draft.lowers.is_empty()).then_some(&upper),
            op: copy,
            owner,
            keep_owners: step.source.is_some(),
            time,
        };
        match selected.parts.as_slice() {
            [] => self.copy_files(&copier, copy, step, selected)?,
            parts => self.copy_parts(&copier, parts, step)?,
        }
        for (name, content) in &copy.inline {
            copier.inline(name, content)?;
        }
        Ok(())
    }

    /// Copies what was selected of a stage or a context.
    pub(super) fn copy_files(
        &self,
        copier: &Copier<'_>,
        copy: &CopyOp,
        step: &Step<'_>,
        selected: &Selection,
    ) -> Result<(), Failure> {
        let tree = match &step.source {
            Some(source) => Some(self.tree_of(source).map_err(box_build)?),
            None => None,
        };
        let opened = match (&tree, copy.sources.is_empty()) {
            (None, false) => Some(self.context_of(copy).map_err(box_build)?),
            _ => None,
        };
        let from = match (&tree, &opened) {
            (Some(tree), _) => From { tree, visible: None },
            (None, Some(opened)) => opened.from(),
            (None, None) => return Ok(()),
        };
        let keep_owners = copier.keep_owners || opened.as_ref().is_some_and(|opened| opened.owners);
        let copier = Copier { keep_owners, ..*copier };
        let fresh;
        let listed = match &selected.listed {
            Some(listed) => listed,
            None => {
                fresh = list(&from, copy)?;
                &fresh
            }
        };
        Ok(listed.iter().try_for_each(|one| copier.copy(&from, one))?)
    }

    pub(super) fn mkdir(
        &self,
        draft: &Draft,
        path: &str,
        owner: &str,
        time: i64,
    ) -> Result<(), Failure> {
        let tree = mounted(draft)?;
        let owner = match owner {
            "" => None,
            text => Some(Owner::parse(text, &tree)?.ids()),
        };
        let path = tree.resolve(&relative(path))?;
        for made in tree.make_dirs(&path, 0o755, owner)?.iter().rev() {
            tree.touch(made, (time, 0))?;
        }
        Ok(())
    }
}

impl Opened {
    pub(super) fn from(&self) -> From<'_> {
        From { tree: &self.context.tree, visible: Some(&self.context.visible) }
    }

    pub(super) fn digests(&self) -> &dyn FileDigests {
        match &self.files {
            Some(files) => files,
            None => &ReadFiles,
        }
    }
}

/// Errors of a selection among a stage's files.
enum SelectFailure {
    Select(SelectError),
    Build(BuildError),
}

impl std::convert::From<SelectError> for SelectFailure {
    fn from(error: SelectError) -> Self {
        Self::Select(error)
    }
}

impl std::convert::From<BuildError> for SelectFailure {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

pub(super) fn box_build(error: BuildError) -> Failure {
    Failure::Other(Box::new(error))
}

pub(super) fn list(from: &From<'_>, copy: &CopyOp) -> Result<Vec<Selected>, SelectError> {
    let mut listed = Vec::new();
    for source in &copy.sources {
        listed.extend(from.select(source, &copy.exclude)?);
    }
    Ok(listed)
}

/// The draft over its parent layers; what is written goes to the upper directory.
fn mounted(draft: &Draft) -> Result<Tree, Failure> {
    if draft.lowers.is_empty() {
        return Ok(Tree::open(&draft.upper)?);
    }
    let writable = Some((draft.upper.clone(), draft.work.clone()));
    Ok(Tree::of(mount(draft.lowers.clone(), writable)?))
}

/// A detached mount: no mount table has it, and it is gone with its descriptor.
fn mount(
    lowers: Vec<PathBuf>,
    writable: Option<(PathBuf, PathBuf)>,
) -> Result<OwnedFd, mounts::MountError> {
    let (upper, work) = writable.unzip();
    mounts::rootfs(&Rootfs::Overlay { lowers, upper, work, read_only: false, volatile: true })
}

/// Sets times later than `epoch` to it, everywhere in a layer that is about to be committed.
pub(super) fn clamp_times(upper: &Path, epoch: i64) -> Result<(), TreeError> {
    fn clamp(tree: &Tree, directory: &Path, epoch: i64) -> Result<(), TreeError> {
        for (path, meta) in tree.entries(directory)? {
            if meta.is_dir() {
                clamp(tree, &path, epoch)?;
            }
            if meta.mtime > (epoch, 0) {
                tree.touch(&path, (epoch, 0))?;
            }
        }
        Ok(())
    }
    let tree = Tree::open(upper)?;
    clamp(&tree, Path::new(""), epoch)?;
    match tree.meta(Path::new(""))? {
        Some(meta) if meta.mtime > (epoch, 0) => tree.touch(Path::new(""), (epoch, 0)),
        _ => Ok(()),
    }
}
