//! Stages and what they need of each other: pure, from the text and the build arguments alone.
//!
//! A stage may only use earlier ones, so the order of the file is an order of execution. Stages
//! that the target does not reach are checked for errors and never built.

use std::collections::{BTreeMap, BTreeSet};

use cutover_core::oci::Platform;

use crate::context::{Contexts, NamedContext};
use crate::dockerfile::expand::Expander;
use crate::dockerfile::{Dockerfile, Instruction, Kind, Lines, suggest};
use crate::platform;
use crate::vars::Vars;

/// The stages of a Dockerfile with their bases resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) target: usize,
    /// Indices of the stages that the target reaches, in order.
    pub(crate) needed: BTreeSet<usize>,
    names: BTreeMap<String, usize>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) base: Base,
    pub(crate) platform: Option<Platform>,
    /// Earlier stages that it needs: its base and the sources of its copies.
    pub(crate) needs: BTreeSet<usize>,
    /// A named context stands for the whole stage: its instructions do not count.
    pub(crate) replaced: bool,
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    Stage(usize),
    Image(String),
}

/// Where a `COPY --from` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Stage(usize),
    Image(String),
}

/// Why stages do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphError {
    /// Absent for a wrong --target.
    pub(crate) lines: Option<Lines>,
    pub(crate) problem: String,
    pub(crate) hint: Option<String>,
}

impl GraphError {
    fn at(lines: Lines, problem: String) -> Self {
        Self { lines: Some(lines), problem, hint: None }
    }
}

impl Graph {
    pub(crate) fn new(
        file: &Dockerfile,
        globals: &Vars,
        target: Option<&str>,
        default: &Platform,
        contexts: &Contexts,
    ) -> Result<Self, GraphError> {
        let mut graph = Self {
            nodes: Vec::new(),
            target: file.stages.len() - 1,
            needed: BTreeSet::new(),
            names: BTreeMap::new(),
        };
        for (index, stage) in file.stages.iter().enumerate() {
            let mut node = graph.node(stage, file.escape, globals, default)?;
            graph.replace(&mut node, stage, contexts, default)?;
            graph.nodes.push(node);
            if let Some(name) = &stage.name {
                graph.names.insert(name.clone(), index);
            }
        }
        if let Some(target) = target {
            graph.target = graph.find_target(target)?;
        }
        graph.connect(file)?;
        graph.needed = graph.reached(graph.target);
        graph.check_order(file)?;
        Ok(graph)
    }

    fn node(
        &self,
        stage: &crate::dockerfile::Stage,
        escape: char,
        globals: &Vars,
        default: &Platform,
    ) -> Result<Node, GraphError> {
        let error = |problem: String| GraphError::at(stage.lines, problem);
        let expander = Expander::new(escape);
        let expand = |text: &str| {
            let expanded = expander.word(text, globals).map_err(|e| error(e.to_string()))?;
            Ok(expanded.text)
        };
        let base = expand(&stage.base)?;
        if base.is_empty() {
            return Err(error(format!("base name ({}) should not be blank", stage.base)));
        }
        let platform = match &stage.platform {
            None => None,
            Some(text) => {
                let value = expand(text)?;
                if value.is_empty() {
                    return Err(error(format!("empty platform value from expression `{text}`")));
                }
                let parsed = platform::parse(&value, default);
                let problem = || error(format!("failed to parse platform `{value}`"));
                Some(parsed.ok_or_else(problem)?)
            }
        };
        let (base, needs) = match self.names.get(&base) {
            Some(&index) => (Base::Stage(index), BTreeSet::from([index])),
            None if base == "scratch" => (Base::Scratch, BTreeSet::new()),
            None => (Base::Image(base), BTreeSet::new()),
        };
        Ok(Node { base, platform, needs, replaced: false })
    }

    /// Puts named contexts in the place of stages of their names, and stages in that of images.
    fn replace(
        &mut self,
        node: &mut Node,
        stage: &crate::dockerfile::Stage,
        contexts: &Contexts,
        default: &Platform,
    ) -> Result<(), GraphError> {
        let platform = node.platform.clone().unwrap_or_else(|| default.clone());
        for (name, context) in contexts.stages() {
            if let Some(&index) = self.names.get(context) {
                self.names.entry(name.to_owned()).or_insert(index);
                if node.base == Base::Image(name.to_owned()) {
                    node.base = Base::Stage(index);
                    node.needs.insert(index);
                }
            }
        }
        let Some(name) = &stage.name else { return Ok(()) };
        match contexts.find(name, &platform) {
            None => {}
            Some((_, NamedContext::Stage(target))) => {
                let problem = format!("no stage `{target}` is defined before `{name}`");
                let index =
                    *self.names.get(target).ok_or_else(|| GraphError::at(stage.lines, problem))?;
                node.base = Base::Stage(index);
                node.needs = BTreeSet::from([index]);
                node.replaced = true;
            }
            Some(_) => {
                node.base = Base::Image(name.clone());
                node.needs.clear();
                node.replaced = true;
            }
        }
        Ok(())
    }

