//! Rules that need the stage so far: its variables, its working directory, what was set already.
//! Each stage is walked as a build walks it, and nothing is done.

use std::collections::BTreeMap;

use cutover_core::oci::{ImageConfig, Platform};

use super::near::{nearest, question};
use super::secret::sounds_secret;
use super::source::keyword;
use super::{Findings, Look, Rule, Stop};
use crate::dockerfile::expand::{Expanded, Expander};
use crate::dockerfile::{self, Arg, Copy, Dockerfile, Instruction, Kind, Lines, Pair};
use crate::graph::{Base, Graph};
use crate::stage::{Shared, Stage};
use crate::{path, platform};

/// The stages that were walked.
pub(super) struct Walk<'a> {
    file: &'a Dockerfile,
    shared: &'a Shared,
    graph: &'a Graph,
    target: &'a Platform,
    look: Look<'a>,
    done: BTreeMap<usize, State>,
}

/// A stage after some of its instructions.
#[derive(Clone)]
struct State {
    stage: Stage,
    /// A WORKDIR was seen, here or in a stage below.
    workdir: bool,
    /// The base image, if it is not known.
    unknown: Option<String>,
    /// Where CMD, ENTRYPOINT and HEALTHCHECK were set last in this very stage.
    once: BTreeMap<&'static str, Lines>,
}

