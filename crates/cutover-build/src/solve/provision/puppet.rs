//! A manifest: the host's own Puppet runs in the container, with the host's Ruby and libraries
//! mounted beside the image's. What it starts are the image's programs.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Bench, Prepared, STATE, place, shell};
use crate::provision::{FOLDER, Interpreter, ToolError, find, host_mounts, host_root};
use crate::solve::Solver;
use crate::solve::steps::Failure;
use crate::tree::Tree;
use crate::{StepMount, StepSource};

impl Solver<'_> {
    pub(super) fn puppet(&self, mut bench: Bench<'_>) -> Result<Prepared, Failure> {
        let missing = ToolError::Missing { program: "puppet", package: "puppet-agent" };
        let found = find(self.tool_environment(), "puppet").ok_or(missing)?;
        let puppet = fs_err::canonicalize(found)?;
        let ruby = self.ruby(&puppet)?;
        let (host, root) = (Tree::open(Path::new("/"))?, host_root());
        let mut words = Interpreter::of(&host, &root, &ruby.to_string_lossy())?.words;
        let libraries = self.libraries(&ruby, &puppet)?;
        let mounts = host_mounts(&host, &root)?;
        let needed = libraries.load.iter().chain(&libraries.gems).chain([&puppet]);
        for (mount, is_file) in with_missing(mounts, &root, needed) {
            bench.mounted.add(mount.target, mount.source, is_file);
        }
        bench.state();
        bench.no_services()?;
        let start = bench.scratch.join("puppet.rb");
        fs_err::write(&start, libraries.start(&root, &puppet))?;
        bench.show(&start, &place("puppet.rb"), true);
        words.extend(libraries.load.iter().map(|path| format!("-I{root}{}", path.display())));
        words.extend(["-EUTF-8:UTF-8".to_owned(), place("puppet.rb")]);
        words.extend(settings(&root));
        if bench.folder.join("hiera.yaml").is_file() {
            words.push(format!("--hiera_config={FOLDER}/hiera.yaml"));
        }
        words.push(format!("{FOLDER}/{}", bench.step.name()));
        if bench.has("/bin/sh")? {
            // As process 1 a shell takes care of orphans, and Facter may look at it.
            let shell = ["/bin/sh", "-c", "\"$@\"; exit $?", "puppet"].map(str::to_owned);
            words.splice(0..0, shell);
        }
        let facts = self.variables().map(|(name, value)| format!("FACTER_{name}={value}"));
        Ok(Prepared {
            tool: bench.step.tool,
            args: words,
            cwd: FOLDER.to_owned(),
            env: facts.collect(),
            outside: None,
        })
    }

    /// The Ruby that the program `puppet` names in its first line.
    fn ruby(&self, puppet: &Path) -> Result<PathBuf, Failure> {
        let mut head = Vec::new();
        fs_err::File::open(puppet)?.take(256).read_to_end(&mut head)?;
        let words = shell::interpreter(&String::from_utf8_lossy(&head));
        let is_ruby =
            |word: &str| word.rsplit('/').next().is_some_and(|name| name.starts_with("ruby"));
        let program = match words.as_slice() {
            [env, name] if env.ends_with("/env") && is_ruby(name) => {
                find(self.tool_environment(), name)
            }
            [program, ..] if is_ruby(program) => Some(PathBuf::from(program)),
            _ => None,
        };
        let wrong = || ToolError::Program {
            path: puppet.to_owned(),
            reason: "it is not a Ruby program as in Debian's package `puppet-agent`",
        };
        Ok(fs_err::canonicalize(program.ok_or_else(wrong)?)?)
    }

    /// Asks that Ruby where it finds Puppet and itself.
    fn libraries(&self, ruby: &Path, puppet: &Path) -> Result<Libraries, Failure> {
        let program = puppet.display().to_string();
        let failed = |reason: String| ToolError::Ask { program: program.clone(), reason };
        let asked = Command::new(ruby)
            .args(["-e", "require 'puppet'; puts $LOAD_PATH, '', Gem.path"])
            .env_clear()
            .envs(self.tool_environment().iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()?;
        if !asked.status.success() {
            let said = String::from_utf8_lossy(&asked.stderr);
            return Err(failed(said.lines().next().unwrap_or("it failed").to_owned()).into());
        }
        let text = String::from_utf8(asked.stdout).map_err(|error| failed(error.to_string()))?;
        let there = |text: &str| -> Vec<PathBuf> {
            text.lines().map(PathBuf::from).filter(|path| path.is_dir()).collect()
        };
        let (load, gems) = text.split_once("\n\n").unwrap_or((&text, ""));
        Ok(Libraries { load: there(load), gems: there(gems) })
    }
}

/// Directories of a Ruby's libraries and gems.
#[derive(Debug)]
struct Libraries {
    load: Vec<PathBuf>,
    gems: Vec<PathBuf>,
}

impl Libraries {
    /// The script that starts Puppet with the gems of `root`. Variables would do, too, but Ruby
    /// programs of the image would inherit them.
    fn start(&self, root: &str, puppet: &Path) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let gems: Vec<String> =
            self.gems.iter().map(|path| quoted(&format!("{root}{}", path.display()))).collect();
        let (gems, puppet) = (gems.join(", "), quoted(&format!("{root}{}", puppet.display())));
        // Puppet forgets paths that are set otherwise.
        format!(
            "def Gem.default_dir = '{STATE}/gems'\n\
             def Gem.default_path = [Gem.default_dir, {gems}]\n\
             Gem.clear_paths\n$PROGRAM_NAME = 'puppet'\nload {puppet}\n"
        )
    }
}

/// `mounts`, and those of `paths` that they do not show; and whether each is a file.
fn with_missing<'a>(
    mounts: Vec<StepMount>,
    root: &str,
    paths: impl Iterator<Item = &'a PathBuf>,
) -> Vec<(StepMount, bool)> {
    let mut mounts: Vec<(StepMount, bool)> =
        mounts.into_iter().map(|mount| (mount, false)).collect();
    for path in paths {
        let target = format!("{root}{}", path.display());
        let shows = |(mount, _): &(StepMount, bool)| {
            target == mount.target || target.starts_with(&format!("{}/", mount.target))
        };
        if mounts.iter().any(shows) {
            continue;
        }
        let is_file = path.is_file();
        let path = path.to_string_lossy().into_owned();
        let source = StepSource::Directory { root: "/".into(), path, read_only: true };
        mounts.push((StepMount { target, source }, is_file));
    }
    mounts
}

/// Puppet's words: everything that it keeps is forgotten.
fn settings(root: &str) -> Vec<String> {
    let mut words = ["apply", "--detailed-exitcodes", "--color=false", "--certname=localhost"]
        .map(str::to_owned)
        .to_vec();
    // The image need not have a user `puppet`.
    words.extend(
        ["--user=root", "--group=root", "--no-manage_internal_file_permissions"].map(str::to_owned),
    );
    for name in ["confdir", "codedir", "ssldir", "vardir", "rundir", "logdir", "publicdir"] {
        words.push(format!("--{name}={STATE}/{name}"));
    }
    let vendor = format!("{root}/usr/share/puppet/modules");
    words.push(format!("--modulepath={FOLDER}/modules:{FOLDER}/site-modules:{vendor}"));
    words
}
