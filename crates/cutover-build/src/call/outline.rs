//! `--call=outline`: what a target can be given, with the values it would have now.

use std::collections::{BTreeMap, BTreeSet};

use cutover_core::oci::Platform;
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::BuildOptions;
use crate::checks::{Bases, location};
use crate::dockerfile::expand::{Expander, Variables as _};
use crate::dockerfile::{self, Dockerfile, Instruction, Kind, Lines};
use crate::graph::{Base, Graph, GraphError};
use crate::mount::{Mount, MountKind};
use crate::solve;
use crate::stage::{Shared, Stage};

/// What a target takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Absent for a stage without a name.
    pub name: Option<String>,
    pub description: String,
    /// By line.
    pub arguments: Vec<Argument>,
    pub secrets: Vec<Needed>,
    pub ssh: Vec<Needed>,
    pub(super) source: String,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub value: String,
    /// From the comment above its ARG.
    pub description: String,
    pub lines: Lines,
}

/// A secret or an SSH agent that a RUN mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    pub name: String,
    pub required: bool,
    pub lines: Lines,
}

/// Why there is no outline.
pub(super) struct Stop {
    pub(super) lines: Option<Lines>,
    pub(super) problem: String,
    pub(super) hint: Option<String>,
}

impl Stop {
    fn at(lines: Lines, problem: impl std::fmt::Display) -> Self {
        Self { lines: Some(lines), problem: problem.to_string(), hint: None }
    }
}

/// The comment line `# NAME DESCRIPTION`, without the name.
pub(super) fn description(comments: &[String], name: &str) -> String {
    let text = |line: &String| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    match name {
        "" => String::new(),
        _ => comments.iter().find_map(text).unwrap_or_default(),
    }
}

/// An argument and the arguments that its default uses.
#[derive(Clone)]
struct Known {
    argument: Argument,
    uses: BTreeSet<String>,
}

/// What one stage declares and mounts.
struct Part {
    stage: Stage,
    known: BTreeMap<String, Known>,
    used: BTreeSet<String>,
    secrets: Vec<Needed>,
    ssh: Vec<Needed>,
}

pub(super) fn of(
    file: &Dockerfile,
    options: &BuildOptions,
    bases: &dyn Bases,
) -> Result<Outline, Stop> {
    let target = options.platform.clone().unwrap_or_else(|| options.host_platform.clone());
    let shared = solve::shared(options, file, &target)
        .map_err(|(instruction, problem)| Stop::at(instruction.lines, problem))?;
    let graph =
        Graph::new(file, &shared.globals, options.target.as_deref(), &target, &options.contexts)
            .map_err(|GraphError { lines, problem, hint }| Stop { lines, problem, hint })?;
    let globals = globals(file, options, &target)?;
    let read = Read { file, shared: &shared, graph: &graph, target: &target, bases, globals };
    let mut parts = BTreeMap::new();
    for &index in &graph.needed {
        let part = read.stage(index, &parts)?;
        parts.insert(index, part);
    }
    let stage = &file.stages[graph.target];
    let mut outline = Outline {
        name: stage.name.clone(),
        description: description(&stage.comments, stage.name.as_deref().unwrap_or_default()),
        ..Outline::default()
    };
    // The target's own words count more than those of what it is made from.
    for part in parts.values().rev() {
        part.add_to(&mut outline);
    }
    outline.arguments.sort_by_key(|argument| argument.lines.start);
    outline.secrets.sort_by_key(|needed| needed.lines.start);
    outline.ssh.sort_by_key(|needed| needed.lines.start);
    Ok(outline)
}

/// The ARGs before the first FROM.
fn globals(
    file: &Dockerfile,
    options: &BuildOptions,
    target: &Platform,
) -> Result<BTreeMap<String, Known>, Stop> {
    let none = &[];
    let named = options.target.as_deref();
    let args = &options.build_args;
    let mut vars = crate::vars::automatic(&options.host_platform, target, named, args);
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for instruction in &file.global_args {
        let list = match &instruction.kind {
            Kind::Arg(list) => list.as_slice(),
            _ => none,
        };
        for arg in list {
            let mut uses = BTreeSet::new();
            let value = match (options.build_args.get(&arg.name), &arg.default) {
                (Some(given), _) => Some(given.clone()),
                (None, None) => None,
                (None, Some(default)) => {
                    let expanded = Expander::new(file.escape).word(default, &vars);
                    let expanded = expanded.map_err(|e| Stop::at(instruction.lines, e))?;
                    uses = expanded.used;
                    Some(expanded.text)
                }
            };
            // What a new default takes from the old one, it takes from what that was made of.
            if uses.remove(&arg.name)
                && let Some(old) = known.get(&arg.name)
            {
                uses.extend(old.uses.iter().cloned());
            }
            if let Some(value) = &value {
                vars.set(&arg.name, value);
            }
            let argument = Argument {
                name: arg.name.clone(),
                value: value.unwrap_or_default(),
                description: description(&instruction.comments, &arg.name),
                lines: instruction.lines,
            };
            known.insert(arg.name.clone(), Known { argument, uses });
        }
    }
    Ok(known)
}

struct Read<'a> {
    file: &'a Dockerfile,
    shared: &'a Shared,
    graph: &'a Graph,
    target: &'a Platform,
    bases: &'a dyn Bases,
    globals: BTreeMap<String, Known>,
}