/// One instruction as a rule sees it.
struct Seen<'a> {
    state: &'a State,
    comments: &'a [String],
    lines: Lines,
    /// As written.
    keyword: String,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        file: &'a Dockerfile,
        shared: &'a Shared,
        graph: &'a Graph,
        target: &'a Platform,
        look: Look<'a>,
    ) -> Self {
        Self { file, shared, graph, target, look, done: BTreeMap::new() }
    }

    pub(super) fn stage(&mut self, index: usize, findings: &mut Findings) -> Result<(), Stop> {
        if self.done.contains_key(&index) {
            return Ok(());
        }
        let written = &self.file.stages[index];
        let mut state = self.base(index, findings)?;
        for trigger in state.stage.take_triggers() {
            let instruction = dockerfile::parse_trigger(&trigger, written.lines)
                .map_err(|error| Stop::at(error.lines, error.problem))?;
            self.instruction(&mut state, &instruction, findings)?;
        }
        for instruction in &written.instructions {
            self.instruction(&mut state, instruction, findings)?;
        }
        self.done.insert(index, state);
        Ok(())
    }

    fn base(&mut self, index: usize, findings: &mut Findings) -> Result<State, Stop> {
        let node = &self.graph.nodes[index];
        let platform = node.platform.as_ref().unwrap_or(self.target);
        let new = |stage, unknown| State { stage, workdir: false, unknown, once: BTreeMap::new() };
        Ok(match &node.base {
            Base::Scratch => new(Stage::scratch(platform), None),
            Base::Stage(base) => {
                self.stage(*base, findings)?;
                let base = &self.done[base];
                State {
                    stage: Stage::from_stage(&base.stage),
                    once: BTreeMap::new(),
                    ..base.clone()
                }
            }
            // A named context in its place is not opened for a check.
            Base::Image(name) if self.look.options.contexts.find(name, platform).is_some() => {
                new(Stage::scratch(platform), Some(name.clone()))
            }
            Base::Image(name) => match self.look.bases.config(name, platform) {
                None => new(Stage::scratch(platform), Some(name.clone())),
                Some(config) => {
                    let lines = self.file.stages[index].lines;
                    wrong_platform(name, platform, &config, lines, findings);
                    new(Stage::from_image(config), None)
                }
            },
        })
    }

    fn instruction(
        &self,
        state: &mut State,
        instruction: &Instruction,
        findings: &mut Findings,
    ) -> Result<(), Stop> {
        let stop = |problem: String| Stop::at(instruction.lines, problem);
        let seen = Seen {
            state,
            comments: &instruction.comments,
            lines: instruction.lines,
            keyword: keyword(&instruction.code),
        };
        self.rules(&seen, &instruction.kind, findings).map_err(stop)?;
        if let Kind::Workdir(_) = &instruction.kind {
            state.workdir = true;
        }
        if let Some(name) = only_once(&instruction.kind) {
            state.once.insert(name, instruction.lines);
        }
        let applied = state.stage.apply(instruction, self.shared);
        applied.map(drop).map_err(|error| stop(error.to_string()))
    }

    fn rules(&self, seen: &Seen<'_>, kind: &Kind, findings: &mut Findings) -> Result<(), String> {
        match kind {
            Kind::Add(copy) => self.copy(seen, copy, "ADD", findings)?,
            Kind::Copy(copy) => self.copy(seen, copy, "COPY", findings)?,
            Kind::Env(pairs) => {
                self.pairs(seen, pairs, findings)?;
                for pair in pairs {
                    let name = self.expand(seen, &pair.key, findings)?;
                    seen.secret("ENV", &name, findings);
                }
            }
            Kind::Label(pairs) => self.pairs(seen, pairs, findings)?,
            Kind::Arg(args) => self.args(seen, args, findings)?,
            Kind::Workdir(dir) => {
                let dir = self.expand(seen, dir, findings)?;
                if !seen.state.workdir && !dir.starts_with('/') {
                    let detail = format!("`{dir}` depends on the base image's working directory");
                    seen.add(Rule::WorkdirRelativePath, detail, findings);
                }
            }
            Kind::User(text) | Kind::Stopsignal(text) => {
                self.expand(seen, text, findings)?;
            }
            Kind::Volume(paths) => {
                for path in paths {
                    self.expand(seen, path, findings)?;
                }
            }
            Kind::Run(run) => {
                let values = run.mounts.iter().flat_map(|mount| &mount.fields);
                for (_, value) in values.filter_map(|field| field.split_once('=')) {
                    self.expand(seen, value, findings)?;
                }
            }
            Kind::Expose(words) => self.expose(seen, words, findings)?,
            Kind::Cmd(command) | Kind::Entrypoint(command) => {
                let own_shell = |shell: &Vec<String>| !shell.is_empty();
                let has_shell = seen.state.stage.image.config.shell.as_ref().is_some_and(own_shell);
                if command.shell && !has_shell {
                    let detail = format!(
                        "{} in shell form keeps signals from the program: use a JSON array",
                        seen.keyword
                    );
                    seen.add(Rule::JSONArgsRecommended, detail, findings);
                }
            }
            _ => {}
        }
        if let Some(before) = only_once(kind).and_then(|name| seen.state.once.get(name)) {
            // The one that does not count is the earlier one.
            let detail = format!("another {} below replaces this one", seen.keyword);
            let rule = Rule::MultipleInstructionsDisallowed;
            findings.add_below(seen.comments, rule, *before, detail);
        }
        Ok(())
    }

    /// Expands a text and reports the variables that are not there.
    fn expand(
        &self,
        seen: &Seen<'_>,
        text: &str,
        findings: &mut Findings,
    ) -> Result<String, String> {
        self.expand_with(Expander::new(self.shared.escape), seen, text, findings)
    }

    fn expand_with(
        &self,
        expander: Expander,
        seen: &Seen<'_>,
        text: &str,
        findings: &mut Findings,
    ) -> Result<String, String> {
        let expanded = expander.word(text, seen.state.stage.vars());
        let expanded = expanded.map_err(|error| error.to_string())?;
        seen.undefined(&expanded, findings);
        Ok(expanded.text)
    }

    fn pairs(
        &self,
        seen: &Seen<'_>,
        pairs: &[Pair],
        findings: &mut Findings,
    ) -> Result<(), String> {
        for pair in pairs {
            self.expand(seen, &pair.key, findings)?;
            self.expand(seen, &pair.value, findings)?;
        }
        for _ in pairs.iter().filter(|pair| pair.legacy) {
            let word = &seen.keyword;
            let detail = format!("`{word} key value` should be `{word} key=value`");
            seen.add(Rule::LegacyKeyValueFormat, detail, findings);
        }
        Ok(())
    }

    /// A default sees the ARGs before it on the same line; a --build-arg keeps it from being read.
    fn args(&self, seen: &Seen<'_>, args: &[Arg], findings: &mut Findings) -> Result<(), String> {
        let mut state = seen.state.clone();
        for arg in args {
            let now = Seen { state: &state, keyword: seen.keyword.clone(), ..*seen };
            now.secret("ARG", &arg.name, findings);
            if let (Some(default), None) = (&arg.default, self.shared.build_args.get(&arg.name)) {
                self.expand(&now, default, findings)?;
            }
            let alone = Instruction {
                kind: Kind::Arg(vec![arg.clone()]),
                code: String::new(),
                lines: seen.lines,
                comments: Vec::new(),
            };
            let applied = state.stage.apply(&alone, self.shared);
            applied.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn copy(
        &self,
        seen: &Seen<'_>,
        copy: &Copy,
        keyword: &str,
        findings: &mut Findings,
    ) -> Result<(), String> {
        for text in [&copy.chown, &copy.chmod, &copy.checksum, &copy.destination] {
            self.expand(seen, text, findings)?;
        }
        for inline in copy.inline.iter().filter(|inline| inline.expand) {
            let body = Expander { ignore_quotes: true, ..Expander::new('\\') };
            self.expand_with(body, seen, &inline.content, findings)?;
        }
        for source in &copy.sources {
            let source = self.expand(seen, source, findings)?;
            let is_remote = source.contains("://") || source.starts_with("git@");
            if copy.from.is_empty() && !is_remote && self.ignored(&source) {
                let source = path::clean(&source);
                let detail = format!("`{source}` of {keyword} is excluded by .dockerignore");
                seen.add(Rule::CopyIgnoredFile, detail, findings);
            }
        }
        Ok(())
    }

    /// Whether a source is surely excluded: with `!` patterns nobody knows without the files.
    fn ignored(&self, source: &str) -> bool {
        let ignore = self.look.ignore;
        let path = path::clean(source);
        if ignore.re_includes() || (matches!(path.as_str(), "." | "/") && !ignore.hides_all()) {
            return false;
        }
        ignore.matches(&path, &crate::ignore::Matched::default()).0
    }

    fn expose(
        &self,
        seen: &Seen<'_>,
        words: &[String],
        findings: &mut Findings,
    ) -> Result<(), String> {
        for word in words {
            let expander = Expander::new(self.shared.escape);
            let words = expander.words(word, seen.state.stage.vars());
            for port in words.map_err(|error| error.to_string())? {
                let container = port.rsplit(':').next().unwrap_or(&port);
                let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
                if protocol != protocol.to_lowercase() {
                    let detail = format!("the protocol of `{port}` is not in lower case");
                    seen.add(Rule::ExposeProtoCasing, detail, findings);
                }
                if container.len() < port.len() && !port.starts_with(':') {
                    let detail = format!("`{port}` names more than a port of the container");
                    seen.add(Rule::ExposeInvalidFormat, detail, findings);
                }
            }
        }
        Ok(())
    }
}

impl Seen<'_> {
    fn add(&self, rule: Rule, detail: String, findings: &mut Findings) {
        findings.add_below(self.comments, rule, self.lines, detail);
    }

    fn secret(&self, keyword: &str, name: &str, findings: &mut Findings) {
        if sounds_secret(name) {
            let detail = format!("{keyword} `{name}` sounds like a secret, and can be read later");
            self.add(Rule::SecretsUsedInArgOrEnv, detail, findings);
        }
    }

    fn undefined(&self, expanded: &Expanded, findings: &mut Findings) {
        let stage = &self.state.stage;
        for name in &expanded.unset {
            if stage.declares(name) || crate::stage::is_builders(name) {
                continue;
            }
            let near = question(nearest(name, stage.vars().names()), "$");
            let unless = match &self.state.unknown {
                Some(base) => format!(", unless `{base}` sets it"),
                None => String::new(),
            };
            let detail = format!("`${name}` is not defined here{unless}{near}");
            let uncertain = self.state.unknown.is_some();
            let rule = Rule::UndefinedVar;
            findings.add_uncertain(self.comments, rule, self.lines, detail, uncertain);
        }
    }
}

/// Instructions of which the last one of a stage wins.
fn only_once(kind: &Kind) -> Option<&'static str> {
    matches!(kind, Kind::Cmd(_) | Kind::Entrypoint(_) | Kind::Healthcheck(_)).then(|| kind.name())
}

fn wrong_platform(
    name: &str,
    wanted: &Platform,
    config: &ImageConfig,
    lines: Lines,
    findings: &mut Findings,
) {
    if (&config.os, &config.architecture) != (&wanted.os, &wanted.architecture) {
        let is = format!("{}/{}", config.os, config.architecture);
        let wanted = platform::format(wanted);
        let detail = format!("the base image `{name}` is for {is}, and {wanted} is wanted");
        findings.add(Rule::InvalidBaseImagePlatform, lines, detail);
    }
}
