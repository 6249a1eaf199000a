//! Cache keys: everything that a step can observe, and nothing else.

use super::files::Content;
use super::steps::Step;
use super::{Done, Origin, Solver};
use crate::dockerfile::RunNetwork;
use crate::inputs::{Inputs, Sort};
use crate::op::{CopyOp, Op, RunOp};
use crate::stage::Stage;
use crate::{ExtraHost, Network};

impl Solver<'_> {
    /// The inputs of `step` on top of `done`, and the files that it copies or mounts.
    pub(super) fn inputs(&self, done: &Done, step: &Step<'_>, contents: &[Content]) -> Inputs<'_> {
        let kind = match step.op {
            Op::Run(_) => "run 2",
            Op::Copy(_) => "copy 2",
            Op::Mkdir { .. } => "mkdir 2",
        };
        let mut inputs = Inputs::new(kind, &self.last.salt);
        if let Origin::Image { name, digest } = &done.origin {
            inputs.note(Sort::Base, name, digest);
        }
        // A linked layer is the same on top of anything.
        if !step.is_linked() {
            inputs.plain(Sort::Before, "on", done.top());
            inputs.plain(Sort::Before, "time", done.time.to_string());
        }
        inputs.note(Sort::Text, "text", &step.instruction.code);
        match step.op {
            Op::Run(run) => self.of_run(&mut inputs, &done.stage, run),
            Op::Copy(copy) => of_copy(&mut inputs, copy),
            Op::Mkdir { path, owner } => {
                inputs.hidden(Sort::Setting, "path", path);
                inputs.hidden(Sort::Setting, "owner", owner);
            }
        }
        if !matches!(step.op, Op::Run(_)) {
            note_variables(&mut inputs, &done.stage, &step.instruction.code);
        }
        for content in contents {
            inputs.plain(Sort::Files, &content.source, content.digest.as_str());
        }
        // It is the time of the layer's files.
        if let Some(epoch) = self.epoch {
            inputs.plain(Sort::Setting, "SOURCE_DATE_EPOCH", epoch.to_string());
        }
        inputs
    }

    /// A process sees its files, words, variables, user, directory and network; proxies are only a
    /// way to the same place.
    fn of_run(&self, inputs: &mut Inputs<'_>, stage: &Stage, run: &RunOp) {
        // Debug output tells words apart.
        inputs.hidden(Sort::Setting, "words", format!("{:?}", run.args));
        for entry in &run.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            let sort = if stage.declares(name) { Sort::Arg } else { Sort::Env };
            inputs.hidden(sort, name, value);
        }
        inputs.hidden(Sort::Setting, "working directory", &run.cwd);
        inputs.hidden(Sort::Setting, "user", &run.user);
        let network = match self.network(run.network) {
            Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        };
        inputs.plain(Sort::Setting, "network", network);
        inputs.plain(Sort::Setting, "host name", self.hostname());
        if let Some((path, content)) = &run.script {
            inputs.hidden(Sort::Setting, "script", path);
            inputs.hidden(Sort::Setting, "script's content", content);
        }
        for ExtraHost { name, address } in &self.options.extra_hosts {
            inputs.plain(Sort::Setting, &format!("--add-host {name}"), address.to_string());
        }
        if let Some(size) = self.options.shm_size {
            inputs.plain(Sort::Setting, "--shm-size", size.to_string());
        }
        // What is in a cache, a secret or an agent is no part of it; that they are there is.
        for mount in &run.mounts {
            let name = format!("--mount at {}", mount.target);
            inputs.hidden(Sort::Setting, &name, format!("{mount:?}"));
        }
        for limit in &self.options.limits.ulimits {
            let text = format!("{limit:?}");
            inputs.plain(Sort::Setting, &format!("--ulimit {text}"), text);
        }
        if run.insecure {
            inputs.plain(Sort::Setting, "--security", "insecure");
        }
    }

    pub(super) fn network(&self, network: RunNetwork) -> Network {
        match network {
            RunNetwork::Default => self.options.network,
            RunNetwork::None => Network::None,
            RunNetwork::Host => Network::Host,
        }
    }
}

fn of_copy(inputs: &mut Inputs<'_>, copy: &CopyOp) {
    for (name, content) in &copy.inline {
        inputs.hidden(Sort::Setting, &format!("heredoc {name}"), content);
    }
    inputs.hidden(Sort::Setting, "destination", &copy.destination);
    inputs.hidden(Sort::Setting, "--chown", &copy.chown);
    inputs.hidden(Sort::Setting, "--chmod", format!("{:?}", copy.chmod));
    inputs.hidden(Sort::Setting, "--unpack", format!("{}", copy.unpack));
}

/// Variables that were expanded: their effect is in the words, their names are for people.
fn note_variables(inputs: &mut Inputs<'_>, stage: &Stage, code: &str) {
    use crate::dockerfile::expand::Variables as _;
    for name in stage.vars().names() {
        if !code.contains(&format!("${name}")) && !code.contains(&format!("${{{name}")) {
            continue;
        }
        let sort = if stage.declares(name) { Sort::Arg } else { Sort::Env };
        inputs.note_hidden(sort, name, stage.vars().get(name).unwrap_or_default());
    }
}
