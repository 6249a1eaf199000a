//! PROVISION: how each tool is started, and what it finds in the container besides the image.

mod ansible;
mod puppet;
mod shell;

use std::path::{Path, PathBuf};

use cutover_runtime::mounts;
use cutover_runtime::spec::Rootfs;
use cutover_store::Draft;

use super::mounts::Mounted;
use super::steps::Failure;
use super::{Done, Solver};
use crate::dockerfile::{Instruction, Kind as Word};
use crate::op::RunOp;
use crate::provision::{self, FOLDER, PLACE, PYTHON_STAGE, Provision, Tool};
use crate::tree::{Tree, TreeError};
use crate::{BuildError, DockerfileSource, Outside, StepSource};

/// Where a tool may write what nobody wants to keep: memory.
const STATE: &str = "/run/cutover/state";

/// Why a tool cannot be given what it needs.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    #[error("the image has no files, and `{0}` needs a shell there")]
    Empty(&'static str),
    #[error("the image has no `/bin/sh`, which Ansible needs")]
    NoShell,
    #[error("the folder of the step's file is not mounted")]
    NoFolder,
}

/// How a tool is run.
#[derive(Debug)]
pub(super) struct Prepared {
    tool: Tool,
    pub(super) args: Vec<String>,
    pub(super) cwd: String,
    /// More variables, `KEY=value`.
    pub(super) env: Vec<String>,
    pub(super) outside: Option<Outside>,
}

impl Prepared {
    /// 0 for what the tool calls a success.
    pub(super) fn verdict(&self, code: i32) -> i32 {
        if self.tool.has_succeeded(code) { 0 } else { code }
    }

    /// Orphans of services must not stay as zombies: who stops one waits for its end.
    pub(super) fn init(&self) -> bool {
        self.tool == Tool::Ansible
    }

    pub(super) fn sweep(&self, upper: &Path) -> Result<(), TreeError> {
        match self.tool {
            Tool::Shell => Ok(()),
            Tool::Ansible | Tool::Puppet => provision::sweep(upper),
        }
    }
}

/// What a tool's preparation works on.
struct Bench<'a> {
    step: &'a Provision,
    run: &'a RunOp,
    mounted: &'a mut Mounted,
    /// The image so far.
    image: Tree,
    /// The step's folder on this machine.
    folder: PathBuf,
    /// The step's own directory.
    scratch: &'a Path,
}

impl Bench<'_> {
    fn has(&self, path: &str) -> Result<bool, TreeError> {
        let path = self.image.resolve(Path::new(path.trim_start_matches('/')))?;
        Ok(self.image.meta(&path)?.is_some())
    }

    /// Shows a directory or file of this machine.
    fn show(&mut self, host: &Path, target: &str, is_file: bool) {
        let (root, name) = match (is_file, host.parent(), host.file_name()) {
            (true, Some(parent), Some(name)) => (parent.to_owned(), name.to_string_lossy()),
            _ => (host.to_owned(), "".into()),
        };
        let path = format!("/{name}");
        let source = StepSource::Directory { root, path, read_only: true };
        self.mounted.add(target.to_owned(), source, is_file);
    }

    /// Memory for the tool's own files.
    fn state(&mut self) {
        let source = StepSource::Tmpfs { size: None, read_only: false };
        self.mounted.add(STATE.to_owned(), source, false);
    }

    /// Packages must not start what they install: Debian asks this file. It is mounted and not
    /// written, so it is no part of the image.
    fn no_services(&mut self) -> Result<(), Failure> {
        const PLACE: &str = "/usr/sbin/policy-rc.d";
        if !self.has("/usr/sbin/invoke-rc.d")? || self.has(PLACE)? {
            return Ok(());
        }
        let file = self.scratch.join("policy-rc.d");
        executable(&file, "#!/bin/sh\nexit 101\n")?;
        self.show(&file, PLACE, true);
        Ok(())
    }
}

/// Writes a program.
fn executable(path: &Path, text: &str) -> std::io::Result<()> {
    fs_err::write(path, text)?;
    fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

impl Solver<'_> {
    /// Refuses a step whose file is not in the context, before anything is done.
    pub(super) fn check_provision(&self, instruction: &Instruction) -> Result<(), BuildError> {
        let Word::Provision(step, _) = &instruction.kind else { return Ok(()) };
        let opened = self.context()?;
        let path = Path::new(&step.file);
        let visible = &opened.context.visible;
        let problem = match visible.meta(path) {
            Some(meta) if !meta.is_dir() => return Ok(()),
            Some(_) => format!("`{}` is a directory", step.file),
            None if visible.hides(path) => {
                format!("`{}` is hidden by an ignore rule of the build context", step.file)
            }
            None => format!("`{}` is not in the build context", step.file),
        };
        Err(self.wrong(instruction.lines, problem, None))
    }

    /// Adds what the tool needs to `mounted`, and says how it is run.
    pub(super) fn prepare(
        &self,
        run: &RunOp,
        draft: &Draft,
        mounted: &mut Mounted,
        scratch: &Path,
    ) -> Result<Option<Prepared>, Failure> {
        let Some(step) = &run.provision else { return Ok(None) };
        let name = step.tool.name();
        if draft.lowers.is_empty() {
            return Err(PrepareError::Empty(name).into());
        }
        let (lowers, upper, work) = (draft.lowers.clone(), None, None);
        let root = Rootfs::Overlay { lowers, upper, work, read_only: true, volatile: false };
        let image = Tree::of(mounts::rootfs(&root)?);
        let folder = mounted.on_host(FOLDER).ok_or(PrepareError::NoFolder)?;
        let bench = Bench { step, run, mounted, image, folder, scratch };
        match step.tool {
            Tool::Shell => shell::prepare(&bench),
            Tool::Ansible => self.ansible(bench),
            Tool::Puppet => self.puppet(bench),
        }
        .map(Some)
    }

    fn tool_environment(&self) -> &[(String, String)] {
        match &self.options.dockerfile {
            DockerfileSource::Provision(asked) => &asked.environment,
            _ => &[],
        }
    }

    /// Build arguments that are the user's own: what a playbook or manifest gets as variables.
    fn variables(&self) -> impl Iterator<Item = (&String, &String)> {
        let own = |(name, _): &(&String, &String)| !crate::vars::is_predefined(name);
        self.options.build_args.iter().filter(own)
    }

    /// The stage with a Python for the image's distribution, built now if it is not there.
    fn python_stage(&self) -> Result<Option<std::sync::Arc<Done>>, BuildError> {
        let named = |stage: &crate::dockerfile::Stage| stage.name.as_deref() == Some(PYTHON_STAGE);
        let index = self.file.stages.iter().position(named);
        index.map(|index| self.stage(index)).transpose()
    }
}

/// `PLACE/name`.
fn place(name: &str) -> String {
    format!("{PLACE}/{name}")
}
