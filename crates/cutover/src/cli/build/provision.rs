//! `--from IMAGE --provision TOOL=FILE`: an image without a Dockerfile.

use clap::Args;
use cutover_build::provision::{Provision, ProvisionError, Provisioning};
use cutover_build::{BuildOptions, DockerfileSource};

use crate::failure::{Context, Kind, Outcome};

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Base image of a build without a Dockerfile
    #[arg(long, value_name = "IMAGE", requires = "provision")]
    #[arg(conflicts_with_all = ["file", "target", "call", "check"])]
    from: Option<String>,
    /// Run a script, playbook or manifest on it: `shell=FILE`, `ansible=FILE` or `puppet=FILE`
    #[arg(long, value_name = "TOOL=FILE", requires = "from")]
    provision: Vec<Provision>,
    /// Set something in the image's config: `CMD ["nginx"]`
    #[arg(long, value_name = "INSTRUCTION", requires = "from")]
    change: Vec<String>,
}

impl Flags {
    /// Takes the Dockerfile's place.
    pub(super) fn apply(self, options: &mut BuildOptions) -> Outcome {
        let Some(from) = self.from else { return Ok(()) };
        let asked = provisioning(from, self.provision, self.change).kind(Kind::Usage)?;
        options.dockerfile = DockerfileSource::Provision(asked);
        Ok(())
    }
}

/// An image without a Dockerfile, made by the caller's own tools.
pub(crate) fn provisioning(
    from: String,
    steps: Vec<Provision>,
    changes: Vec<String>,
) -> Result<Provisioning, ProvisionError> {
    let asked = Provisioning { from, steps, changes, environment: environment() };
    asked.check().map(|()| asked)
}

/// What tools of the user's may go by: where they are, who he is, and settings of their own.
#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
fn environment() -> Vec<(String, String)> {
    const NAMES: [&str; 5] = ["HOME", "USER", "LOGNAME", "LANG", "TMPDIR"];
    let mut environment = crate::wiring::caller_environment();
    let named = NAMES.into_iter();
    environment.extend(named.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))));
    environment.extend(std::env::vars().filter(|(name, _)| name.starts_with("ANSIBLE_")));
    environment
}
