//! A stage while it is read: instructions are applied one by one to its image config, history and
//! variables. What changes files comes out as an [`Op`]. Pure: every text, default and corner of
//! the language that depends on what came before is decided here, and nothing is done.

mod copy;
mod ports;
mod run;
mod signal;
mod text;

use std::collections::BTreeMap;

use cutover_core::oci::{self, History, ImageConfig, Platform};
use serde_json::Value;

use crate::dockerfile::expand::{ExpandError, Expander, Variables as _};
use crate::dockerfile::{Arg, CommandLine, Health, Instruction, Kind, Pair};
use crate::op::Op;
use crate::path;
use crate::vars::Vars;

/// docker's PATH for images that have none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Written beside every history line.
const COMMENT: &str = "buildkit.dockerfile.v0";
/// ARGs that steer the builder and are invisible to processes.
const NOT_ENV: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What all stages share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) escape: char,
    /// Automatic and global ARGs.
    pub(crate) globals: Vars,
    pub(crate) build_args: BTreeMap<String, String>,
    pub(crate) proxies: Vec<(String, String)>,
}

/// Whether an ARG only speaks to the builder.
pub(crate) fn is_builders(name: &str) -> bool {
    NOT_ENV.contains(&name)
}

/// The state of a stage after some of its instructions.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Layers are not in it yet; `created` of new history lines neither.
    pub(crate) image: ImageConfig,
    /// ENV and ARG, as expansion and RUN see them.
    vars: Vars,
    /// ARGs in the order of their declaration, for RUN's history line.
    args: Vec<Arg>,
    /// CMD was set in this stage: ENTRYPOINT does not reset it.
    cmd_set: bool,
}

/// Why an instruction is wrong in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StageError {
    #[error(transparent)]
    Expand(#[from] ExpandError),
    #[error("{0}")]
    Invalid(String),
}