impl Read<'_> {
    fn stage(&self, index: usize, done: &BTreeMap<usize, Part>) -> Result<Part, Stop> {
        let (node, written) = (&self.graph.nodes[index], &self.file.stages[index]);
        let platform = node.platform.as_ref().unwrap_or(self.target);
        let stage = match &node.base {
            Base::Scratch => Stage::scratch(platform),
            Base::Stage(base) => Stage::from_stage(&done[base].stage),
            Base::Image(name) => match self.bases.config(name, platform) {
                Some(config) => Stage::from_image(config),
                None => Stage::scratch(platform),
            },
        };
        let mut used = BTreeSet::new();
        for text in [Some(&written.base), written.platform.as_ref()].into_iter().flatten() {
            let expanded = Expander::new(self.file.escape).word(text, &self.shared.globals);
            used.extend(expanded.map_err(|error| Stop::at(written.lines, error))?.used);
        }
        let known = self.globals.clone();
        let mut part = Part { stage, known, used, secrets: Vec::new(), ssh: Vec::new() };
        for trigger in part.stage.take_triggers() {
            let instruction = dockerfile::parse_trigger(&trigger, written.lines)
                .map_err(|error| Stop::at(error.lines, error.problem))?;
            self.instruction(&mut part, &instruction)?;
        }
        for instruction in &written.instructions {
            self.instruction(&mut part, instruction)?;
        }
        Ok(part)
    }

    fn instruction(&self, part: &mut Part, instruction: &Instruction) -> Result<(), Stop> {
        let stop = |problem: String| Stop::at(instruction.lines, problem);
        if let Kind::Run(run) = &instruction.kind {
            let expand = |text: &str| {
                let expanded = Expander::new(self.shared.escape).word(text, part.stage.vars());
                expanded.map(|expanded| expanded.text)
            };
            for flag in &run.mounts {
                // Where it is mounted is no part of the outline.
                let mount = Mount::read(flag, "/", expand).map_err(stop)?;
                let lines = instruction.lines;
                match mount.kind {
                    MountKind::Secret(secret) => {
                        let needed = Needed { name: secret.id, required: secret.required, lines };
                        need(&mut part.secrets, needed);
                    }
                    MountKind::Ssh { id, required, .. } => {
                        need(&mut part.ssh, Needed { name: id, required, lines });
                    }
                    _ => {}
                }
            }
        }
        let applied = part.stage.apply(instruction, self.shared);
        applied.map_err(|error| stop(error.to_string()))?;
        if let Kind::Arg(list) = &instruction.kind {
            for arg in list {
                part.used.insert(arg.name.clone());
                let given = self.shared.build_args.contains_key(&arg.name);
                let inherits =
                    !given && arg.default.is_none() && self.shared.globals.get(&arg.name).is_some();
                if !inherits {
                    let has_value = given || arg.default.is_some();
                    let value = part.stage.vars().get(&arg.name).filter(|_| has_value);
                    let argument = Argument {
                        name: arg.name.clone(),
                        value: value.unwrap_or_default().to_owned(),
                        description: description(&instruction.comments, &arg.name),
                        lines: instruction.lines,
                    };
                    let known = Known { argument, uses: BTreeSet::new() };
                    part.known.insert(arg.name.clone(), known);
                }
            }
        }
        Ok(())
    }
}

/// Adds what is not there yet.
fn need(list: &mut Vec<Needed>, needed: Needed) {
    if list.iter().all(|own| own.name != needed.name) {
        list.push(needed);
    }
}

impl Part {
    fn add_to(&self, outline: &mut Outline) {
        let mut todo: Vec<&String> = self.used.iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = todo.pop() {
            let Some(known) = self.known.get(name).filter(|_| seen.insert(name)) else { continue };
            todo.extend(&known.uses);
            if outline.arguments.iter().all(|argument| argument.name != *name) {
                outline.arguments.push(known.argument.clone());
            }
        }
        for needed in &self.secrets {
            need(&mut outline.secrets, needed.clone());
        }
        for needed in &self.ssh {
            need(&mut outline.ssh, needed.clone());
        }
    }
}

impl Outline {
    /// The document of `--call=outline,format=json`: what is empty is left out.
    pub fn json(&self) -> Value {
        let mut value = json!({});
        let text = |value: &mut Value, key: &str, text: &str| {
            if !text.is_empty() {
                value[key] = text.into();
            }
        };
        text(&mut value, "name", self.name.as_deref().unwrap_or_default());
        text(&mut value, "description", &self.description);
        let argument = |argument: &Argument| {
            let mut value = json!({ "name": argument.name });
            text(&mut value, "description", &argument.description);
            text(&mut value, "value", &argument.value);
            value["location"] = location(Some(argument.lines));
            value
        };
        let needed = |needed: &Needed| {
            let mut value = json!({ "name": needed.name });
            if needed.required {
                value["required"] = true.into();
            }
            value["location"] = location(Some(needed.lines));
            value
        };
        let lists: [(&str, Vec<Value>); 3] = [
            ("args", self.arguments.iter().map(argument).collect()),
            ("secrets", self.secrets.iter().map(needed).collect()),
            ("ssh", self.ssh.iter().map(needed).collect()),
        ];
        for (key, list) in lists {
            if !list.is_empty() {
                value[key] = list.into();
            }
        }
        value["sources"] = json!([BASE64.encode(self.source.as_bytes())]);
        value
    }
}
