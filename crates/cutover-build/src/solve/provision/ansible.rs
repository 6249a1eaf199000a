//! A playbook: the host's own `ansible-playbook` works on the container, which it enters through a
//! connection plugin of ours. Its modules need a Python there.
//!
//! With apt in the image that is a Python of the same distribution, which a stage of its own
//! installs and which is mounted: modules speak to the image's apt in its own version, and the image
//! never has it. Without apt, or without a network, it is the image's own or else the host's.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Bench, PrepareError, Prepared, STATE, executable, place};
use crate::provision::{
    Interpreter, PYTHON_STAGE, ToolError, find, host_mounts, host_root, inventory, plays_on,
};
use crate::solve::Solver;
use crate::solve::steps::Failure;
use crate::tree::{Tree, TreeError};
use crate::{Network, Outside, StepSource};

const CONNECTION: &str = include_str!("../../provision/connection.py");
/// Most bytes of a playbook.
const PLAYBOOK: u64 = 1 << 20;
/// Where distributions have Python.
const PYTHON: &str = "/usr/bin/python3";

impl Solver<'_> {
    pub(super) fn ansible(&self, mut bench: Bench<'_>) -> Result<Prepared, Failure> {
        let missing = ToolError::Missing {
            program: "ansible-playbook",
            package: "ansible-core` or `ansible",
        };
        let program = find(self.tool_environment(), "ansible-playbook").ok_or(missing)?;
        if !bench.has("/bin/sh")? {
            return Err(PrepareError::NoShell.into());
        }
        let directory = bench.scratch.join("ansible");
        for path in [directory.clone(), directory.join("plugins"), directory.join("tmp")] {
            fs_err::create_dir(path)?;
        }
        bench.state();
        bench.no_services()?;
        let python = self.python(&mut bench)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let host = json!({
            "ansible_connection": "cutover",
            "cutover_enter": text(&directory.join("enter")),
            "ansible_python_interpreter": python,
            "ansible_remote_tmp": STATE,
            "ansible_async_dir": format!("{STATE}/async"),
            "ansible_pipelining": true,
        });
        let playbook = bench.folder.join(bench.step.name());
        let playbook = crate::context::read_bounded(&playbook, PLAYBOOK)?;
        let groups = plays_on(&String::from_utf8_lossy(&playbook));
        // Ansible goes by the name's ending.
        let (hosts, vars) = (directory.join("inventory.yml"), directory.join("vars.json"));
        fs_err::write(&hosts, inventory(&groups, host))?;
        let given: Map<String, Value> =
            self.variables().map(|(name, value)| (name.clone(), json!(value))).collect();
        fs_err::write(&vars, Value::Object(given).to_string())?;
        fs_err::write(directory.join("plugins/cutover.py"), CONNECTION)?;
        let mut env = self.tool_environment().to_vec();
        for (name, value) in [
            ("ANSIBLE_CONNECTION_PLUGINS", text(&directory.join("plugins"))),
            ("ANSIBLE_LOCAL_TEMP", text(&directory.join("tmp"))),
            ("ANSIBLE_NOCOLOR", "1".to_owned()),
            // A play for nobody is a mistake, not a success.
            ("ANSIBLE_HOST_PATTERN_MISMATCH", "error".to_owned()),
            ("ANSIBLE_RETRY_FILES_ENABLED", "0".to_owned()),
            ("ANSIBLE_SHOW_TASK_PATH_ON_FAILURE", "1".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
        ] {
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), value));
        }
        let args = ["-i", &text(&hosts), "-e", &format!("@{}", text(&vars))].map(str::to_owned);
        let playbook = format!("./{}", bench.step.name());
        let outside = Outside {
            program,
            args: args.into_iter().chain([playbook]).collect(),
            env,
            cwd: bench.folder.clone(),
            directory,
        };
        Ok(Prepared {
            tool: bench.step.tool,
            // Waits until its input ends.
            args: ["/bin/sh", "-c", "read hold"].map(str::to_owned).to_vec(),
            cwd: "/".to_owned(),
            env: vec!["PYTHONDONTWRITEBYTECODE=1".to_owned()],
            outside: Some(outside),
        })
    }

    /// The path, in the container, of a Python for modules; what it needs is mounted.
    fn python(&self, bench: &mut Bench<'_>) -> Result<String, Failure> {
        let own = bench.has(PYTHON)?;
        let apt = bench.has("/usr/bin/apt-get")?;
        if own && (!apt || has_apt_module(&bench.image)?) {
            return Ok(PYTHON.to_owned());
        }
        if apt && self.network(bench.run.network) != Network::None {
            return self.python_beside(bench);
        }
        if own {
            return Ok(PYTHON.to_owned());
        }
        let (host, root) = (Tree::open(Path::new("/"))?, host_root());
        let python = self.python_of_host(&host, &root)?;
        for mount in host_mounts(&host, &root)? {
            bench.mounted.add(mount.target, mount.source, false);
        }
        wrapper(bench, &python)
    }

    /// The distribution's Python, or else the caller's: what is first in PATH may be a script.
    fn python_of_host(&self, host: &Tree, root: &str) -> Result<Interpreter, ToolError> {
        let missing = ToolError::Missing { program: "python3", package: "python3" };
        let own = Interpreter::of(host, root, PYTHON);
        match (own, find(self.tool_environment(), "python3")) {
            (Ok(own), _) => Ok(own),
            (Err(_), Some(other)) => Interpreter::of(host, root, &other.to_string_lossy()),
            (Err(_), None) => Err(missing),
        }
    }

    /// The Python of a stage of its own.
    fn python_beside(&self, bench: &mut Bench<'_>) -> Result<String, Failure> {
        let missing = ToolError::Missing { program: PYTHON_STAGE, package: "python3-apt" };
        let stage = self.python_stage()?.ok_or(missing)?;
        let tree = self.tree_of(&stage)?;
        let lowers = self.world.store.snapshots().lower_dirs(&stage.chain_ids());
        let lowers = lowers.unwrap_or_default();
        let (root, path) = (place("tools"), "/".to_owned());
        let source = StepSource::Layers { lowers, path, writable: None };
        bench.mounted.add(root.clone(), source, false);
        wrapper(bench, &Interpreter::of(&tree, &root, PYTHON)?)
    }
}

/// A program that starts a Python of another root: Ansible wants one word.
fn wrapper(bench: &mut Bench<'_>, python: &Interpreter) -> Result<String, Failure> {
    let quoted = |word: &String| format!("'{}'", word.replace('\'', "'\\''"));
    let words: Vec<String> = python.words.iter().map(quoted).collect();
    let file = bench.scratch.join("python3");
    executable(&file, &format!("#!/bin/sh\nexec {} -B \"$@\"\n", words.join(" ")))?;
    let target = place("python3");
    bench.show(&file, &target, true);
    Ok(target)
}

/// Whether the image's own Python knows apt.
fn has_apt_module(image: &Tree) -> Result<bool, TreeError> {
    let packages = Path::new("usr/lib/python3/dist-packages");
    if image.meta(packages)?.is_none() {
        return Ok(false);
    }
    let names = image.names(packages)?;
    Ok(names.iter().any(|name| name.to_string_lossy().starts_with("apt_pkg.")))
}
