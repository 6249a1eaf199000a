//! Shell scripts, Ansible playbooks and Puppet manifests as steps of a build.
//!
//! A build of these is a Dockerfile in which the word `PROVISION`, which nobody can write in a file,
//! stands for one script: cache, history, mounts, secrets and limits are those of RUN. Each step sees
//! the folder of its file and nothing else of the context, so its key is the digest of that folder.
//!
//! How each tool is run is in [`tools`] and in `solve::provision`. Nothing of a tool is ever in the
//! container's own layers: it is mounted, or it works from outside through [`enter`].

pub mod enter;
mod inventory;
mod sweep;
mod text;
mod tools;

use std::path::Path;
use std::str::FromStr;

pub(crate) use inventory::{inventory, plays_on};
pub(crate) use sweep::sweep;
pub(crate) use text::written;
pub(crate) use tools::{Interpreter, ToolError, find, host_mounts, host_root};

/// Where everything of ours is while a step runs.
pub(crate) const PLACE: &str = "/run/cutover";
/// The folder of the step's file.
pub(crate) const FOLDER: &str = "/run/cutover/provision";
/// The stage that has a Python for Ansible's modules.
pub(crate) const PYTHON_STAGE: &str = "ansible-python";

/// An image that is made without a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioning {
    /// The base image.
    pub from: String,
    /// In order; each becomes a layer.
    pub steps: Vec<Provision>,
    /// Dockerfile instructions for the config: `CMD ["nginx"]`.
    pub changes: Vec<String>,
    /// What the tools get of the caller's: PATH, HOME, settings of their own.
    pub environment: Vec<(String, String)>,
}

/// One script, playbook or manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provision {
    pub tool: Tool,
    /// Clean, below the context.
    pub file: String,
}

/// What reads a step's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Shell,
    Ansible,
    Puppet,
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Ansible => "ansible",
            Self::Puppet => "puppet",
        }
    }

    /// The exit codes with which it did what it was asked to.
    pub(crate) fn has_succeeded(self, code: i32) -> bool {
        // `--detailed-exitcodes`: 2 says that something changed.
        code == 0 || self == Self::Puppet && code == 2
    }
}

/// Why a step cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    #[error("`{0}` is not `shell=FILE`, `ansible=PLAYBOOK` or `puppet=MANIFEST`")]
    Form(String),
    #[error("`{0}` is not below the build context")]
    Outside(String),
    #[error("`{0}` has a character that is not supported here")]
    Character(String),
    #[error(
        "`{0}` is not allowed here: it is one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR"
    )]
    Change(String),
}

impl FromStr for Provision {
    type Err = ProvisionError;

    fn from_str(text: &str) -> Result<Self, ProvisionError> {
        let form = || ProvisionError::Form(text.to_owned());
        let (tool, file) = text.split_once('=').ok_or_else(form)?;
        let tool = match tool {
            "shell" => Tool::Shell,
            "ansible" => Tool::Ansible,
            "puppet" => Tool::Puppet,
            _ => return Err(form()),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in file.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.pop().is_none() => {
                    return Err(ProvisionError::Outside(file.to_owned()));
                }
                ".." => {}
                part => parts.push(part),
            }
        }
        if file.starts_with('/') {
            return Err(ProvisionError::Outside(file.to_owned()));
        }
        if parts.is_empty() {
            return Err(form());
        }
        // It is written into mounts, where these would mean something.
        if file.contains(['$', '\\', '"', ',']) || file.contains(char::is_control) {
            return Err(ProvisionError::Character(file.to_owned()));
        }
        Ok(Self { tool, file: parts.join("/") })
    }
}

impl std::fmt::Display for Provision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.tool.name(), self.file)
    }
}

impl Provision {
    /// The folder that it sees, in the context: absolute.
    pub(crate) fn folder(&self) -> String {
        let parent = Path::new(&self.file).parent().map(|path| path.to_string_lossy());
        format!("/{}", parent.unwrap_or_default())
    }

    /// The name of its file there.
    pub(crate) fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = text.parse::<Provision>().map_or_else(
            |error| error.to_string(),
            |one| format!("{one} in {} as {}", one.folder(), one.name()),
        );
        assert_eq!(got, expected);
    }

    #[test]
    fn steps() {
        check("shell=setup.sh", "shell=setup.sh in / as setup.sh");
        check("ansible=./deploy//site.yml", "ansible=deploy/site.yml in /deploy as site.yml");
        check("puppet=a/../b/c/site.pp", "puppet=b/c/site.pp in /b/c as site.pp");
        check("shell=../x", "`../x` is not below the build context");
        check("shell=/x", "`/x` is not below the build context");
        check("shell=a$b", "`a$b` has a character that is not supported here");
        let form =
            |text| format!("`{text}` is not `shell=FILE`, `ansible=PLAYBOOK` or `puppet=MANIFEST`");
        for text in ["setup.sh", "chef=x", "shell=", "shell=."] {
            check(text, &form(text));
        }
    }

    #[test]
    fn puppet_says_2_for_changes() {
        assert!(Tool::Puppet.has_succeeded(2) && Tool::Puppet.has_succeeded(0));
        assert!(!Tool::Puppet.has_succeeded(4) && !Tool::Puppet.has_succeeded(1));
        assert!(!Tool::Ansible.has_succeeded(2));
    }
}
