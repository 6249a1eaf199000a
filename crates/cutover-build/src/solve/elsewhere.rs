//! What comes from neither the context nor a stage: URLs and repositories of ADD, named contexts.

use std::sync::Arc;

use cutover_core::oci::Platform;

use super::base::to_done;
use super::files::Selection;
use super::steps::{Failure, Location, Step};
use super::{Done, Opened, Solver};
use crate::BuildError;
use crate::cache::Files;
use crate::context::{Context, ContextSource, NamedContext, load_layout, material};
use crate::copy::{Copier, Fetched};
use crate::dockerfile::{Instruction, Kind, Lines};
use crate::error::boxed;
use crate::fingerprint::Fingerprint;
use crate::op::{CopyOp, Op, Remote, Source};
use crate::remote::url::{self, GitUrl};
use crate::remote::{Commit, Download, RemoteError, Remotes};
use crate::select::From;
use crate::tree::Tree;

/// One source of a copy that has sources from elsewhere.
#[derive(Debug)]
pub(super) enum Part {
    Files(CopyOp, Selection),
    Http { download: Download, name: String, unpack: bool },
    Git { url: GitUrl, commit: Commit, keep_git_dir: bool },
}

impl Solver<'_> {
    fn remotes(&self) -> Remotes<'_> {
        Remotes::new(self.options, self.world, &self.cancel)
    }

    /// Looks up what each source is now. A repository is known by its commit: its files are only
    /// fetched when the step is executed.
    pub(super) fn select_elsewhere(
        &self,
        copy: &CopyOp,
        step: &Step<'_>,
    ) -> Result<Selection, BuildError> {
        let failed = |source: RemoteError| BuildError::Step {
            place: (self.place)(step.instruction.lines),
            instruction: step.shown.to_owned(),
            source: Box::new(source),
        };
        let mut content = Fingerprint::new("sources 1");
        content.fields("exclude", &copy.exclude);
        let mut parts = Vec::new();
        for source in &copy.sources {
            parts.push(match &source.remote {
                None => {
                    let one = CopyOp {
                        sources: vec![source.clone()],
                        inline: Vec::new(),
                        ..copy.clone()
                    };
                    let selection = self.select(&one, step)?;
                    content.field("files", selection.content.as_str());
                    Part::Files(one, selection)
                }
                Some(Remote::Http { url, checksum, unpack }) => {
                    let get = || self.remotes().download(url, checksum.as_ref()).map_err(failed);
                    let key = format!("{url} {checksum:?}");
                    let download = self.downloads.get(&key, get)?;
                    let digest = &download.digest;
                    self.travel.note_material(url, digest.algorithm().as_str(), digest.hex());
                    let name = url::file_name(url);
                    content.field("name", &name);
                    content.field("digest", download.digest.as_str());
                    content.field("unpack", unpack.to_string());
                    Part::Http { download, name, unpack: *unpack }
                }
                Some(Remote::Git { url, keep_git_dir }) => {
                    let commit = self.remotes().commit(url).map_err(failed)?;
                    content.field("commit", &commit.hash);
                    self.travel.note_material(&url.remote, "gitCommit", &commit.hash);
                    content.field("subdir", &url.subdir);
                    content.field("submodules", format!("{:?}", url.submodules));
                    // Its configuration names the remote.
                    let remote = if *keep_git_dir { &url.remote } else { "" };
                    content.field("repository", remote);
                    Part::Git { url: url.clone(), commit, keep_git_dir: *keep_git_dir }
                }
            });
        }
        Ok(Selection { content: content.finish(), listed: None, parts })
    }

    pub(super) fn copy_parts(
        &self,
        copier: &Copier<'_>,
        parts: &[Part],
        step: &Step<'_>,
    ) -> Result<(), Failure> {
        for part in parts {
            match part {
                Part::Files(copy, selection) => {
                    self.copy_files(&Copier { op: copy, ..*copier }, copy, step, selection)?;
                }
                Part::Http { download, name, unpack } => {
                    let (path, modified) = (&download.path, download.modified);
                    copier.fetched(&Fetched { path, name, modified, unpack: *unpack })?;
                }
                Part::Git { url, commit, keep_git_dir } => {
                    let checkout = self.remotes().checkout(url, commit, *keep_git_dir)?;
                    let tree = Tree::open(&checkout.path)?;
                    let from = From { tree: &tree, visible: None };
                    // Archives in a repository are files like others.
                    let op = CopyOp { unpack: false, ..copier.op.clone() };
                    let copier = Copier { op: &op, keep_owners: false, ..*copier };
                    let all = Source::local("/".to_owned(), None);
                    for one in from.select(&all, &op.exclude)? {
                        copier.copy(&from, &one)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What a named context stands for, as a stage.
    pub(super) fn named(
        &self,
        name: &str,
        context: &NamedContext,
        platform: &Platform,
        lines: Lines,
    ) -> Result<Done, BuildError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BuildError::Step {
            place: (self.place)(lines),
            instruction: format!("--build-context {name}"),
            source,
        };
        match context {
            NamedContext::Image(None) => Ok(Done::scratch(platform)),
            NamedContext::Image(Some(reference)) => {
                let explicit = self.options.platform.is_some();
                let shown = format!("[context {name}] {reference}");
                let image = self.find_or_pull(reference, platform, explicit, (None, &shown));
                Ok(to_done(&reference.to_string(), image.map_err(failed)?))
            }
            NamedContext::Layout { directory, tag, digest } => {
                let step = self.started(&format!("[context {name}] load the OCI layout"));
                let load = || {
                    let wanted = (tag.as_deref(), digest.as_ref());
                    let image = load_layout(self.world.store, directory, wanted, platform)?;
                    self.world.store.snapshots().ensure(&image, &mut |_| {})?;
                    Ok(image)
                };
                let image = load().map_err(|error: Box<dyn std::error::Error + Send + Sync>| {
                    self.failed(step, &error.to_string());
                    failed(error)
                })?;
                self.done(step);
                Ok(to_done(name, image))
            }
            NamedContext::Files(source) => self.files_as_stage(name, source, platform, lines),
            NamedContext::Stage(stage) => {
                let problem = format!(
                    "the context `{name}` is the stage `{stage}`, which is not defined before this line"
                );
                Err(self.wrong(lines, problem, None))
            }
        }
    }

    /// Files of a named context as the only layer of a stage: made once for the same files.
    fn files_as_stage(
        &self,
        name: &str,
        source: &ContextSource,
        platform: &Platform,
        lines: Lines,
    ) -> Result<Done, BuildError> {
        let key = format!("context {name}");
        self.contexts.get(&key, || self.open_named(name, source).map(Arc::new))?;
        let op = Op::Copy(CopyOp {
            from: Some(key),
            sources: vec![Source::local("/".to_owned(), None)],
            destination: "/".to_owned(),
            ..CopyOp::default()
        });
        let shown = format!("[context {name}] load from client");
        let instruction = Instruction {
            kind: Kind::Workdir(String::new()),
            code: shown.clone(),
            lines,
            comments: Vec::new(),
        };
        let mut done = Done::scratch(platform);
        let place = Location { stage: format!("context {name}"), index: usize::MAX, position: 0 };
        let (name, shown) = (shown.as_str(), shown.as_str());
        let (source, mounts, instruction) = (None, Vec::new(), &instruction);
        let step = Step { op: &op, source, mounts, instruction, name, shown, place };
        let (layer, time) = self.step(&done, &step)?;
        done.layers.push(layer);
        done.time = time;
        Ok(done)
    }

    fn open_named(&self, name: &str, source: &ContextSource) -> Result<Opened, BuildError> {
        self.check_cancel()?;
        let step = self.started(&format!("[context {name}] load"));
        let opened = match source {
            ContextSource::Directory(path) => {
                let path: std::path::PathBuf =
                    fs_err::canonicalize(path).map_err(boxed("open a named context"))?;
                let context = Context::open(&path, None)?;
                let files = Some(Files::load(&self.cache, &path, self.options.now));
                Opened { root: path, context, files, owners: false, _material: None }
            }
            source => {
                let material = material(&self.remotes(), source, false)
                    .map_err(boxed("get a named context"))?;
                if let Some(bytes) = &material.dockerfile {
                    // Not an archive: it is a file, called as BuildKit calls it.
                    let written = fs_err::write(material.path.join("context"), bytes);
                    written.map_err(boxed("keep a named context"))?;
                }
                let (context, owners) = (Context::all(&material.path)?, material.owners);
                let root = material.path.clone();
                Opened { root, context, files: None, owners, _material: Some(material) }
            }
        };
        self.done(step);
        Ok(opened)
    }

    /// The context that a copy without a stage takes from: the main one, or a named one.
    pub(super) fn context_of(&self, copy: &CopyOp) -> Result<Arc<Opened>, BuildError> {
        match &copy.from {
            None => self.context(),
            Some(key) => {
                let missing = || BuildError::Interrupted;
                self.contexts.get(key, || Err(missing()))
            }
        }
    }
}