impl Stage {
    /// FROM scratch.
    pub(crate) fn scratch(platform: &Platform) -> Self {
        let image = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: oci::Config { working_dir: "/".to_owned(), ..oci::Config::default() },
            ..ImageConfig::default()
        };
        Self::from_image(image)
    }

    /// FROM an image; also returns its ONBUILD triggers.
    pub(crate) fn from_image(image: ImageConfig) -> Self {
        let image = ImageConfig { created: None, ..image };
        let mut stage = Self { image, vars: Vars::default(), args: Vec::new(), cmd_set: false };
        stage.begin();
        stage
    }

    /// FROM an earlier stage: its ARGs are inherited with the rest.
    pub(crate) fn from_stage(base: &Self) -> Self {
        let mut stage = Self { cmd_set: false, ..base.clone() };
        stage.begin();
        stage
    }

    /// Takes the ONBUILD triggers off: they run once, here.
    pub(crate) fn take_triggers(&mut self) -> Vec<String> {
        std::mem::take(&mut self.image.config.on_build)
    }

    fn begin(&mut self) {
        let has_path = self.image.config.env.iter().any(|entry| entry.starts_with("PATH="));
        if !has_path && self.image.os != "windows" {
            self.image.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for entry in &self.image.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.vars.set(name, value);
        }
        let working_dir = &mut self.image.config.working_dir;
        if !working_dir.is_empty() && !working_dir.starts_with('/') {
            *working_dir = path::absolute("/", working_dir);
        }
    }

    /// What expansion sees now.
    pub(crate) fn vars(&self) -> &Vars {
        &self.vars
    }

    /// Whether an ARG names it, with or without a value.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.args.iter().any(|arg| arg.name == name)
    }

    fn expand(&self, text: &str, shared: &Shared) -> Result<String, ExpandError> {
        Ok(Expander::new(shared.escape).word(text, &self.vars)?.text)
    }

    fn expand_all(&self, texts: &[String], shared: &Shared) -> Result<Vec<String>, ExpandError> {
        texts.iter().map(|text| self.expand(text, shared)).collect()
    }

    fn cwd(&self) -> &str {
        match self.image.config.working_dir.as_str() {
            "" => "/",
            dir => dir,
        }
    }

    /// A text for people: the instruction with its variables expanded where that is possible.
    pub(crate) fn shown(&self, code: &str, shared: &Shared) -> String {
        let keep = Expander { keep_unset: true, raw_quotes: true, ..Expander::new(shared.escape) };
        let text = keep.word(code, &self.vars).map_or_else(|_| code.to_owned(), |e| e.text);
        match text.split_once(char::is_whitespace) {
            Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
            None => text.to_uppercase(),
        }
    }

    /// Applies one instruction.
    pub(crate) fn apply(
        &mut self,
        instruction: &Instruction,
        shared: &Shared,
    ) -> Result<Option<Op>, StageError> {
        match &instruction.kind {
            Kind::Add(copy) => return self.copy(copy, true, shared).map(Some),
            Kind::Copy(copy) => return self.copy(copy, false, shared).map(Some),
            Kind::Run(run) => return self.run(run, shared).map(Some),
            Kind::Provision(step, mounts) => {
                return self.provision(step, mounts, shared).map(Some);
            }
            Kind::Workdir(dir) => return self.workdir(dir, shared),
            Kind::Arg(args) => self.arg(args, shared)?,
            Kind::Env(pairs) => self.env(pairs, shared)?,
            Kind::Label(pairs) => self.label(pairs, shared)?,
            Kind::Cmd(command) => self.cmd(command),
            Kind::Entrypoint(command) => self.entrypoint(command),
            Kind::Expose(words) => self.expose(words, shared)?,
            Kind::Healthcheck(health) => self.healthcheck(health),
            Kind::Maintainer(name) => {
                self.image.author = Some(name.clone());
                self.note(format!("MAINTAINER {name}"));
            }
            Kind::Onbuild(trigger) => self.image.config.on_build.push(trigger.clone()),
            Kind::Shell(words) => {
                self.image.config.shell = Some(words.clone());
                self.note(format!("SHELL {}", text::list(words)));
            }
            Kind::Stopsignal(signal) => self.stopsignal(signal, shared)?,
            Kind::User(user) => {
                self.image.config.user = self.expand(user, shared)?;
                self.note(format!("USER {}", self.image.config.user));
            }
            Kind::Volume(paths) => self.volume(paths, shared)?,
        }
        Ok(None)
    }

    /// Adds a history line without a layer.
    fn note(&mut self, created_by: String) {
        self.commit(created_by, true);
    }

    fn commit(&mut self, created_by: String, empty: bool) {
        self.image.history.push(History {
            created_by: Some(created_by),
            comment: Some(COMMENT.to_owned()),
            empty_layer: empty.then_some(true),
            ..History::default()
        });
    }

    fn expand_pairs(
        &self,
        pairs: &[Pair],
        shared: &Shared,
    ) -> Result<Vec<(String, String)>, ExpandError> {
        let pair =
            |pair: &Pair| Ok((self.expand(&pair.key, shared)?, self.expand(&pair.value, shared)?));
        pairs.iter().map(pair).collect()
    }

    fn env(&mut self, pairs: &[Pair], shared: &Shared) -> Result<(), StageError> {
        let pairs = self.expand_pairs(pairs, shared)?;
        let mut line = "ENV".to_owned();
        for (name, value) in &pairs {
            let entry = format!("{name}={value}");
            line.push(' ');
            line.push_str(&entry);
            self.vars.set(name, value);
            let same = |own: &&mut String| own.split('=').next() == Some(name);
            match self.image.config.env.iter_mut().find(same) {
                Some(own) => *own = entry,
                None => self.image.config.env.push(entry),
            }
        }
        self.note(line);
        Ok(())
    }

    fn label(&mut self, pairs: &[Pair], shared: &Shared) -> Result<(), StageError> {
        let mut line = "LABEL".to_owned();
        for (name, value) in self.expand_pairs(pairs, shared)? {
            line.push_str(&format!(" {name}={value}"));
            self.image.config.labels.insert(name, value);
        }
        self.note(line);
        Ok(())
    }

    /// A --build-arg wins over the default, the default over the global ARG of the same name.
    fn arg(&mut self, args: &[Arg], shared: &Shared) -> Result<(), StageError> {
        let mut line = "ARG".to_owned();
        for arg in args {
            let value = match (shared.build_args.get(&arg.name), &arg.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(default, shared)?),
                (None, None) => shared.globals.get(&arg.name).map(str::to_owned),
            };
            line.push_str(&format!(" {}", arg.name));
            if let Some(value) = &value {
                line.push_str(&format!("={value}"));
                if !NOT_ENV.contains(&arg.name.as_str()) {
                    self.vars.set(&arg.name, value);
                }
            }
            self.args.push(Arg { name: arg.name.clone(), default: value });
        }
        self.note(line);
        Ok(())
    }

    /// The words of a command, behind SHELL in shell form.
    fn with_shell(&self, command: &CommandLine) -> Vec<String> {
        if !command.shell {
            return command.words.clone();
        }
        let default = || ["/bin/sh", "-c"].map(str::to_owned).to_vec();
        let shell = self.image.config.shell.clone().filter(|shell| !shell.is_empty());
        let mut words = shell.unwrap_or_else(default);
        words.push(command.words.join(" "));
        words
    }

    fn cmd(&mut self, command: &CommandLine) {
        let words = self.with_shell(command);
        self.note(format!("CMD {}", text::quoted_list(&words)));
        self.image.config.cmd = Some(words);
        self.image.config.args_escaped = Some(true);
        self.cmd_set = true;
    }

    fn entrypoint(&mut self, command: &CommandLine) {
        let words = self.with_shell(command);
        self.note(format!("ENTRYPOINT {}", text::quoted_list(&words)));
        // `ENTRYPOINT []` takes an inherited one away.
        self.image.config.entrypoint = Some(words).filter(|words| !words.is_empty());
        if !self.cmd_set {
            self.image.config.cmd = None;
        }
    }

    fn expose(&mut self, words: &[String], shared: &Shared) -> Result<(), StageError> {
        let mut ports = Vec::new();
        for word in words {
            for word in Expander::new(shared.escape).words(word, &self.vars)? {
                ports.extend(ports::parse(&word).map_err(StageError::Invalid)?);
            }
        }
        self.note(format!("EXPOSE {}", text::list(&ports)));
        let empty = || Value::Object(serde_json::Map::new());
        self.image.config.exposed_ports.extend(ports.into_iter().map(|port| (port, empty())));
        Ok(())
    }

    fn volume(&mut self, paths: &[String], shared: &Shared) -> Result<(), StageError> {
        let paths = self.expand_all(paths, shared)?;
        if paths.iter().any(String::is_empty) {
            return Err(StageError::Invalid("VOLUME can not be an empty string".to_owned()));
        }
        self.note(format!("VOLUME {}", text::list(&paths)));
        let empty = || Value::Object(serde_json::Map::new());
        self.image.config.volumes.extend(paths.into_iter().map(|path| (path, empty())));
        Ok(())
    }

    fn healthcheck(&mut self, health: &Health) {
        self.note(format!("HEALTHCHECK {}", text::health(health)));
        self.image.config.healthcheck = Some(oci::Healthcheck {
            test: health.test.clone(),
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        });
    }

    fn stopsignal(&mut self, signal: &str, shared: &Shared) -> Result<(), StageError> {
        let signal = self.expand(signal, shared)?;
        if !signal::is_valid(&signal) {
            return Err(StageError::Invalid(format!("invalid signal `{signal}`")));
        }
        self.note(format!("STOPSIGNAL {signal}"));
        self.image.config.stop_signal = Some(signal);
        Ok(())
    }

    fn workdir(&mut self, dir: &str, shared: &Shared) -> Result<Option<Op>, StageError> {
        let dir = self.expand(dir, shared)?;
        // An absolute one stays as it is written, `/tmp/` too: so does BuildKit.
        let dir = match dir.starts_with('/') {
            true => dir,
            false => path::absolute(&self.image.config.working_dir, &dir),
        };
        self.image.config.working_dir.clone_from(&dir);
        let is_root = dir == "/";
        self.commit(format!("WORKDIR {dir}"), is_root);
        let owner = self.image.config.user.clone();
        Ok((!is_root).then_some(Op::Mkdir { path: dir, owner }))
    }
}

#[cfg(test)]
mod tests;
