//! A provisioning as the Dockerfile that it stands for: the text that errors show, and its parse.

use super::{FOLDER, PYTHON_STAGE, Provision, ProvisionError, Provisioning, Tool};
use crate::context::{self, Found};
use crate::dockerfile::{self, Dockerfile, Kind, Lines, MountFlag, ParseError};
use crate::{BuildError, BuildOptions, DockerfileSource, vars};

/// A Python for Ansible's modules, of the image's own distribution: they talk to its apt. It is built
/// when a playbook needs it, beside the image and never in it.
const PYTHON: &str = "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-apt";
/// The word in front of a step.
const WORD: &str = "PROVISION ";
/// What `--change` may say: docker's list for `commit`, and what else is only in the config.
const CHANGES: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Provisioning {
    /// Refuses a `--change` that is not about the config.
    pub fn check(&self) -> Result<(), ProvisionError> {
        for change in &self.changes {
            let word = change.split_whitespace().next().unwrap_or_default().to_uppercase();
            if !CHANGES.contains(&word.as_str()) || change.contains(['\n', '\r']) {
                return Err(ProvisionError::Change(change.clone()));
            }
        }
        if self.from.contains(char::is_whitespace) || self.from.is_empty() {
            return Err(ProvisionError::Character(self.from.clone()));
        }
        Ok(())
    }

    /// As text, one line for each thing that was asked for.
    pub(crate) fn text(&self, options: &BuildOptions) -> String {
        let mut lines = vec![format!("FROM {} AS base", self.from)];
        if self.steps.iter().any(|step| step.tool == Tool::Ansible) {
            lines.push(format!("FROM base AS {PYTHON_STAGE}"));
            lines.push("USER root".to_owned());
            lines.push(PYTHON.to_owned());
        }
        lines.push("FROM base".to_owned());
        let own = options.build_args.keys().filter(|name| !vars::is_predefined(name));
        lines.extend(own.map(|name| format!("ARG {name}")));
        lines.extend(self.steps.iter().map(|step| format!("{WORD}{step}")));
        lines.extend(self.changes.iter().cloned());
        lines.join("\n") + "\n"
    }

    /// Parses [`Provisioning::text`].
    pub(crate) fn parse(
        &self,
        text: &str,
        options: &BuildOptions,
    ) -> Result<Dockerfile, ParseError> {
        let plain: String = text.lines().map(readable).collect();
        let mut file = dockerfile::parse(plain.as_bytes())?;
        let mut steps = self.steps.iter();
        let lines: Vec<&str> = text.lines().collect();
        for instruction in file.stages.iter_mut().flat_map(|stage| &mut stage.instructions) {
            let line = lines.get(instruction.lines.start - 1).copied().unwrap_or_default();
            if !line.starts_with(WORD) {
                continue;
            }
            let Some(step) = steps.next() else { continue };
            instruction.lines = Lines::one(instruction.lines.start);
            line.clone_into(&mut instruction.code);
            instruction.kind = Kind::Provision(step.clone(), mounts(step, options));
        }
        Ok(file)
    }
}

/// The Dockerfile of a build, or what stands for it.
pub(crate) fn written(options: &BuildOptions) -> Result<Found, BuildError> {
    let found = context::find(&options.context, &options.dockerfile)?;
    Ok(match &options.dockerfile {
        DockerfileSource::Provision(steps) => {
            Found { bytes: steps.text(options).into_bytes(), ..found }
        }
        _ => found,
    })
}

/// A line that every Dockerfile may have.
fn readable(line: &str) -> String {
    match line.starts_with(WORD) {
        true => "RUN true\n".to_owned(),
        false => format!("{line}\n"),
    }
}

/// What a step sees: its folder, all secrets, all agents.
fn mounts(step: &Provision, options: &BuildOptions) -> Vec<MountFlag> {
    let flag = |fields: &[&str]| MountFlag {
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        from: String::new(),
    };
    let (source, target) = (format!("source={}", step.folder()), format!("target={FOLDER}"));
    let mut mounts = vec![flag(&["type=bind", &source, &target])];
    let id = |id: &String| format!("id={}", id.replace('$', "\\$"));
    mounts.extend(options.secrets.keys().map(|name| flag(&["type=secret", &id(name)])));
    mounts.extend(options.ssh.keys().map(|name| flag(&["type=ssh", &id(name)])));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> BuildOptions {
        let platform = cutover_core::oci::Platform::new("linux", "amd64");
        let mut options = BuildOptions::new("/c".into(), "/r".into(), platform, 0);
        options.build_args.insert("VERSION".to_owned(), "1".to_owned());
        options.build_args.insert("HTTP_PROXY".to_owned(), "x".to_owned());
        options
    }

    #[test]
    fn steps_are_lines() {
        let options = options();
        let provisioning = Provisioning {
            from: "debian:bookworm-slim".to_owned(),
            steps: vec!["shell=a/b.sh".parse().unwrap(), "ansible=site.yml".parse().unwrap()],
            changes: vec!["CMD [\"x\"]".to_owned()],
            environment: Vec::new(),
        };
        let text = provisioning.text(&options);
        let shown: Vec<&str> = text.lines().filter(|line| !line.starts_with("RUN")).collect();
        assert_eq!(
            shown,
            [
                "FROM debian:bookworm-slim AS base",
                "FROM base AS ansible-python",
                "USER root",
                "FROM base",
                "ARG VERSION",
                "PROVISION shell=a/b.sh",
                "PROVISION ansible=site.yml",
                "CMD [\"x\"]"
            ]
        );
        let file = provisioning.parse(&text, &options).unwrap();
        let last = file.stages.last().unwrap();
        let kinds: Vec<&str> = last.instructions.iter().map(|one| one.kind.name()).collect();
        assert_eq!(kinds, ["ARG", "PROVISION", "PROVISION", "CMD"]);
        let Kind::Provision(step, mounts) = &last.instructions[1].kind else { panic!("a step") };
        assert_eq!(step.to_string(), "shell=a/b.sh");
        assert_eq!(mounts[0].fields, ["type=bind", "source=/a", "target=/run/cutover/provision"]);
        assert_eq!(last.instructions[1].code, "PROVISION shell=a/b.sh");
    }

    #[test]
    fn changes_are_about_the_config() {
        let with = |change: &str| Provisioning {
            from: "x".to_owned(),
            steps: Vec::new(),
            changes: vec![change.to_owned()],
            environment: Vec::new(),
        };
        assert_eq!(with("cmd [\"a\"]").check(), Ok(()));
        for bad in ["RUN true", "FROM x", "CMD a\nRUN b", "COPY a b", ""] {
            assert_eq!(with(bad).check(), Err(ProvisionError::Change(bad.to_owned())));
        }
    }
}
