//! RUN: a container over the stage's layers, its output shown and its end remembered.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use cutover_store::Draft;

use super::mask::Mask;
use super::provision::Prepared;
use super::steps::{Failure, Step};
use super::{Solver, stubs};
use crate::op::RunOp;
use crate::{Event, RunStep, Stream};

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

    pub(super) fn run(
        &self,
        draft: &Draft,
        run: &RunOp,
        step: &Step<'_>,
        id: usize,
    ) -> Result<(), Failure> {
        let scratch = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(self.world.store.root().join("tmp"))?;
        let mut mounted = self.mounted(run, step, scratch.path())?;
        let mut tool = self.prepare(run, draft, &mut mounted, scratch.path())?;
        let stubs = stubs::make(scratch.path(), &draft.lowers, &mounted.places)?;
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
        env.extend(tool.iter().flat_map(|tool| tool.env.clone()));
        // SSH_AUTH_SOCK of the Dockerfile wins, a secret's variable wins over everything.
        for entry in &mounted.env {
            let name = entry.split('=').next().unwrap_or_default();
            let same = |other: &String| other.split('=').next() == Some(name);
            if name == "SSH_AUTH_SOCK" && env.iter().any(same) {
                continue;
            }
            env.retain(|other| !same(other));
            env.push(entry.clone());
        }
        let container = RunStep {
            lowers: std::iter::once(stubs.path.clone())
                .chain(draft.lowers.iter().cloned())
                .collect(),
            upper: draft.upper.clone(),
            work: draft.work.clone(),
            args: tool.as_ref().map_or(&run.args, |tool| &tool.args).clone(),
            env,
            cwd: tool.as_ref().map_or(&run.cwd, |tool| &tool.cwd).clone(),
            user: run.user.clone(),
            hostname: self.hostname().to_owned(),
            network: self.network(run.network),
            extra_hosts: self.options.extra_hosts.clone(),
            shm_size: self.options.shm_size,
            files,
            mounts: mounted.mounts.clone(),
            insecure: run.insecure,
            limits: self.options.limits.clone(),
            init: tool.as_ref().is_some_and(Prepared::init),
            outside: tool.as_mut().and_then(|tool| tool.outside.take()),
        };
        let mut tail = Tail::default();
        let mut mask = Mask::new(&container.mounts, &mounted.env);
        let mut show = |stream, bytes: &[u8], last| {
            let bytes = &mask.pass(stream, bytes, last)[..];
            tail.push(bytes);
            if !bytes.is_empty() {
                let at = (self.world.clock)();
                self.world.progress.on(Event::Output { step: id, stream, bytes, at });
            }
        };
        let mut output = |stream, bytes: &[u8]| show(stream, bytes, false);
        let ended = self.world.runner.run(&container, &mut output, &self.cancel);
        [Stream::Stdout, Stream::Stderr].into_iter().for_each(|stream| show(stream, b"", true));
        let code = ended?;
        let code = tool.as_ref().map_or(code, |tool| tool.verdict(code));
        if code != 0 {
            self.shell_after(&container, id, code);
            return Err(match free_space(&draft.upper) {
                Some(free) if free < ALMOST_FULL => {
                    let path = self.world.store.root().to_owned();
                    Full { code, free, path }.into()
                }
                _ => Failure::Exit { code, output: tail.finish() },
            });
        }
        mounted.check_unchanged()?;
        if let Some(tool) = tool {
            tool.sweep(&draft.upper)?;
        }
        Ok(stubs.sweep(&draft.upper)?)
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

/// With less free space than this a program that failed may have failed because of it.
const ALMOST_FULL: u64 = 1 << 20;

/// A step that failed on a full disk.
#[derive(Debug, thiserror::Error)]
#[error(
    "exit code {code}, and the file system of `{}` is full ({free} bytes are free): make room, for example with `cutover gc`",
    path.display()
)]
struct Full {
    code: i32,
    free: u64,
    path: PathBuf,
}

/// Bytes that can still be written beside `path`; none without free inodes.
fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    match stat.f_files > 0 && stat.f_favail == 0 {
        true => Some(0),
        false => Some(stat.f_bavail.saturating_mul(stat.f_frsize)),
    }
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
