//! `RUN --mount`: what each mount is made of, where that is, and what is right to mount at all.

mod bind;
mod caches;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::bind::Bind;
use super::files::Content;
use super::steps::{Failure, Step};
use super::{Done, Opened, Solver};
use crate::caches::{CacheMountError, Held, Identity};
use crate::copy::CopyError;
use crate::dockerfile::{Instruction, Kind as Word, RunNetwork};
use crate::graph::From;
use crate::mount::{CacheMount, Mount, MountKind, SecretMount};
use crate::op::{CopyOp, RunOp, Source};
use crate::select::{SelectError, Selected};
use crate::{BuildError, Entitlement, StepMount, StepSource};

/// Why a mount cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MountError {
    #[error(
        "secret `{0}` is required and was not given: pass it with `--secret id={0},src=FILE` or `--secret id={0},env=NAME`"
    )]
    NoSecret(String),
    #[error("secret `{0}` is not text without NUL: it cannot be an environment variable")]
    NotText(String),
    #[error("ssh agent `{0}` is required and was not given: pass it with `--ssh {0}`")]
    NoAgent(String),
    #[error("`{0}` changed while the step used it")]
    Changed(PathBuf),
    #[error("`{0}` is not a directory: a cache cannot begin with it")]
    NotADirectory(String),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Tree(#[from] crate::tree::TreeError),
    #[error(transparent)]
    Cache(#[from] CacheMountError),
    #[error("failed to make a place for the mounts")]
    Scratch(#[from] std::io::Error),
    #[error(transparent)]
    Build(#[from] Box<BuildError>),
}

impl std::convert::From<BuildError> for MountError {
    fn from(error: BuildError) -> Self {
        Self::Build(Box::new(error))
    }
}

/// Mounts of a step that is about to run, and what they need for as long as it does.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    pub(super) mounts: Vec<StepMount>,
    /// `KEY=value`, from secrets.
    pub(super) env: Vec<String>,
    /// Where something is mounted, and whether that is a file.
    pub(super) places: Vec<(String, bool)>,
    /// Files that are mounted where they are, to look afterwards whether they were left alone.
    watched: Vec<(Arc<Opened>, Vec<Selected>)>,
    /// One lock for each cache, however often the step mounts it.
    held: Vec<(Identity, Held)>,
}

impl Mounted {
    /// A key of this build was made from the watched files as they were before.
    pub(super) fn check_unchanged(&self) -> Result<(), MountError> {
        for (opened, listed) in &self.watched {
            for item in listed.iter().flat_map(|one| &one.items) {
                let now = opened.context.tree.meta(&item.path)?;
                if !now.is_some_and(|now| now.unchanged(&item.meta)) {
                    return Err(MountError::Changed(item.path.clone()));
                }
            }
        }
        Ok(())
    }
}

impl Solver<'_> {
    /// Refuses, before anything is done, what the caller did not allow.
    pub(super) fn check_allowed(&self) -> Result<(), BuildError> {
        let stages = self.graph.needed.iter().map(|index| &self.file.stages[*index]);
        stages.flat_map(|stage| &stage.instructions).try_for_each(|one| self.allowed(one))
    }

    fn allowed(&self, instruction: &Instruction) -> Result<(), BuildError> {
        let Word::Run(run) = &instruction.kind else { return Ok(()) };
        let refuse = |flag: &str, name: &str| {
            let hint = format!("allow it with `--allow {name}` if you trust this Dockerfile");
            let problem = format!("`RUN {flag}` is not allowed in this build");
            Err(self.wrong(instruction.lines, problem, Some(hint)))
        };
        let allow = &self.options.allow;
        if run.insecure && !allow.contains(&Entitlement::Insecure) {
            return refuse("--security=insecure", "security.insecure");
        }
        if run.network == RunNetwork::Host && !allow.contains(&Entitlement::HostNetwork) {
            return refuse("--network=host", "network.host");
        }
        Ok(())
    }

    /// The stages and images that a RUN's mounts take from, one for each mount.
    pub(super) fn mount_sources(
        &self,
        index: usize,
        instruction: &Instruction,
        run: &RunOp,
    ) -> Result<Vec<Option<Arc<Done>>>, BuildError> {
        self.allowed(instruction)?;
        let source = |mount: &Mount| {
            let (MountKind::Bind { from, .. } | MountKind::Cache(CacheMount { from, .. })) =
                &mount.kind
            else {
                return Ok(None);
            };
            let Some(from) = from else { return Ok(None) };
            if from == "scratch" {
                return Ok(Some(Arc::new(Done::scratch(&self.target))));
            }
            let from: From = self.graph.mounts_from(from);
            self.files_of(index, Some(from), instruction).map(Some)
        };
        run.mounts.iter().map(source).collect()
    }

    /// The digest of the files that a RUN's mounts show and that it cannot change for others.
    pub(super) fn mounted_content(
        &self,
        run: &RunOp,
        step: &Step<'_>,
    ) -> Result<Vec<Content>, BuildError> {
        let mut contents = Vec::new();
        for (mount, source) in run.mounts.iter().zip(&step.mounts) {
            let path = match &mount.kind {
                MountKind::Bind { source, .. } => source,
                MountKind::Cache(cache) if cache.from.is_some() => &cache.source,
                _ => continue,
            };
            let selection = self.select(&all_of(path), &taking(step, source.clone()))?;
            let source = format!("the mount `{}`", mount.target);
            contents.push(Content { source, digest: selection.content });
        }
        Ok(contents)
    }

    /// Makes everything that a RUN's mounts need; `scratch` is the step's own directory.
    pub(super) fn mounted(
        &self,
        run: &RunOp,
        step: &Step<'_>,
        scratch: &Path,
    ) -> Result<Mounted, Failure> {
        let mut mounted = Mounted::default();
        self.take_caches(run, step, &mut mounted)?;
        let mut agents = 0;
        for (index, mount) in run.mounts.iter().enumerate() {
            let target = mount.target.clone();
            let scratch = scratch.join(format!("mount-{index}"));
            match &mount.kind {
                MountKind::Tmpfs { size, read_only } => {
                    let source = StepSource::Tmpfs { size: *size, read_only: *read_only };
                    mounted.add(target, source, false);
                }
                MountKind::Secret(secret) => self.secret(secret, target, &mut mounted)?,
                MountKind::Ssh { id, required, access } => {
                    let number = agents;
                    agents += 1;
                    let default = || format!("/run/buildkit/ssh_agent.{number}");
                    let target = if target.is_empty() { default() } else { target };
                    if number == 0 {
                        mounted.env.push(format!("SSH_AUTH_SOCK={target}"));
                    }
                    match self.options.ssh.get(id) {
                        Some(socket) => {
                            let (socket, mode) = (socket.clone(), access.mode);
                            let (uid, gid) = (access.uid, access.gid);
                            let source = StepSource::Agent { socket, mode, uid, gid };
                            mounted.add(target, source, true);
                        }
                        None if *required => return Err(MountError::NoAgent(id.clone()).into()),
                        None => {}
                    }
                }
                MountKind::Cache(cache) => {
                    let identity = self.identity(cache, step, index)?;
                    let held = mounted.held.iter().find(|(own, _)| *own == identity);
                    let root = held.map(|(_, held)| held.data.clone()).unwrap_or_default();
                    // What a cache began with is the part of it that `source` names.
                    let whole = cache.from.is_some();
                    let path = if whole { "/" } else { &cache.source }.to_owned();
                    let read_only = cache.read_only;
                    mounted.add(target, StepSource::Directory { root, path, read_only }, false);
                }
                MountKind::Bind { source, writable, .. } => {
                    fs_err::create_dir(&scratch).map_err(MountError::from)?;
                    let from = step.mounts.get(index).cloned().flatten();
                    let bind = Bind { path: source, writable: *writable, scratch: &scratch };
                    match from {
                        Some(from) => self.bind_layers(&bind, &from, target, &mut mounted)?,
                        None => self.bind_context(&bind, target, &mut mounted)?,
                    }
                }
            }
        }
        Ok(mounted)
    }

    fn secret(
        &self,
        secret: &SecretMount,
        target: String,
        mounted: &mut Mounted,
    ) -> Result<(), MountError> {
        let Some(content) = self.options.secrets.get(&secret.id) else {
            return match secret.required {
                true => Err(MountError::NoSecret(secret.id.clone())),
                false => Ok(()),
            };
        };
        if let Some(name) = &secret.env {
            let text = std::str::from_utf8(&content.0).ok().filter(|text| !text.contains('\0'));
            let text = text.ok_or_else(|| MountError::NotText(secret.id.clone()))?;
            mounted.env.push(format!("{name}={text}"));
        }
        if !target.is_empty() {
            let crate::mount::Access { mode, uid, gid } = secret.access;
            let source = StepSource::Secret { content: content.clone(), mode, uid, gid };
            mounted.add(target, source, true);
        }
        Ok(())
    }
}

impl Mounted {
    /// Where a directory that is mounted as it is lies on this machine.
    pub(super) fn on_host(&self, target: &str) -> Option<PathBuf> {
        self.mounts.iter().find(|mount| mount.target == target).and_then(|mount| {
            match &mount.source {
                StepSource::Directory { root, path, .. } => {
                    Some(root.join(path.trim_start_matches('/')))
                }
                _ => None,
            }
        })
    }

    pub(super) fn add(&mut self, target: String, source: StepSource, is_file: bool) {
        self.places.retain(|(place, _)| *place != target);
        self.places.push((target.clone(), is_file));
        self.mounts.push(StepMount { target, source });
    }
}

/// A copy of one whole directory or file: how its files are chosen and digested.
fn all_of(path: &str) -> CopyOp {
    let path = literal(path);
    CopyOp {
        from: None,
        sources: vec![Source::local(path, None)],
        inline: Vec::new(),
        destination: "/".to_owned(),
        chown: String::new(),
        chmod: None,
        exclude: Vec::new(),
        unpack: false,
        link: false,
    }
}

/// A path in which wildcards mean themselves.
fn literal(path: &str) -> String {
    if !path.contains(['*', '?', '[', '\\']) {
        return path.to_owned();
    }
    let mut out = String::new();
    for ch in path.chars() {
        match ch {
            '*' | '?' | '[' => out.extend(['[', ch, ']']),
            '\\' => out.push_str("\\\\"),
            ch => out.push(ch),
        }
    }
    out
}

/// `step`, as if it copied from `source`.
fn taking<'a>(step: &Step<'a>, source: Option<Arc<Done>>) -> Step<'a> {
    Step { source, mounts: Vec::new(), ..step.clone() }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_mounted_path_is_no_pattern() {
        assert_eq!(literal("/a/b"), "/a/b");
        assert_eq!(literal("/a*/[b]?\\"), "/a[*]/[[]b][?]\\\\");
    }
}
