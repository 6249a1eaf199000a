//! RUN: a container over the stage's layers, its output shown and its end remembered.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use cutover_runtime::mounts;
use cutover_runtime::spec::Rootfs;
use cutover_store::Draft;

use super::Solver;
use super::steps::Failure;
use crate::op::RunOp;
use crate::tree::{Kind, Tree, TreeError};
use crate::{Event, RunStep};

/// docker's word for where RUN happens.
const HOSTNAME: &str = "buildkitsandbox";
/// Lines of output that an error repeats, and bytes of each.
const TAIL_LINES: usize = 20;
const TAIL_LINE: usize = 2000;

impl Solver<'_> {
    /// `--build-arg BUILDKIT_SANDBOX_HOSTNAME=` or docker's.
    pub(super) fn hostname(&self) -> &str {
        let given = self.options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME");
        given.map_or(HOSTNAME, String::as_str)
    }

    pub(super) fn run(&self, draft: &Draft, run: &RunOp, id: usize) -> Result<(), Failure> {
        let scratch = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(self.world.store.root().join("tmp"))?;
        let stubs = stubs(scratch.path(), &draft.lowers)?;
        let mut files = Vec::new();
        if let Some((path, content)) = &run.script {
            let script = scratch.path().join("script");
            fs_err::write(&script, content)?;
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs_err::set_permissions(&script, executable)?;
            files.push((script, path.clone()));
        }
        let mut env = run.env.clone();
        // What the Dockerfile sets wins over a proxy argument.
        for (name, value) in &run.proxies {
            if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
                env.push(format!("{name}={value}"));
            }
        }
        let step = RunStep {
            lowers: std::iter::once(stubs).chain(draft.lowers.iter().cloned()).collect(),
            upper: draft.upper.clone(),
            work: draft.work.clone(),
            args: run.args.clone(),
            env,
            cwd: run.cwd.clone(),
            user: run.user.clone(),
            hostname: self.hostname().to_owned(),
            network: self.network(run.network),
            extra_hosts: self.options.extra_hosts.clone(),
            shm_size: self.options.shm_size,
            files,
        };
        let mut tail = Tail::default();
        let mut output = |stream, bytes: &[u8]| {
            tail.push(bytes);
            let at = (self.world.clock)();
            self.world.progress.on(Event::Output { step: id, stream, bytes, at });
        };
        let code = self.world.runner.run(&step, &mut output, &self.cancel)?;
        match code {
            0 => Ok(()),
            code => Err(Failure::Exit { code, output: tail.finish() }),
        }
    }
}

/// The last lines of an output of any length.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = TAIL_LINE.saturating_sub(self.partial.len());
            self.partial.extend(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        self.lines.push_back(line);
        if self.lines.len() > TAIL_LINES {
            self.lines.pop_front();
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.end_line();
        }
        self.lines.into()
    }
}

/// Directories that a container's mounts need, and files, as a layer below the upper one: mounting
/// over them then writes nothing that would end in the image. Directories of the image that lead to
/// a stub look as they do in the image.
fn stubs(scratch: &Path, lowers: &[PathBuf]) -> Result<PathBuf, Failure> {
    const DIRECTORIES: [&str; 4] = ["proc", "sys", "dev", "etc"];
    const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];
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
    for file in FILES {
        make(&stubs, image.as_ref(), Path::new(file))?;
    }
    for directory in DIRECTORIES {
        dress(&stubs, image.as_ref(), Path::new(directory))?;
    }
    dress(&stubs, image.as_ref(), Path::new(""))?;
    Ok(path)
}

/// Makes an empty file, with its directory, that looks as the image's if it has one.
fn make(stubs: &Tree, image: Option<&Tree>, path: &Path) -> Result<(), TreeError> {
    stubs.make_dirs(path.parent().unwrap_or(Path::new("")), 0o755, None)?;
    drop(stubs.make_file(path)?);
    stubs.permit(path, 0o644)?;
    match image.map(|image| image.meta(path)).transpose()?.flatten() {
        Some(meta) if meta.kind == Kind::File => {
            stubs.own(path, (meta.uid, meta.gid))?;
            stubs.permit(path, meta.mode)
        }
        _ => Ok(()),
    }
}

/// Makes a directory unless it is there, and gives it the image's attributes.
fn dress(stubs: &Tree, image: Option<&Tree>, path: &Path) -> Result<(), TreeError> {
    stubs.make_dirs(path, 0o755, None)?;
    let Some(image) = image else { return Ok(()) };
    let Some(meta) = image.meta(path)?.filter(crate::tree::Meta::is_dir) else { return Ok(()) };
    stubs.own(path, (meta.uid, meta.gid))?;
    stubs.permit(path, meta.mode)?;
    for (name, value) in image.xattrs(path, Kind::Dir)? {
        stubs.set_xattr(path, &name, &value)?;
    }
    stubs.touch(path, meta.mtime)
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(format!("line {number}\npart").as_bytes());
        }
        let lines = tail.finish();
        assert_eq!(lines.len(), 20);
        assert_eq!((lines[18].as_str(), lines[19].as_str()), ("partline 99", "part"));
    }
}