    fn find_target(&self, target: &str) -> Result<usize, GraphError> {
        let lower = target.to_lowercase();
        if let Some(&index) = self.names.get(&lower) {
            return Ok(index);
        }
        if let Some(index) = target.parse().ok().filter(|index| *index < self.nodes.len()) {
            return Ok(index);
        }
        let near = suggest(&lower, self.names.keys().map(String::as_str));
        Err(GraphError {
            lines: None,
            problem: format!("target stage `{target}` could not be found"),
            hint: near.map(|near| format!("did you mean `{near}`?")),
        })
    }

    /// Resolves every `--from` of the file, also in stages that are not needed.
    fn connect(&mut self, file: &Dockerfile) -> Result<(), GraphError> {
        for (index, stage) in file.stages.iter().enumerate() {
            if self.nodes[index].replaced {
                continue;
            }
            for instruction in &stage.instructions {
                for from in self.sources(instruction)? {
                    if let From::Stage(source) = from {
                        self.nodes[index].needs.insert(source);
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything besides the context that an instruction takes files from.
    fn sources(&self, instruction: &Instruction) -> Result<Vec<From>, GraphError> {
        let mut sources: Vec<From> = self.copies_from(instruction)?.into_iter().collect();
        if let Kind::Run(run) = &instruction.kind {
            let named = run.mounts.iter().filter(|mount| !mount.from.is_empty());
            sources.extend(named.map(|mount| self.mounts_from(&mount.from)));
        }
        Ok(sources)
    }

    /// Where a mount's `from` leads. Unlike a copy's it is never the number of a stage.
    pub(crate) fn mounts_from(&self, from: &str) -> From {
        match self.names.get(&from.to_lowercase()) {
            Some(&index) => From::Stage(index),
            None => From::Image(from.to_owned()),
        }
    }

    /// Where an instruction copies from, if it names anything but the context.
    pub(crate) fn copies_from(
        &self,
        instruction: &Instruction,
    ) -> Result<Option<From>, GraphError> {
        let Kind::Copy(copy) = &instruction.kind else { return Ok(None) };
        let from = copy.from.as_str();
        if from.is_empty() {
            return Ok(None);
        }
        let error = |problem: String| GraphError::at(instruction.lines, problem);
        let expanded = Expander::new('\\').word(from, &());
        if expanded.map_err(|e| error(e.to_string()))?.text != from {
            return Err(GraphError {
                hint: Some(
                    "define a new stage with FROM using ARG from global scope instead".to_owned(),
                ),
                ..error("variable expansion is not supported for --from".to_owned())
            });
        }
        if let Ok(index) = from.parse::<i64>() {
            let index = usize::try_from(index).ok().filter(|index| *index < self.nodes.len());
            let problem = || error(format!("invalid stage index `{from}`"));
            return index.map(|index| Some(From::Stage(index))).ok_or_else(problem);
        }
        Ok(Some(match self.names.get(&from.to_lowercase()) {
            Some(&index) => From::Stage(index),
            None => From::Image(from.to_owned()),
        }))
    }

    /// All stages that `index` needs, itself included.
    pub(crate) fn reached(&self, index: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut todo = vec![index];
        while let Some(index) = todo.pop() {
            if reached.insert(index) {
                todo.extend(&self.nodes[index].needs);
            }
        }
        reached
    }

    /// A needed stage must not use itself or a later one.
    fn check_order(&self, file: &Dockerfile) -> Result<(), GraphError> {
        for &index in self.needed.iter().filter(|index| !self.nodes[**index].replaced) {
            let stage = &file.stages[index];
            let sources = stage.instructions.iter().map(|instruction| {
                let sources = self.sources(instruction)?;
                Ok(sources.into_iter().map(move |source| (instruction, source)))
            });
            let sources = sources.collect::<Result<Vec<_>, GraphError>>()?;
            for (instruction, source) in sources.into_iter().flatten() {
                let From::Stage(source) = source else { continue };
                if source < index {
                    continue;
                }
                let name = stage.name.clone().unwrap_or_else(|| index.to_string());
                let problem = if self.reached(source).contains(&index) {
                    format!("circular dependency detected on stage `{name}`")
                } else {
                    format!(
                        "cannot use files of a later stage: it needs to be defined before the current stage `{name}`"
                    )
                };
                return Err(GraphError::at(instruction.lines, problem));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
